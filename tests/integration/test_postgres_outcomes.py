"""What a caller is told of a change is true: that it happened, did not, or that nobody knows."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import asyncpg
import pytest
from tests.conftest import DEADLINE_SECONDS, noted
from tests.servers.postgres import OwnPostgresServer, PostgresServer
from tests.servers.proxy import Proxy

from backstory import (
    ANY,
    ConfigurationError,
    Durability,
    StoreClosedError,
    StoreUnavailableError,
)
from backstory._progress import Note
from backstory.stores.postgres import PostgresStore
from backstory.stores.postgres._database import Database, Settings
from backstory.testing import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    async with PostgresStore(postgres_url, listen=False):
        pass  # it has made the schema
    async with Proxy(postgres_url) as proxy:
        yield proxy


@pytest.mark.parametrize("own_postgres_server", [{"wal_writer_delay": "10s"}], indirect=True)
async def test_repetition_is_as_durable_as_it_says(own_postgres_server: OwnPostgresServer) -> None:
    url = own_postgres_server.create_database()
    events = noted("a")
    async with (
        PostgresStore(url, durability=Durability.BUFFERED, listen=False) as buffered,
        PostgresStore(url, listen=False) as ours,
    ):
        first = await buffered.append("task-1", events, expected_version=0)
        (written,) = own_postgres_server.execute("SELECT pg_current_wal_insert_lsn()::text AS lsn")

        again = await ours.append("task-1", events, expected_version=0)

        (flushed,) = own_postgres_server.execute(
            "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn AS is_flushed", written["lsn"]
        )
    assert again.first_position == first.first_position
    assert (first.durability, again.durability) == (Durability.BUFFERED, Durability.FSYNC)
    assert flushed["is_flushed"]


async def test_outcome_is_unknown_whatever_the_next_attempt_meets(
    proxy: Proxy, postgres_server: PostgresServer
) -> None:
    async with PostgresStore(proxy.url, listen=False) as store:
        await store.append("task-1", noted("a"), expected_version=0)
        proxy.cut_at_reply(b"append_events")
        # The next attempts are told that there is no such database.
        proxy_url: Any = store._database.settings  # pyright: ignore[reportPrivateUsage]  # white box
        missing = Settings(
            **{
                name: getattr(proxy_url, name)
                for name in proxy_url.__struct_fields__
                if name != "dsn"
            },
            dsn=postgres_server.url("there_is_none"),
        )
        store._database.settings = missing  # pyright: ignore[reportPrivateUsage]  # likewise

        with anyio.fail_after(DEADLINE_SECONDS), pytest.raises(StoreUnavailableError) as caught:
            await store.append("task-1", noted("b"), expected_version=1)

    assert caught.value.outcome_unknown
    assert "there_is_none" in str(caught.value)


async def test_change_whose_answer_was_lost_may_have_happened(proxy: Proxy) -> None:
    async with PostgresStore(proxy.url, listen=False, retry_seconds=0) as store:
        proxy.cut_at_reply(b"COMMIT")

        with anyio.fail_after(DEADLINE_SECONDS), pytest.raises(StoreUnavailableError) as caught:
            await store.save_notes(Note("space", "key", b"1"))

        assert caught.value.outcome_unknown
        assert [note.key for note in await store.load_notes("space")] == ["key"]


async def test_change_that_could_not_begin_has_not_happened(proxy: Proxy) -> None:
    async with PostgresStore(proxy.url, listen=False, retry_seconds=0) as store:
        proxy.refuse()
        proxy.cut_all()

        with anyio.fail_after(DEADLINE_SECONDS), pytest.raises(StoreUnavailableError) as caught:
            await store.append("task-1", noted("a"), expected_version=0)

        assert not caught.value.outcome_unknown


async def test_nothing_is_owned_after_the_end(postgres_schema_url: str) -> None:
    dsn, _, schema = postgres_schema_url.partition("?schema=")
    async with PostgresStore(dsn, schema=schema) as store:
        assert await store.try_own("Counts")
        owned = store._owned  # pyright: ignore[reportPrivateUsage]  # as one that was in its pause
    assert owned is not None

    with pytest.raises(StoreClosedError):
        await owned.take("Counts")


async def test_pinging_goes_on_after_an_error_that_nobody_foresaw(postgres_schema_url: str) -> None:
    dsn, _, schema = postgres_schema_url.partition("?schema=")
    async with PostgresStore(dsn, schema=schema, ownership_timeout_seconds=0.4) as store:
        assert await store.try_own("Counts")
        owned: Any = store._owned  # pyright: ignore[reportPrivateUsage]  # white box
        hello, pings = owned._say_hello, 0

        async def fail_once(db: Any) -> None:
            nonlocal pings
            pings += 1
            if pings == 1:
                raise asyncpg.InternalClientError("unforeseen")
            await hello(db)

        owned._say_hello = fail_once
        with anyio.fail_after(DEADLINE_SECONDS):
            while not await store.try_own("Counts"):
                pass  # it was lost, and says so once
            while pings < 6:
                await asyncio.wait([owned._pinging], timeout=0.01)

        assert not owned._pinging.done()
        assert await store.try_own("Counts")


async def test_who_is_cancelled_says_nothing_of_the_server() -> None:
    settings = Settings(
        dsn="postgresql://nobody@127.0.0.1:1/none",
        schema="backstory",
        durability=Durability.FSYNC,
        read_only=False,
        connection_count_max=1,
        connect_timeout_seconds=1.0,
        statement_timeout_seconds=1.0,
        lock_timeout_seconds=1.0,
        retry_seconds=0.0,
    )
    database = Database(settings)

    async def fail() -> None:
        raise ConnectionRefusedError("nobody is there")

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    for _ in range(5):
        with pytest.raises(StoreUnavailableError):
            await database.patiently("look", fail)
        cancelled = asyncio.create_task(database.patiently("look", wait))
        await asyncio.wait([cancelled], timeout=0)
        cancelled.cancel()
        await asyncio.wait([cancelled])

    with pytest.raises(StoreUnavailableError, match="not tried again yet"):
        await database.patiently("look", wait)


class BrokenClock(ManualClock):
    """Does not tell the time."""

    def now(self) -> Any:
        raise ZeroDivisionError("the clock is broken")


async def test_clock_that_fails_is_told_as_on_every_store(postgres_schema_url: str) -> None:
    dsn, _, schema = postgres_schema_url.partition("?schema=")
    async with PostgresStore(dsn, schema=schema, clock=BrokenClock()) as store:
        with pytest.raises(StoreUnavailableError, match="clock is broken") as caught:
            await store.append("task-1", noted("a"), expected_version=ANY)

    assert not caught.value.outcome_unknown


@pytest.mark.parametrize("schema", ["a{schema}b", "a$body$b", "", "x" * 64, "a\0b"])
async def test_schema_that_cannot_be_written_is_refused(schema: str) -> None:
    with pytest.raises(ConfigurationError, match="schema must"):
        PostgresStore("postgresql://127.0.0.1/none", schema=schema)
