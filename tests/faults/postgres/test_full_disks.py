"""The server's disk is full: appends say so and leave nothing; with space they work again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS, drain, noted, texts_of
from tests.faults.account import faults
from tests.faults.mount import mounted
from tests.faults.postgres.opened import check_dense, store_on
from tests.servers.installation import unprivileged
from tests.servers.postgres import OwnPostgresServer

from backstory import EventStore, NewEvent, StoreUnavailableError

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TEXT_CHARS = 50_000
MEGABYTE = 1_000_000
NOT_COMPRESSED = "ALTER TABLE backstory.events ALTER data SET STORAGE EXTERNAL"


@pytest.fixture
def disk(own_postgres_server: OwnPostgresServer) -> Iterator[Path]:
    """Yield a small disk that belongs to the server; the server is stopped before it goes."""
    folder = own_postgres_server.folder / "disk"
    with mounted(folder, "size=100m", f"uid={unprivileged().user}") as disk:
        disk.chmod(0o700)
        yield disk
        if own_postgres_server.is_running:
            own_postgres_server.stop()


def fill_up(disk: Path, *, but_for: int) -> Path:
    """Leave so many bytes free; return the file that can be removed again."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - but_for)))
    return ballast


async def fill(store: EventStore) -> tuple[list[str], list[NewEvent]]:
    """Append until the disk is full; return what was acknowledged, and the batch that was not."""
    acknowledged: list[str] = []
    while True:
        texts = [f"{len(acknowledged)} {place}".ljust(TEXT_CHARS) for place in range(3)]
        batch = noted(*texts)
        try:
            await store.append("full-1", batch, expected_version=len(acknowledged))
        except StoreUnavailableError:
            faults.count()
            return acknowledged, batch
        acknowledged += texts


@pytest.mark.fault(6, store="postgres", without="an error of the insert that reaches the caller")
async def test_full_disk_of_the_data_is_told_and_passes(
    own_postgres_server: OwnPostgresServer, disk: Path
) -> None:
    server = own_postgres_server
    async with store_on(server.url(), listen=False) as store:
        server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        server.execute("ALTER TABLE backstory.events SET TABLESPACE small")
        server.execute(NOT_COMPRESSED)
        ballast = fill_up(disk, but_for=4 * MEGABYTE)

        acknowledged, batch = await fill(store)
        for _ in range(3):
            with pytest.raises(StoreUnavailableError, match="No space left") as raised:
                await store.append("full-1", batch, expected_version=len(acknowledged))
            assert not raised.value.outcome_unknown
        assert texts_of(await drain(store.read_log())) == acknowledged
        assert await store.head() == len(acknowledged)

        ballast.unlink()
        receipt = await store.append("full-1", batch, expected_version=len(acknowledged))

        assert receipt.first_position == len(acknowledged) + 1
        assert len(await check_dense(store)) == len(acknowledged) + 3


@pytest.mark.fault(6, store="postgres", without="an error of the insert that reaches the caller")
async def test_full_disk_of_the_write_ahead_log_takes_nothing_that_was_acknowledged(
    own_postgres_server: OwnPostgresServer, disk: Path
) -> None:
    server = own_postgres_server
    server.stop()
    place = server.folder / "data" / "pg_wal"
    shutil.move(place, disk / "pg_wal")
    place.symlink_to(disk / "pg_wal")
    unprivileged().own(disk)
    server.start()
    async with store_on(server.url(), listen=False, retry_seconds=1) as store:
        server.execute(NOT_COMPRESSED)
        ballast = fill_up(disk, but_for=4 * MEGABYTE)
        with anyio.fail_after(2 * DEADLINE_SECONDS):
            acknowledged, batch = await fill(store)

        ballast.unlink()
        if not server.is_running:
            await anyio.to_thread.run_sync(server.start)
        receipt = None
        with anyio.fail_after(DEADLINE_SECONDS):
            while receipt is None:
                try:
                    receipt = await store.append(
                        "full-1", batch, expected_version=len(acknowledged)
                    )
                except StoreUnavailableError:
                    await anyio.lowlevel.checkpoint()

        assert receipt.first_position == len(acknowledged) + 1
        texts = texts_of(await check_dense(store))
        assert texts[: len(acknowledged)] == acknowledged
        assert len(texts) == len(acknowledged) + 3
