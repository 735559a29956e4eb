"""The work: what there is to do for a task of each type, and what of it is recorded.

Doing a task twice does no harm. Whoever did it may have been killed when half of its findings were
stored, and another will store them again: under the same ids, and with keys that make each a fact
only once.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec
from anyio import to_thread

from audit import Audit, Interface, audit
from backstory import Backstory, RecordedEvent, stream_id_of
from backstory_aggregates import Memory, Task, member_id
from backstory_aggregates.memory import MemoryNotStoredError, MemoryStored
from backstory_aggregates.task import TaskAlreadyCreatedError, TaskCreated
from board import AUDIT
from ledger import Ledger, totals
from plan import Source, make_plan
from streams import last_of

INTERFACE: Final = "interface"
"""The namespace of what files offer; a finding lies in one that is named after its rule."""
TOTALS: Final = "totals"
"""The namespace of the report."""


class Workplace(msgspec.Struct, frozen=True):
    """What workers have around them: nothing that would have to survive the process."""

    story: Backstory
    swarm: str
    folder: Path
    pace_seconds: float = 0.0
    hurry: anyio.Event = msgspec.field(default_factory=anyio.Event)
    """Set when nobody wants to watch any longer."""


async def do(workplace: Workplace, started: RecordedEvent) -> dict[str, Any]:
    """Do the task that was started, and return its result.

    What is recorded meanwhile has the actor and the cause of the `using` block around the call.

    Raises:
        UnreadableError: The file cannot be parsed.
        OSError: It cannot be read.
    """
    created = await last_of(workplace.story, started.stream_id, TaskCreated)
    match created.task_type:
        case "survey":
            return await _survey(workplace)
        case "audit":
            return await _audit(workplace, created)
        case _:
            return await _report(workplace)


async def _survey(workplace: Workplace) -> dict[str, Any]:
    """Create a task for each file, in the order of the paths."""
    plan = await to_thread.run_sync(make_plan, workplace.folder)
    async with anyio.create_task_group() as group:
        for source in plan:
            group.start_soon(_create, workplace, source)
    return {"files": len(plan), "dependencies": sum(len(each.dependencies) for each in plan)}


async def _create(workplace: Workplace, source: Source) -> None:
    # An agent that surveyed before us, and was lost, may have created it.
    with suppress(TaskAlreadyCreatedError):
        await workplace.story.execute(
            Task.create,
            member_id(workplace.swarm, source.path),
            task_type=AUDIT,
            title=source.path,
            dependencies=[member_id(workplace.swarm, path) for path in source.dependencies],
            details={"links": source.links},
        )


async def _audit(workplace: Workplace, created: TaskCreated) -> dict[str, Any]:
    """Look at one file, in the light of what is remembered of those that it imports."""
    path = created.title or ""
    links: dict[str, str] = created.details["links"]
    interfaces = await _recall_all(workplace, set(links.values()))
    found = await to_thread.run_sync(_look, workplace.folder / path, links, interfaces)
    await _remember_all(workplace, path, found)
    findings = Counter(each.rule for each in found.findings)
    await workplace.story.execute(Ledger.enter, workplace.swarm, path=path, findings=findings)
    return {**found.measures, "findings": findings.total()}


def _look(file: Path, links: dict[str, str], interfaces: dict[str, Interface | None]) -> Audit:
    return audit(file.read_bytes(), links, interfaces)


async def _recall_all(workplace: Workplace, paths: Iterable[str]) -> dict[str, Interface | None]:
    interfaces: dict[str, Interface | None] = {}

    async def recall(path: str) -> None:
        interfaces[path] = await _recall(workplace, path)

    async with anyio.create_task_group() as group:
        for path in paths:
            group.start_soon(recall, path)
    return interfaces


async def _recall(workplace: Workplace, path: str) -> Interface | None:
    """Retrieve what a file offers; None where its audit has failed."""
    memory = memory_id(workplace.swarm, INTERFACE, path)
    try:
        await workplace.story.execute(Memory.retrieve, memory)
    except MemoryNotStoredError:
        return None
    stored = await last_of(workplace.story, stream_id_of("memory", memory), MemoryStored)
    return msgspec.convert(stored.details["value"], dict[str, bool])


async def _remember_all(workplace: Workplace, path: str, found: Audit) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_remember, workplace, INTERFACE, path, found.interface)
        for each in found.findings:
            key = f"{path}:{each.line}:{each.rule}"
            group.start_soon(_remember, workplace, each.rule, key, each.subject)


async def _remember(workplace: Workplace, namespace: str, key: str, value: Any) -> None:
    value_json = msgspec.json.encode(value)
    digest = hashlib.sha256(value_json).hexdigest()
    memory = memory_id(workplace.swarm, namespace, key)
    await workplace.story.using(idempotency_key=f"{memory} is {digest}").execute(
        Memory.store,
        memory,
        namespace=namespace,
        key=key,
        memory_type="finding" if is_rule(namespace) else namespace,
        size=len(value_json),
        details={"value": value},
    )


async def _report(workplace: Workplace) -> dict[str, Any]:
    """Count what was found, and remember that too."""
    found = totals(await workplace.story.load(Ledger, workplace.swarm))
    await _remember(workplace, TOTALS, "findings", found)
    return {"findings": sum(found.values())}


def is_rule(namespace: str | None) -> bool:
    """Tell whether the memories of a namespace are findings."""
    return namespace not in (INTERFACE, TOTALS, None)


def memory_id(swarm: str, namespace: str, key: str) -> str:
    """Return the id of a memory: what a finding is called when it is found again."""
    return member_id(swarm, f"{namespace}:{key}")
