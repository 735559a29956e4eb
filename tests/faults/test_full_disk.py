"""The disk is full: appends say so and leave nothing; with space they work again by themselves."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.conftest import drain, noted, texts_of
from tests.faults.account import faults
from tests.faults.child import finish, needs_limits
from tests.faults.mount import mounted, remount

from backstory import (
    ANY,
    Checkpoint,
    EventStore,
    NewEvent,
    Snapshot,
    StoreUnavailableError,
)
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        yield disk


async def fill(store: EventStore) -> tuple[list[str], list[NewEvent]]:
    """Append until the disk is full; return what was acknowledged, and the batch that was not."""
    acknowledged: list[str] = []
    while True:
        texts = [f"{len(acknowledged)} {place}".ljust(5_000) for place in range(3)]
        batch = noted(*texts)
        try:
            await store.append("full-1", batch, expected_version=len(acknowledged))
        except StoreUnavailableError as error:
            assert "full" in error.reason  # noqa: PT017 - the loop ends here
            faults.count()
            return acknowledged, batch
        acknowledged += texts


@pytest.mark.fault(6, without="an error of COMMIT that reaches the caller")
async def test_full_disk_is_told_and_passes(disk: Path) -> None:
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(400_000))

    async with SQLiteStore(disk / "story.db") as store:
        acknowledged, batch = await fill(store)
        for _ in range(3):
            with pytest.raises(StoreUnavailableError, match="full"):
                await store.append("full-1", batch, expected_version=ANY)
        assert texts_of(await drain(store.read_log())) == acknowledged
        assert await store.head() == len(acknowledged)

        ballast.unlink()
        receipt = await store.append("full-1", batch, expected_version=len(acknowledged))

        assert receipt.first_version == receipt.first_position == len(acknowledged) + 1
        assert len(await drain(store.read_log())) == len(acknowledged) + 3

    with closing(sqlite3.connect(disk / "story.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.fault(6, without="an error of COMMIT that reaches the caller")
async def test_full_disk_refuses_snapshots_and_checkpoints_too(disk: Path) -> None:
    state_json = b'"%s"' % (b"x" * 500_000)

    async with SQLiteStore(disk / "story.db") as store:
        acknowledged, batch = await fill(store)
        with pytest.raises(StoreUnavailableError, match="full"):
            await store.save_snapshot(Snapshot("full-1", 1, "f", state_json))
        with pytest.raises(StoreUnavailableError, match="full"):
            await store.save_checkpoint(Checkpoint("Full", 1, "f", state_json))
        assert await store.load_snapshot("full-1", fingerprint="f") is None
        assert await store.load_checkpoint("Full") is None

        remount(disk, "size=4m")
        await store.save_checkpoint(Checkpoint("Full", 1, "f", b"{}"))
        await store.append("full-1", batch, expected_version=len(acknowledged))


@pytest.mark.fault(6, without="the translation of the system's errors")
async def test_disk_that_is_full_at_opening_is_told_and_passes(disk: Path) -> None:
    (disk / "ballast").write_bytes(bytes(1_048_576))

    with pytest.raises(StoreUnavailableError):
        await SQLiteStore(disk / "story.db").open()
    faults.count()

    (disk / "ballast").unlink()
    async with SQLiteStore(disk / "story.db") as store:
        await store.append("full-1", noted("a"), expected_version=0)


@pytest.mark.fault(6, without="the translation of the system's errors")
async def test_disk_without_room_for_another_file_is_told_and_passes(tmp_path: Path) -> None:
    for file_count in range(2, 7):
        with mounted(tmp_path / f"disk-{file_count}", f"nr_inodes={file_count}") as disk:
            with pytest.raises(StoreUnavailableError):
                await SQLiteStore(disk / "story.db").open()
            faults.count()

            remount(disk, "nr_inodes=100")
            async with SQLiteStore(disk / "story.db") as store:
                await store.append("full-1", noted("a"), expected_version=0)


@needs_limits
@pytest.mark.fault(6, 8, without="an error of COMMIT that reaches the caller")
@pytest.mark.parametrize("more", [100, 4_100, 33_000])
async def test_file_that_may_not_grow_is_told_and_passes(tmp_path: Path, more: int) -> None:
    # Writes up to the limit are done in part, and what is over it fails: real short writes.
    (said,) = await finish("limited.py", tmp_path / "story.db", "file-size", more)

    faults.count(said["refused"])
    assert said["errors"] == ["StoreUnavailableError"]
    assert said["after"] == said["acknowledged"] + 1
