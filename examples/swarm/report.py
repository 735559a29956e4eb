"""What one sees when the swarm has done its work: agents, tasks, findings."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from backstory import Backstory, stream_id_of
from backstory_aggregates import Memory
from backstory_aggregates.memory import MemoryStored
from backstory_projections import AgentState, MemoryIndex, TaskHistory
from ledger import Ledger, totals
from streams import last_of
from work import is_rule

_WORST_COUNT: Final = 5


async def print_report(story: Backstory, swarm: str, console: Console) -> None:
    """Print what became of a swarm's agents and tasks, and what they found."""
    await _print_agents(story, swarm, console)
    await _print_tasks(story, swarm, console)
    await _print_rules(story, swarm, console)
    await _print_worst_files(story, swarm, console)


def print_table(
    console: Console, title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]
) -> None:
    """Print a table; columns whose name begins with `#` stand right, and names lose the `#`."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column in columns:
        is_number = column.startswith("#")
        table.add_column(
            column.lstrip("#"), justify="right" if is_number else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(_shown(value)) for value in row))
    console.print(Text(f"\n{title}", style="bold"))
    console.print(table)


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case float():
            return f"{value:.3f}"
        case _:
            # A file's name may hold anything; it must not reach the terminal as a command to it.
            text = str(value)
            return text if text.isprintable() else repr(text)


async def _print_agents(story: Backstory, swarm: str, console: Console) -> None:
    agents = (await story.read_model(AgentState)).get_all_agents(swarm=swarm)
    rows = [
        (
            agent.name,
            agent.status,
            len(agent.completed_tasks),
            len(agent.failed_tasks),
            agent.average_task_duration_seconds,
        )
        for agent in sorted(agents, key=lambda agent: (len(agent.name), agent.name))
    ]
    columns = ("agent", "status", "#completed", "#failed", "#seconds a task")
    print_table(console, "Agents", columns, rows)


async def _print_tasks(story: Backstory, swarm: str, console: Console) -> None:
    history = await story.read_model(TaskHistory)
    tasks = history.get_all_tasks(swarm=swarm)
    counts = Counter((task.type, task.status) for task in tasks)
    rows = [(kind, status, count) for (kind, status), count in sorted(counts.items(), key=str)]
    print_table(console, "Tasks", ("type", "status", "#tasks"), rows)
    failed = [(task.title, task.start_count, task.error) for task in tasks if task.error]
    if failed:
        print_table(console, "Failed for good", ("file", "#attempts", "error"), failed)


async def _print_rules(story: Backstory, swarm: str, console: Console) -> None:
    index = await story.read_model(MemoryIndex)
    found = [
        memory for memory in index.get_active_memories(swarm=swarm) if is_rule(memory.namespace)
    ]
    counts = Counter(memory.namespace for memory in found)
    examples = {memory.namespace: memory for memory in reversed(found)}
    rows: list[tuple[object, ...]] = []
    for rule, count in counts.most_common():
        stream_id = stream_id_of(Memory.category, examples[rule].id)
        subject = (await last_of(story, stream_id, MemoryStored)).details["value"]
        place = (examples[rule].key or "").rpartition(":")[0]
        rows.append((rule, count, f"{place}  {subject}"))
    print_table(console, "Findings by rule", ("rule", "#findings", "for example"), rows)


async def _print_worst_files(story: Backstory, swarm: str, console: Console) -> None:
    ledger = await story.load(Ledger, swarm)
    files = sorted(ledger.files.items(), key=lambda file: (-sum(file[1].values()), file[0]))
    rows = [
        (path, sum(found.values()), ", ".join(f"{rule} {count}" for rule, count in found.items()))
        for path, found in files[:_WORST_COUNT]
        if found
    ]
    total = sum(totals(ledger).values())
    title = f"Worst files ({total} findings in {len(files)} files)"
    print_table(console, title, ("file", "#findings", "rules"), rows)
