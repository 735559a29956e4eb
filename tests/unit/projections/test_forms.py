"""The forms in tables say what the forms in memory say: of any history, at any of its positions."""

from datetime import datetime, timedelta, timezone
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.projections.conftest import minutes
from tests.unit.projections.forms import FORMS, LIVES, Stored, assert_same, queries, remember

from backstory import (
    ANY,
    Backstory,
    Event,
    EventStore,
    InvalidInputError,
    NewEvent,
    Projection,
    ProjectionFailedError,
    TableProjection,
    fold_log,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import ManualClock
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStatusChanged,
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
    SwarmScaled,
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
from backstory_projections import MemoryTable, TaskTable

pytestmark = pytest.mark.anyio


def moment(count: int, hours: int) -> datetime:
    """Return a time near the first event, in some zone."""
    return minutes(count).astimezone(timezone(timedelta(hours=hours)))


# Few of each, so that histories meet the same agents and tasks again and again.
MOMENTS: Final = st.none() | st.builds(moment, st.integers(-5, 5), st.integers(-1, 1))
WORDS: Final = st.none() | st.sampled_from(["docs", "code", ""])
AGENTS: Final = st.sampled_from(["s/ada", "s/bob", "t/ada", "alone"])
TASKS: Final = st.sampled_from(["s/1", "s/2", "t/1", "4%2F/%25", "lonely"])
COUNTS: Final = st.none() | st.integers(-1, 3)
SECONDS: Final = st.none() | st.sampled_from([0, 3, 0.1, 1e10, -1, 10**12, 2**70])
PRIORITIES: Final = st.none() | st.sampled_from(["3", 3, "null", ""])
RESULTS: Final = st.sampled_from([None, 0, "null", [1, 1.5], {"a": {"b": None}}])


def of(category: str, ids: st.SearchStrategy[str], *events: st.SearchStrategy[Event]) -> Any:
    """Return a strategy for events on streams of a category."""
    streams = ids.map(lambda id: f"{category}-{id}")
    return st.tuples(streams, st.one_of(*events))


STORED: Final[st.SearchStrategy[Stored]] = st.one_of(
    of(
        *("agent", AGENTS),
        st.builds(
            AgentSpawned,
            role=WORDS,
            domain=WORDS,
            capabilities=st.none() | st.just(("read", "write")),
            spawned_at=MOMENTS,
        ),
        st.builds(AgentStarted, started_at=MOMENTS),
        st.builds(AgentStopped, stopped_at=MOMENTS),
        st.builds(AgentFailed, failed_at=MOMENTS),
        st.builds(AgentStatusChanged, new_status=WORDS, changed_at=MOMENTS),
        st.builds(AgentTaskAssigned, task_id=st.none() | TASKS, assigned_at=MOMENTS),
        st.builds(
            AgentTaskCompleted,
            task_id=st.none() | TASKS,
            duration_seconds=SECONDS,
            completed_at=MOMENTS,
        ),
    ),
    of(
        *("task", TASKS),
        st.builds(
            TaskCreated,
            task_type=WORDS,
            title=WORDS,
            priority=PRIORITIES,
            dependencies=st.none() | st.just(("s/1", "s/2")),
            created_at=MOMENTS,
        ),
        st.builds(TaskQueued, priority=PRIORITIES, queued_at=MOMENTS),
        st.builds(TaskStarted, agent_id=st.none() | AGENTS, started_at=MOMENTS),
        st.builds(TaskCompleted, result=RESULTS, duration_seconds=SECONDS, completed_at=MOMENTS),
        st.builds(TaskFailed, error=WORDS, retry_count=COUNTS, failed_at=MOMENTS),
        st.builds(TaskBlocked, blocked_by=st.none() | st.just(("s/1",))),
    ),
    of(
        *("memory", TASKS),
        st.builds(
            MemoryStored,
            namespace=WORDS,
            key=WORDS,
            memory_type=WORDS,
            size=COUNTS | st.just(2**53),
            stored_at=MOMENTS,
        ),
        st.builds(
            MemoryRetrieved,
            namespace=WORDS,
            access_count=COUNTS | st.just(2**52),
            retrieved_at=MOMENTS,
        ),
        st.builds(MemoryDeleted, key=WORDS, deleted_at=MOMENTS),
        st.builds(MemoryExpired, expired_at=MOMENTS),
    ),
    of(
        *("swarm", st.sampled_from(["s", "t", "%00"])),
        st.builds(
            SwarmInitialized,
            topology=WORDS,
            max_agents=COUNTS,
            config=st.none() | st.just({"depth": 1.0, "words": ["a"]}),
            initialized_at=MOMENTS,
        ),
        st.builds(SwarmScaled, new_agent_count=COUNTS),
        st.builds(SwarmPhaseChanged, new_phase=WORDS),
        st.builds(SwarmMilestoneReached, milestone_id=WORDS, name=WORDS, reached_at=MOMENTS),
        st.builds(SwarmErrorOccurred, error=WORDS, occurred_at=MOMENTS),
        st.builds(SwarmTerminated, terminated_at=MOMENTS),
    ),
)


@pytest.mark.parametrize(("memory", "tables"), FORMS.items())
def test_forms_have_the_same_queries(
    memory: type[Projection], tables: type[TableProjection]
) -> None:
    ours = {
        name: [parameter for parameter in parameters if parameter not in ("limit", "after")]
        for name, parameters in queries(tables).items()
    }

    assert ours == {
        name: [parameter for parameter in parameters if parameter != "limit"]
        for name, parameters in queries(memory).items()
    }


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(STORED, max_size=40))
async def test_any_history_gives_the_same_rows(anyio_backend: str, history: list[Stored]) -> None:
    assert anyio_backend == "asyncio"
    async with InMemoryStore(clock=ManualClock()) as store:
        await remember(store, *history)
        for memory, tables in FORMS.items():
            for position in {len(history) // 2, len(history)}:
                model = await fold_log(store, memory, until_position=position)

                await assert_same(model, await fold_log(store, tables, until_position=position))


@pytest.mark.parametrize(("memory", "tables"), FORMS.items())
async def test_lives_give_the_same_rows_at_the_end_and_before(
    memory: type[Projection], tables: type[TableProjection]
) -> None:
    async with InMemoryStore(clock=ManualClock()) as store:
        await remember(store, *LIVES, actor="ada")
        for position in (0, len(LIVES) // 2, len(LIVES)):
            model = await fold_log(store, memory, until_position=position)

            await assert_same(model, await fold_log(store, tables, until_position=position))


async def test_stores_keep_the_tables(store: EventStore) -> None:
    await remember(store, *LIVES)

    async with Backstory(store, projections=[*FORMS.values()]) as story:
        for memory, tables in FORMS.items():
            await assert_same(await fold_log(store, memory), await story.read_model(tables))


async def test_swarm_keeps_its_last_hundred_errors() -> None:
    async with InMemoryStore(clock=ManualClock()) as store:
        await remember(
            store, *[("swarm-s", SwarmErrorOccurred(error=f"no. {n}")) for n in range(103)]
        )
        for memory, tables in FORMS.items():
            await assert_same(await fold_log(store, memory), await fold_log(store, tables))


async def test_time_that_only_another_zone_has_is_the_nearest_one() -> None:
    early, late = "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"
    data = [f'{{"stored_at": "{moment}"}}'.encode() for moment in (early, late)]
    async with InMemoryStore() as store:
        for n, data_json in enumerate(data):
            stored = NewEvent.raw("memory:stored", data_json, event_id=uuid4())
            await store.append(f"memory-{n}", [stored], expected_version=ANY)
        table = await fold_log(store, MemoryTable)

        years = [row.stored_at.year for row in await table.get_all_memories() if row.stored_at]

    assert years == [1, 9999]


async def test_number_that_no_column_holds_is_refused_and_not_changed() -> None:
    async with InMemoryStore() as store:
        await remember(store, ("memory-s/1", MemoryStored(size=2**63)))

        with pytest.raises(ProjectionFailedError, match="too large"):
            await fold_log(store, MemoryTable)


@pytest.mark.parametrize("limit", [0, -1, 10_001])
async def test_page_that_is_no_page_is_refused(limit: int) -> None:
    async with InMemoryStore() as store:
        table = await fold_log(store, MemoryTable)

        with pytest.raises(InvalidInputError, match="limit"):
            await table.get_all_memories(limit=limit)
        with pytest.raises(InvalidInputError, match="limit"):
            await table.get_most_accessed_memories(limit)


async def test_page_behind_a_row_that_is_not_there_is_refused() -> None:
    async with InMemoryStore() as store:
        table = await fold_log(store, TaskTable)

        for ask in (
            table.get_all_tasks(after="s/nothing"),
            table.get_tasks_by_agent("s/ada", after="s/nothing"),
        ):
            with pytest.raises(InvalidInputError, match="no row has this id"):
                await ask


async def test_rows_that_come_in_between_do_not_move_a_page() -> None:
    async with InMemoryStore() as store, Backstory(store, projections=[TaskTable]) as story:
        await remember(store, *[(f"task-{n}", TaskCreated()) for n in range(4)])
        table = await story.read_model(TaskTable)
        first = await table.get_all_tasks(limit=2)

        await remember(store, ("task-1", TaskStarted()), ("task-9", TaskCreated()))
        table = await story.read_model(TaskTable)
        rest = await table.get_all_tasks(after=first[-1].id)

    assert [row.id for row in (*first, *rest)] == ["0", "1", "2", "3", "9"]
