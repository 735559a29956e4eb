"""What one sees of the swarm's past: any part of the log, any state it has had, any cause."""

import shlex
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from backstory import ANY, Backstory, NewEvent, RecordedEvent, stream_id_of, where
from backstory_aggregates import Swarm, Task, member_id, split_member_id
from backstory_projections import SwarmRow, SwarmState, TaskHistory
from ledger import Ledger
from report import print_table
from streams import last_recorded

_REPLAYED_COUNT: Final = 10
_ABOUT_COLUMNS: Final = 22
_TASK_STATUSES: Final = ("created", "queued", "started", "blocked", "failed", "completed")


async def print_past(story: Backstory, swarm: str, console: Console, *, store: str) -> None:
    """Print the middle of a swarm's story, its state there, a snapshot, and the projections."""
    middle = await _print_replay(story, swarm, console)
    await _print_half_way(story, swarm, console, middle)
    await _print_snapshot(story, swarm, console)
    await _print_projections(story, console)
    await _print_commands(story, swarm, console, store=store, middle=middle)


async def _print_replay(story: Backstory, swarm: str, console: Console) -> int:
    """Print some events behind the middle of the swarm's part of the log; return its position."""
    last = await last_recorded(story, stream_id_of(Swarm.category, swarm))
    ours = where(correlation_id=last.metadata.correlation_id)
    first = [each async for each in story.read_log(where=ours, limit=1)]
    middle = (first[0].position + last.position) // 2
    rows = [
        (
            each.position,
            _name(each.metadata.actor),
            each.type,
            _about(each),
            await _cause(story, each),
        )
        async for each in story.replay(after_position=middle, where=ours, limit=_REPLAYED_COUNT)
    ]
    title = f"Replay from the middle: what followed position {middle}"
    columns = ("#position", "actor", "event", "about", "because of")
    print_table(console, title, columns, rows)
    return middle


def _name(aggregate_id: str | None) -> str:
    """Return what an actor, an agent or a task is called inside its swarm."""
    return split_member_id(aggregate_id or "")[1]


def _about(recorded: RecordedEvent) -> str:
    """Return what an event is about, as far as it fits: of a path, the last part."""
    task = getattr(recorded.data, "task_id", None)
    last = _name(task or recorded.id).rpartition("/")[2]
    text = f"{last} ({_name(recorded.id)})" if task else last
    return text if len(text) <= _ABOUT_COLUMNS else f"…{text[1 - _ABOUT_COLUMNS :]}"


async def _cause(story: Backstory, recorded: RecordedEvent) -> str:
    cause_id = recorded.metadata.causation_id
    cause = None if cause_id is None else await story.store.read_event(cause_id)
    return "" if cause is None else f"{cause.position} {cause.type}"


async def _print_half_way(story: Backstory, swarm: str, console: Console, middle: int) -> None:
    then = (await story.read_model(SwarmState, at_position=middle)).get_swarm(swarm)
    now = (await story.read_model(SwarmState)).get_swarm(swarm)
    if then is not None and now is not None:
        past, present = _fields(then), _fields(now)
        rows = [(name, past[name], present[name]) for name in past]
        columns = ("", f"at position {middle}", "at the end")
        print_table(console, "The swarm half-way", columns, rows)


def _fields(row: SwarmRow) -> dict[str, object]:
    tasks = {f"tasks {status}": row.tasks_by_status.get(status, 0) for status in _TASK_STATUSES}
    return {
        "status": row.status,
        "phase": row.phase,
        "agents at work": row.active_agent_count,
        **tasks,
        "milestones": ", ".join(each.id or "" for each in row.milestones) or None,
    }


async def _print_snapshot(story: Backstory, swarm: str, console: Console) -> None:
    """Load the ledger as every command does, and once more from its first event."""
    restored = await story.load(Ledger, swarm)
    version, start = restored.version, restored.snapshot_version
    console.print(Text("\nA snapshot restored", style="bold"))
    if not start:
        console.print(f"  The ledger has {version} events, too few for a snapshot.")
        return
    same = "the same" if restored == await _folded(story, restored) else "ANOTHER"
    later = f"{version - start} later event{'' if version == start + 1 else 's'}"
    console.print(
        f"  The ledger of version {version} is the snapshot of version {start} and {later}.\n"
        f"  All {version} events, folded in another store from the first one, give {same} ledger."
    )


async def _folded(story: Backstory, ledger: Ledger) -> Ledger:
    async with Backstory("memory://") as copy:
        async for each in story.read_stream(ledger.stream_id):
            event = NewEvent.raw(
                each.type,
                each.data_json,
                event_id=each.event_id,
                schema_version=each.schema_version,
                metadata=each.metadata,
            )
            await copy.store.append(ledger.stream_id, [event], expected_version=ANY)
        return await copy.load(Ledger, ledger.id)


async def _print_projections(story: Backstory, console: Console) -> None:
    """Print what `backstory projections list` says, and whether anything could not be handled."""
    infos = await story.projections.list_all()
    rows = [
        (each.name, "" if each.state is None else each.state.value, each.position, each.lag)
        for each in infos
    ]
    columns = ("projection", "state", "#position", "#lag")
    print_table(console, "The projections", columns, rows)
    parked = [
        (each.name, one) for each in infos for one in await story.projections.parked(each.name)
    ]
    for name, one in parked:
        console.print(Text(f"  parked in {name}: {one.stream_id} {one.version}, {one.reason}"))
    if not parked:
        console.print("  Nothing is parked: each event could be handled.")


async def _print_commands(
    story: Backstory, swarm: str, console: Console, *, store: str, middle: int
) -> None:
    tasks = (await story.read_model(TaskHistory)).get_all_tasks(swarm=swarm)
    task = max(tasks, key=lambda row: row.start_count)
    lines = [
        f"export BACKSTORY_STORE={shlex.quote(store)}",
        f"{_program()} show tasks --status failed",
        f"{_program()} show swarms --at-position {middle}",
        f"{_program()} log --actor {shlex.quote(member_id(swarm, 'auditor-1'))} --limit 5",
        f"{_program()} projections list",
        f"{_program()} stream {shlex.quote(stream_id_of(Task.category, task.id))}",
    ]
    console.print(Text("\nAsk on", style="bold"))
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def _program() -> str:
    """Return how to call the command line that belongs to this interpreter."""
    program = Path(sys.executable).with_name("backstory")
    if not program.exists():
        return "backstory"
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return shlex.quote(str(program))
