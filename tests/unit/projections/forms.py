"""The two forms of each read model, a history, and every question that both forms answer.

A question is a query with its arguments. Of those with pages, the form in tables is asked for all
pages in turn, so what it says can be held against what the form in memory says at once.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import pytest
from msgspec import Struct
from tests.unit.projections.conftest import minutes

from backstory import ANY, Event, EventStore, Projection, TableProjection
from backstory.testing import new_event
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStopped,
    AgentTaskAssigned,
    AgentTaskCompleted,
)
from backstory_aggregates.memory.events import (
    MemoryDeleted,
    MemoryExpired,
    MemoryRetrieved,
    MemoryStored,
)
from backstory_aggregates.swarm.events import (
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmMilestoneReached,
    SwarmPhaseChanged,
    SwarmTerminated,
)
from backstory_aggregates.task.events import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)
from backstory_projections import (
    AgentState,
    AgentTable,
    MemoryIndex,
    MemoryTable,
    SwarmState,
    SwarmTable,
    TaskHistory,
    TaskTable,
)

FORMS: Final[Mapping[type[Projection], type[TableProjection]]] = {
    AgentState: AgentTable,
    TaskHistory: TaskTable,
    MemoryIndex: MemoryTable,
    SwarmState: SwarmTable,
}
"""The form in tables for each form in memory."""

_PAGE_ROW_COUNT: Final = 3

Stored = tuple[str, Event]

LIVES: Final[list[Stored]] = [
    ("swarm-s", SwarmInitialized(topology="star", config={"depth": 2}, max_agents=4)),
    *[(f"agent-s/{n}", AgentSpawned(role="docs", domain="web")) for n in range(8)],
    *[(f"agent-s/{n}", AgentStarted()) for n in range(6)],
    ("agent-s/0", AgentFailed(error="lost")),
    ("agent-s/1", AgentStopped()),
    *[(f"task-s/{n}", TaskCreated(task_type="docs", priority=n)) for n in range(8)],
    *[(f"agent-s/{n}", AgentTaskAssigned(task_id="s/1")) for n in (2, 3)],
    *[("agent-s/2", AgentTaskAssigned(task_id=f"s/{n}")) for n in (2, 1, 3, 4)],
    *[(f"task-s/{n}", TaskStarted(agent_id="s/2", started_at=minutes(n))) for n in range(6)],
    *[(f"task-s/{n}", TaskFailed(error="no luck")) for n in (0, 1, 2)],
    ("task-s/0", TaskQueued(priority="high")),
    ("task-s/2", TaskStarted(agent_id="s/3")),
    ("agent-s/4", AgentTaskAssigned(task_id="s/6")),
    ("agent-s/4", AgentTaskCompleted(task_id="s/6")),
    ("task-s/6", TaskFailed(retry_count=2)),
    ("task-s/7", TaskStarted()),
    ("task-s/7", TaskCompleted(completed_at=minutes(90))),
    ("task-t/1", TaskStarted(started_at=minutes(9))),
    ("task-t/1", TaskCompleted(completed_at=minutes(5))),  # by a clock that was set back
    ("agent-s/2", AgentTaskCompleted(task_id="s/3", duration_seconds=3)),
    *[(f"task-s/{n}", TaskCompleted(completed_at=minutes(5))) for n in (3, 4)],
    ("task-s/5", TaskBlocked(blocked_by=("s/0", "s/1"))),
    *[(f"memory-s/{n}", MemoryStored(namespace="talk", size=n)) for n in range(8)],
    ("memory-s/7", MemoryStored(key="k")),
    *[(f"memory-s/{n}", MemoryRetrieved()) for n in (1, 3, 5, 3, 9)],
    ("memory-s/0", MemoryDeleted()),
    ("memory-s/1", MemoryExpired()),
    ("swarm-s", SwarmPhaseChanged(new_phase="work")),
    *[("swarm-s", SwarmMilestoneReached(name=f"mile {n}")) for n in range(3)],
    *[("swarm-s", SwarmErrorOccurred(error=f"no. {n}")) for n in range(3)],
    ("swarm-t", SwarmTerminated()),
]
"""A history in which everything happens."""


async def remember(store: EventStore, *history: Stored, actor: str | None = None) -> None:
    """Append a history, an event a minute."""
    for stream_id, event in history:
        await store.append(stream_id, [new_event(event, actor=actor)], expected_version=ANY)


class Question(Struct, frozen=True):
    """One query with its arguments."""

    query: str
    arguments: tuple[Any, ...] = ()
    named: dict[str, Any] = {}


def queries(form: type[Projection]) -> dict[str, list[str]]:
    """Return the names of the public queries of a form, with those of their parameters."""
    return {
        name: list(inspect.signature(method).parameters)
        for name, method in inspect.getmembers(form, inspect.isfunction)
        if name.startswith(("get_", "count_"))
    }


def questions(model: Projection) -> Iterator[Question]:
    """Yield all that can be asked of a read model: each query with all that occurs, and more."""
    match model:
        case AgentState():
            yield from _of_agents(model)
        case TaskHistory():
            yield from _of_tasks(model)
        case MemoryIndex():
            yield from _of_memories(model)
        case SwarmState():
            yield from _of_swarms(model)
        case _:
            raise AssertionError(f"nobody knows what to ask {type(model).__name__}")


def _of_agents(model: AgentState) -> Iterator[Question]:
    rows = model.get_all_agents()
    for id in _words(row.id for row in rows):
        yield Question("get_agent", (id,))
        yield Question("get_completion_metrics", (), {"agent_id": id})
    for named in _swarms(row.swarm for row in rows):
        yield Question("get_all_agents", (), named)
        yield Question("get_active_agent_count", (), named)
        yield Question("get_completion_metrics", (), named)
        yield Question("get_health", (), named)
        yield from _each("get_agents_by_status", _words(row.status for row in rows), named)
        yield from _each("get_agents_by_domain", _words(row.domain for row in rows), named)
        yield from _each("get_agents_by_role", _words(row.role for row in rows), named)


def _of_tasks(model: TaskHistory) -> Iterator[Question]:
    rows = model.get_all_tasks()
    yield from _each("get_task", _words(row.id for row in rows))
    yield from _each("get_tasks_by_agent", _words(id for row in rows for id in row.agents))
    for named in _swarms(row.swarm for row in rows):
        for query in (
            *("get_all_tasks", "get_completed_task_count", "get_average_task_duration"),
            *("get_success_rate", "get_failure_rate", "count_by_status"),
        ):
            yield Question(query, (), named)
        yield from _each("get_tasks_by_status", _words(row.status for row in rows), named)
        yield from _each("get_tasks_by_type", _words(row.type for row in rows), named)


def _of_memories(model: MemoryIndex) -> Iterator[Question]:
    rows = model.get_all_memories()
    times = sorted({row.last_accessed_at for row in rows if row.last_accessed_at})
    yield from _each("get_memory", _words(row.id for row in rows))
    for named in _swarms(row.swarm for row in rows):
        for query in (
            *("get_all_memories", "get_active_memories", "get_most_accessed_memories"),
            *("get_total_size_by_namespace", "get_usage_by_namespace"),
        ):
            yield Question(query, (), named)
        namespaces = [*_words(row.namespace for row in rows), None]
        yield from _each("get_memories_by_namespace", namespaces, named)
        yield from _each("get_most_accessed_memories", [1, 2, 100], named)
        for since in {*times[:1], *times[len(times) // 2 :][:1], *times[-1:]}:
            yield Question("get_hot_memories", (since,), named)
            yield Question("get_cold_memories", (since,), named)


def _of_swarms(model: SwarmState) -> Iterator[Question]:
    rows = model.get_all_swarms()
    yield Question("get_all_swarms")
    yield from _each("get_swarm", _words(row.id for row in rows))
    yield from _each("get_swarms_by_status", _words(row.status for row in rows))


def _each(
    query: str, arguments: Iterable[object], named: Mapping[str, Any] | None = None
) -> Iterator[Question]:
    for argument in arguments:
        yield Question(query, (argument,), dict(named or {}))


def _words(words: Iterable[str | None]) -> list[str]:
    return [*dict.fromkeys(word for word in words if word is not None), "nothing of this name"]


def _swarms(swarms: Iterable[str | None]) -> list[dict[str, str]]:
    return [{}, *({"swarm": swarm} for swarm in _words(swarms))]


async def assert_same(
    model: Projection, table: TableProjection, *, page_row_count: int = _PAGE_ROW_COUNT
) -> None:
    """Ask both forms every question, and compare what they say."""
    for question in questions(model):
        expected = getattr(model, question.query)(*question.arguments, **question.named)
        found = await answer(table, question, page_row_count)
        assert found == roughly(expected), question


async def answer(table: TableProjection, question: Question, page_row_count: int) -> Any:
    """Return what a form in tables says; where it says it in pages, all of them in one list."""
    ask = getattr(table, question.query)
    if "after" not in inspect.signature(ask).parameters:
        return await ask(*question.arguments, **question.named)
    rows: list[Any] = []
    while True:
        after = rows[-1].id if rows else None
        page = await ask(*question.arguments, **question.named, limit=page_row_count, after=after)
        rows += page
        if len(page) < page_row_count:
            return rows


def roughly(value: Any) -> Any:
    """Return what a value must be like: averages are of sums that are added up in other orders."""
    if isinstance(value, float):
        return pytest.approx(value)
    if isinstance(value, Struct) and hasattr(value, "completion_rate"):
        return _Roughly(value)
    return value


class _Roughly:
    """Equal to a struct whose numbers are roughly those of another."""

    def __init__(self, value: Struct) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        fields = msgspec.structs.asdict(self._value)
        return type(other) is type(self._value) and all(
            getattr(other, name) == roughly(value) for name, value in fields.items()
        )

    def __hash__(self) -> int:
        return hash(type(self._value))

    def __repr__(self) -> str:
        return f"roughly {self._value}"
