"""Calls are cancelled at each place where they wait: no connection is left with anything open.

That what they do is whole is seen for every store in `test_cancellation.py`.
"""

from collections.abc import AsyncIterator, Callable
from functools import partial

import anyio
import asyncpg
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, drain, new_event, noted
from tests.faults.account import faults
from tests.faults.postgres.opened import check_dense, session_on, store_on
from tests.integration.test_cancellation import STEPS, WAITS_MAX, Operation, Step

from backstory import ANY, AppendCondition, Checkpoint, EventStore, Snapshot, StreamAppend, where
from backstory._progress import Note, Progress, TableChange

pytestmark = pytest.mark.anyio

CONNECTION_COUNT = 2


@pytest.fixture(params=STEPS)
def step(request: pytest.FixtureRequest) -> Step:
    return STEPS[request.param]


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[EventStore]:
    """Yield a store with few connections, so that one that is lost is missed."""
    async with store_on(postgres_url, listen=False, connection_count_max=CONNECTION_COUNT) as store:
        yield store


def calls_of(store: EventStore, at: int) -> dict[str, Callable[[], Operation]]:
    """Return calls of each kind, by their names; those that write do so under a name of `at`."""
    condition = AppendCondition(where(types=[Counted]), after_position=0)
    changes = [TableChange("UPDATE counted SET total = total + 1")]
    progress = Progress(
        Checkpoint(f"Counts {at}", 1, "f", b"{}"), after_position=0, changes=changes
    )
    parts = [StreamAppend(f"{name}-{at}", noted("a", "b"), 0) for name in ("one", "two")]
    return {
        "append": lambda: partial(store.append, f"note-{at}", noted("a", "b"), expected_version=0),
        "append on a condition": lambda: partial(store.append_many, parts, condition=condition),
        "put_progress": lambda: partial(store.put_progress, progress),
        "put_notes": lambda: partial(store.put_notes, [Note("s", f"{at}", b"{}")] * 3),
        "save_snapshot": lambda: partial(store.save_snapshot, Snapshot("one-1", 1, "f", b"{}")),
        "try_own": lambda: partial(store.try_own, f"Counts {at}"),
        "query": lambda: partial(store.query, "SELECT total FROM counted", ()),
        "read_log": lambda: partial(drain, store.read_log()),
        "check_engine": lambda: store.check_engine,
        "statistics": lambda: store.statistics,
    }


NAMES = (
    *("append", "append on a condition", "put_progress", "put_notes", "save_snapshot"),
    *("try_own", "query", "read_log", "check_engine", "statistics"),
)


@pytest.mark.fault(
    28, "T31", store="postgres", without="the return of a connection whose caller is gone"
)
@pytest.mark.parametrize("name", NAMES)
async def test_cancelled_call_leaves_no_transaction_and_no_turn(
    postgres_url: str, store: EventStore, step: Step, name: str
) -> None:
    async with session_on(postgres_url) as session:
        await session.execute("CREATE TABLE backstory.counted AS SELECT 0 AS total")
        await store.try_own("Counts")
        for at in range(1, WAITS_MAX):
            is_cancelled = await step(calls_of(store, at)[name](), at)

            with anyio.fail_after(DEADLINE_SECONDS):
                async with anyio.create_task_group() as group:
                    # All connections together, and the writer's.
                    for _ in range(2 * CONNECTION_COUNT):
                        group.start_soon(store.head)
                    group.start_soon(
                        partial(store.append, "after-1", noted("a"), expected_version=ANY)
                    )
                while await open_count(session):
                    pass
            if not is_cancelled:
                break
        else:
            pytest.fail("it never ended undisturbed")
        counts: dict[str, int] = {}
        for recorded in await check_dense(store):
            counts[recorded.stream_id] = counts.get(recorded.stream_id, 0) + 1
        del counts["after-1"]
        assert set(counts.values()) <= {2}
        kept = [await store.load_checkpoint(f"Counts {number}") for number in range(1, at + 1)]
        total = await session.fetchval("SELECT total FROM backstory.counted")
        assert total == sum(checkpoint is not None for checkpoint in kept)


async def open_count(session: asyncpg.Connection) -> int:
    """Return how many transactions are open, and how many hold the turn."""
    count: int = await session.fetchval(
        "SELECT count(*) FROM pg_stat_activity a WHERE datname = current_database()"
        " AND application_name LIKE 'backstory %' AND (state LIKE 'idle in transaction%'"
        " OR EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory'"
        " AND l.objsubid = 2))"
    )
    return count


@pytest.mark.fault(
    28, 16, store="postgres", without="the return of a connection whose caller is gone"
)
async def test_readers_that_are_cancelled_at_any_moment_leave_no_connection_behind(
    postgres_url: str, store: EventStore
) -> None:
    await store.append("note-1", [new_event(Counted())], expected_version=0)
    async with session_on(postgres_url) as session:
        for turns in range(60):
            async with anyio.create_task_group() as group:
                for _ in range(3 * CONNECTION_COUNT):
                    group.start_soon(drain, store.read_log())
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
                faults.count()
            with anyio.fail_after(DEADLINE_SECONDS):
                assert await store.head() == 1
        count = await session.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'backstory %'"
        )
        assert count <= CONNECTION_COUNT + 1
