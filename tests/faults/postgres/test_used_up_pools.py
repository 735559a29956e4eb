"""More callers than connections: they wait for a while and are told, and nothing leaks."""

from collections.abc import AsyncIterator

import anyio
import asyncpg
import pytest
from tests.conftest import DEADLINE_SECONDS, noted
from tests.faults.account import faults
from tests.faults.postgres.opened import session_on, store_on, until_waiting

from backstory import ANY, EventStore, StoreUnavailableError

pytestmark = pytest.mark.anyio

CONNECTION_COUNT = 2
BLOCK = "SELECT pg_advisory_xact_lock_shared(7) IS NULL AS done"


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[EventStore]:
    """Yield a store with few connections, and little patience."""
    async with store_on(
        postgres_url,
        listen=False,
        connection_count_max=CONNECTION_COUNT,
        connect_timeout_seconds=1,
        retry_seconds=0,
    ) as store:
        await store.append("note-1", noted("a"), expected_version=0)
        yield store


@pytest.fixture
async def session(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a session that holds up whatever blocks, until it lets go."""
    async with session_on(postgres_url) as session:
        await session.execute("SELECT pg_advisory_lock(7)")
        yield session


async def let_go(session: asyncpg.Connection) -> None:
    await session.execute("SELECT pg_advisory_unlock(7)")


async def connection_count(session: asyncpg.Connection) -> int:
    count: int = await session.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backstory %'"
        " AND datname = current_database()"
    )
    return count


@pytest.mark.fault(16, store="postgres", without="the time limit for a free connection")
async def test_readers_that_find_no_connection_are_told_in_time(
    store: EventStore, session: asyncpg.Connection, postgres_url: str
) -> None:
    told: list[StoreUnavailableError] = []
    answered: list[object] = []

    async def block() -> None:
        answered.append(await store.query(BLOCK, ()))

    async def look() -> None:
        try:
            answered.append(await store.head())
        except StoreUnavailableError as error:
            told.append(error)
            faults.count()

    before = await connection_count(session)
    async with session_on(postgres_url) as looking, anyio.create_task_group() as group:
        for _ in range(CONNECTION_COUNT):
            group.start_soon(block)
        await until_waiting(looking, f"%{BLOCK}%", count=CONNECTION_COUNT)
        with anyio.fail_after(DEADLINE_SECONDS):
            async with anyio.create_task_group() as looking_up:
                for _ in range(50):
                    looking_up.start_soon(look)
        assert (len(told), len(answered)) == (50, 0)
        # The writer has a connection of its own, and goes on.
        await store.append("note-1", noted("b"), expected_version=1)
        await let_go(session)

    assert len(answered) == CONNECTION_COUNT
    assert await store.head() == 2
    assert await connection_count(session) <= max(before, CONNECTION_COUNT + 1)


@pytest.mark.fault(
    16, 28, store="postgres", without="a cancellation that reaches the wait for a connection"
)
async def test_cancelled_waiter_gives_its_place_on(
    store: EventStore, session: asyncpg.Connection, postgres_url: str
) -> None:
    answered: list[int] = []

    async def block() -> None:
        await store.query(BLOCK, ())

    async def look() -> None:
        answered.append(await store.head())

    async with session_on(postgres_url) as looking, anyio.create_task_group() as group:
        for _ in range(CONNECTION_COUNT):
            group.start_soon(block)
        await until_waiting(looking, f"%{BLOCK}%", count=CONNECTION_COUNT)
        async with anyio.create_task_group() as cancelled:
            for _ in range(10):
                cancelled.start_soon(look)
                faults.count()
            await anyio.lowlevel.checkpoint()
            group.start_soon(look)
            await anyio.lowlevel.checkpoint()
            cancelled.cancel_scope.cancel()
        await let_go(session)

    assert answered == [1]
    assert await store.append("note-1", noted("b"), expected_version=ANY)
