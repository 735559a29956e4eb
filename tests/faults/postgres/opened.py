"""PostgreSQL stores as the fault tests open them, and sessions that are none of a store's."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import asyncpg
from tests.conftest import DEADLINE_SECONDS, drain
from tests.faults.account import faults
from tests.servers.postgres import PostgresServer

from backstory import EventStore, RecordedEvent, Subscription
from backstory.stores.postgres import PostgresStore

SCHEMA: Final = "backstory"
"""The schema of every store here: each test has a database of its own."""

TAKE_TURN: Final = f"SELECT {SCHEMA}.take_turn()"


def store_on(url: str, **settings: Any) -> PostgresStore:
    """Return a store on a database, not yet opened."""
    return PostgresStore(url, schema=SCHEMA, **settings)


@asynccontextmanager
async def session_on(url: str, **settings: str) -> AsyncGenerator[asyncpg.Connection]:
    """Yield a session of somebody else's, which ends with the block at the latest."""
    connection = await asyncpg.connect(
        url, server_settings={"application_name": "foreign", **settings}
    )
    try:
        yield connection
    finally:
        connection.terminate()


@asynccontextmanager
async def held_turn(url: str) -> AsyncGenerator[asyncpg.Connection]:
    """Let somebody else hold the turn to append, in a transaction that stays open."""
    async with session_on(url) as session:
        await session.execute("BEGIN")
        await session.execute(TAKE_TURN)
        yield session


async def take(subscription: Subscription, count: int) -> list[RecordedEvent]:
    """Return the next events of a subscription."""
    with anyio.fail_after(DEADLINE_SECONDS):
        return [await anext(subscription) for _ in range(count)]


async def check_dense(store: EventStore) -> Sequence[RecordedEvent]:
    """Return the log, whose positions and versions have no gap and rise together."""
    log = await drain(store.read_log())
    assert [recorded.position for recorded in log] == list(range(1, len(log) + 1))
    versions: dict[str, int] = {}
    for recorded in log:
        versions[recorded.stream_id] = versions.get(recorded.stream_id, 0) + 1
        assert recorded.version == versions[recorded.stream_id]
    assert len({recorded.event_id for recorded in log}) == len(log)
    return log


async def until_waiting(session: asyncpg.Connection, query: str, *, count: int = 1) -> None:
    """Wait until so many backends that execute a query, as a pattern of LIKE, wait for a lock."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while (
            await session.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND state = 'active' AND datname = current_database() AND query LIKE $1",
                query,
            )
            < count
        ):
            pass


def end(server: PostgresServer, backends: Sequence[int]) -> None:
    """Terminate those of some backends that are there still; do not wait until they are gone."""
    rows = server.execute(
        "SELECT pg_terminate_backend(pid) AS is_told FROM unnest($1::integer[]) AS pid", backends
    )
    faults.count(sum(row["is_told"] for row in rows))
