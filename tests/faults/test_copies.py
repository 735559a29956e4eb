"""Copies of an open file, older backups, and read models that are ahead of a restored log."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from tests.conftest import Counted, drain, new_event, noted, texts_of
from tests.faults.account import faults
from tests.integration.test_snapshot_then_tail import FINGERPRINT, Kept

from backstory import (
    ANY,
    Backstory,
    BackstoryError,
    Checkpoint,
    CorruptLogError,
    EventStore,
    Projection,
    Snapshot,
    on,
)
from backstory._fingerprint import fingerprint_of
from backstory.operations import verify
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

LEFT_OUT = ((), ("-wal",), ("-head",), ("-wal", "-head"), ("-shm",), ("-wal", "-shm", "-head"))
"""What whoever copies an open store may have left behind."""


class Sums(Projection):
    total: int = 0
    seen: list[int] = []

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by
        self.seen.append(event.by)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "story.db"


def copy(path: Path, folder: Path, *left_out: str) -> Path:
    """Copy the files of a store as `cp` would, but for some."""
    folder.mkdir()
    for file in path.parent.glob("story.db*"):
        if file.name.removeprefix("story.db") not in left_out:
            shutil.copy(file, folder / file.name)
    faults.count()
    return folder / path.name


@pytest.mark.fault(33, without="the head beside the file")
@pytest.mark.parametrize("left_out", LEFT_OUT, ids="".join)
async def test_copy_of_an_open_file_is_whole_or_refused(
    path: Path, tmp_path: Path, left_out: tuple[str, ...]
) -> None:
    async with SQLiteStore(path) as store:
        await store.append("task-1", noted("kept"), expected_version=0)
    async with SQLiteStore(path) as store:
        for text in "abcdefgh":
            await store.append("task-1", noted(text), expected_version=ANY)
        copied = copy(path, tmp_path / "copy", *left_out)

    if "-wal" not in left_out:
        async with SQLiteStore(copied) as store:
            assert texts_of(await drain(store.read_log())) == ["kept", *"abcdefgh"]
    elif "-head" not in left_out:
        with pytest.raises(CorruptLogError, match="and 9 was acknowledged"):
            await SQLiteStore(copied).open()
    else:
        # Whoever leaves out both has an older copy, which is whole as such.
        async with SQLiteStore(copied) as store:
            assert texts_of(await drain(store.read_log())) == ["kept"]


def back_up(path: Path, target: Path) -> None:
    """Copy a database as SQLite does it: all that was committed when it began."""
    with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(target)) as copied:
        db.backup(copied)


@pytest.mark.fault(33, without="the transaction around a commit")
async def test_backup_through_sqlite_is_whole_while_others_append(
    path: Path, tmp_path: Path
) -> None:
    async with SQLiteStore(path) as store, anyio.create_task_group() as group:

        async def append() -> None:
            while True:
                await store.append("task-1", noted(*"ab"), expected_version=ANY)

        group.start_soon(append)
        for number in range(20):
            target = tmp_path / f"backup-{number}.db"
            await anyio.to_thread.run_sync(back_up, path, target)
            faults.count()

            async with SQLiteStore(target) as backup:
                texts = texts_of(await drain(backup.read_log()))
                assert texts == ["a", "b"] * (len(texts) // 2)
                assert (await verify(backup)).is_whole
        group.cancel_scope.cancel()


async def project(path: Path, *numbers: int) -> Sums:
    """Count, and return the read model of all that was counted."""
    async with Backstory(f"sqlite:///{path}", projections=[Sums]) as story:
        for number in numbers:
            await story.store.append(
                "counter-1", [new_event(Counted(by=number))], expected_version=ANY
            )
        return await story.read_model(Sums)


@pytest.mark.fault(33, "T36", without="the head beside the file")
async def test_older_backup_is_refused_and_forgotten_on_purpose(path: Path, tmp_path: Path) -> None:
    await project(path, 1, 2)
    backup = copy(path, tmp_path / "backup")
    await project(path, *range(3, 103))
    shutil.copy(backup, path)
    faults.count()

    with pytest.raises(CorruptLogError, match="the log ends at position 2, and 102 was"):
        await SQLiteStore(path).open()
    path.with_name("story.db-head").unlink()
    model = await project(path, *range(1_000, 1_050))

    # The read model came back with its log: nothing of what was lost is in it.
    assert model.seen == [1, 2, *range(1_000, 1_050)]


@pytest.mark.fault(33, "T36", without="the comparison of a checkpoint with the end of the log")
async def test_checkpoint_ahead_of_the_log_is_not_believed(store: EventStore) -> None:
    ahead = Checkpoint("Sums", 100, fingerprint_of(Sums), b'{"total":9999,"seen":[9999]}')
    await store.append("counter-1", [new_event(Counted(by=1))], expected_version=ANY)
    await store.save_checkpoint(ahead)
    faults.count()

    async with Backstory(store, projections=[Sums]) as story:
        assert (await story.read_model(Sums)).seen == [1]
        for number in range(2, 6):
            await store.append("counter-1", [new_event(Counted(by=number))], expected_version=ANY)
        assert (await story.read_model(Sums)).seen == [1, 2, 3, 4, 5]

    checkpoint = await store.load_checkpoint("Sums")
    assert checkpoint is not None
    assert checkpoint.position == 5


@pytest.mark.fault(33, "T36", 5, without="the look for the event of the snapshot")
async def test_snapshot_ahead_of_its_stream_is_not_believed(store: EventStore) -> None:
    async with Backstory(store) as story:
        await story.execute(Kept.count, "1", [1, 2])
        state_json = b'{"steps":[9,9,9,9,9],"texts":{}}'
        await store.save_snapshot(Snapshot("kept-1", 5, FINGERPRINT, state_json))
        faults.count()

        assert (await story.load(Kept, "1")).steps == [1, 2]
        await story.execute(Kept.count, "1", [3])
        assert (await story.load(Kept, "1")).steps == [1, 2, 3]


@pytest.mark.fault(33, without="the incarnation in the head")
async def test_file_that_is_exchanged_for_another_store_s_is_refused(
    path: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    await project(path, 1, 2, 3)
    await project(other / "story.db", 7, 8, 9, 10)
    shutil.copy(other / "story.db", path)
    faults.count()

    with pytest.raises(BackstoryError, match="another log"):
        await SQLiteStore(path).open()
