"""Dumps are restored: into a fresh server, where all goes on, and under what has seen more.

No id of a transaction is stored, and positions are given behind the last event; so a log is the
same wherever it lies.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from tests.conftest import Counted, drain, new_event, noted
from tests.faults.account import faults
from tests.faults.postgres.opened import SCHEMA, check_dense, store_on, take
from tests.servers.installation import installed
from tests.servers.postgres import OwnPostgresServer

from backstory import (
    ANY,
    Backstory,
    CorruptLogError,
    EventStore,
    Projection,
    RecordedEvent,
    TableProjection,
    on,
)
from backstory.operations import verify

pytestmark = pytest.mark.anyio


class Sums(Projection):
    """Adds up what was counted, in memory."""

    total: int = 0
    seen: list[int] = []

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by
        self.seen.append(event.by)


class SumTable(TableProjection, name="sum-table"):
    """Keeps what was counted, in a table."""

    schema = ("CREATE TABLE {sums} (position BIGINT PRIMARY KEY, by BIGINT NOT NULL)",)

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.execute("INSERT INTO {sums} VALUES ($1, $2)", recorded.position, event.by)

    async def seen(self) -> list[int]:
        return [by for (by,) in await self.read_rows("SELECT by FROM {sums} ORDER BY position")]


@pytest.fixture
def other_server(own_postgres_server: OwnPostgresServer) -> Iterator[OwnPostgresServer]:  # noqa: ARG001 - it decides whether there can be one
    """Yield a fresh server, whose transaction ids begin anew."""
    with OwnPostgresServer() as server:
        yield server


def run(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL; it must succeed."""
    top = installed()
    assert top is not None
    command = [str(top / "bin" / program), *arguments]
    done = subprocess.run(
        command, env={**os.environ, "LC_ALL": "C"}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def dump(url: str, file: Path, *options: str) -> None:
    run("pg_dump", "--dbname", url, "--format=custom", "--file", str(file), *options)


def restore(file: Path, url: str, *options: str) -> None:
    run("pg_restore", "--dbname", url, "--exit-on-error", *options, str(file))
    faults.count()


async def count(url: str, *numbers: int) -> None:
    """Count, and let both projections see it."""
    async with (
        store_on(url, listen=False) as store,
        Backstory(store, projections=[Sums, SumTable]) as story,
    ):
        for number in numbers:
            event = new_event(Counted(by=number))
            await store.append(f"counter-{number % 3}", [event], expected_version=ANY)
        await story.read_model(Sums)
        await story.read_model(SumTable)


async def seen(url: str) -> tuple[list[int], list[int]]:
    """Return what both projections have seen."""
    async with (
        store_on(url, listen=False) as store,
        Backstory(store, projections=[Sums, SumTable]) as story,
    ):
        in_memory = (await story.read_model(Sums)).seen
        return in_memory, await (await story.read_model(SumTable)).seen()


async def check_whole(store: EventStore) -> None:
    verdict = await verify(store)
    assert verdict.is_whole, verdict


@pytest.mark.fault(33, "T4", store="postgres", without="positions in place of transaction ids")
async def test_dump_is_restored_into_a_fresh_server_and_all_goes_on(
    own_postgres_server: OwnPostgresServer, other_server: OwnPostgresServer, tmp_path: Path
) -> None:
    url, other = own_postgres_server.url(), other_server.url()
    await count(url, *range(1, 21))
    # So that the transaction ids of the first server lie in the future of the second.
    own_postgres_server.execute(
        "DO $$ BEGIN FOR i IN 1..500 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"
    )
    await count(url, *range(21, 31))
    await anyio.to_thread.run_sync(dump, url, tmp_path / "dump")
    await anyio.to_thread.run_sync(restore, tmp_path / "dump", other)

    async with store_on(url, listen=False) as first, store_on(other) as second:
        log = await check_dense(first)
        assert await drain(second.read_log()) == log
        await check_whole(second)
        async with second.subscribe(after_position=30) as subscription:
            receipt = await second.append("counter-1", noted("new"), expected_version=10)
            assert receipt.last_position == 31
            assert [event.position for event in await take(subscription, 1)] == [31]
        for name in ("Sums", "sum-table"):
            checkpoint = await second.load_checkpoint(name)
            assert checkpoint is None or checkpoint.position <= 30
    await count(other, 31)
    assert await seen(other) == ([*range(1, 32)], [*range(1, 32)])


@pytest.mark.fault(
    33, "T36", store="postgres", without="the position that the log keeps of its end"
)
async def test_log_that_is_older_than_what_is_kept_of_it_is_refused(
    own_postgres_server: OwnPostgresServer, tmp_path: Path
) -> None:
    server, url = own_postgres_server, own_postgres_server.url()
    await count(url, 1, 2, 3)
    await anyio.to_thread.run_sync(
        lambda: dump(url, tmp_path / "dump", "--data-only", f"--table={SCHEMA}.events")
    )
    await count(url, 4, 5)
    # What an append does once a minute.
    server.execute("UPDATE backstory.log SET kept_at = '-infinity'")
    await count(url, 6, 7)
    exchange(server, tmp_path / "dump")

    with pytest.raises(CorruptLogError, match="the log ends at 3, and has been at 6"):
        await store_on(url).open()


def exchange(server: OwnPostgresServer, file: Path) -> None:
    """Put the events of a dump in place of those that are there, and leave all else."""
    table = f"{SCHEMA}.events"
    server.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    server.execute(f"TRUNCATE {table}")
    server.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    restore(file, server.url(), "--data-only")


@pytest.mark.fault(
    33, "T36", store="postgres", without="the comparison of a checkpoint with the end of the log"
)
async def test_checkpoints_and_tables_that_are_ahead_of_an_older_log_are_not_believed(
    own_postgres_server: OwnPostgresServer, tmp_path: Path
) -> None:
    server, url = own_postgres_server, own_postgres_server.url()
    await count(url, 1, 2, 3)
    await anyio.to_thread.run_sync(
        lambda: dump(url, tmp_path / "dump", "--data-only", f"--table={SCHEMA}.events")
    )
    await count(url, 4, 5, 6, 7)
    exchange(server, tmp_path / "dump")

    async with store_on(url, listen=False) as store:
        findings = await store.check_engine()
    assert any("ahead of the log" in finding for finding in findings)
    await count(url, 40, 50)
    assert await seen(url) == ([1, 2, 3, 40, 50], [1, 2, 3, 40, 50])
