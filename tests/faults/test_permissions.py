"""What may not be read or written is told when a store is opened, and nothing else happens."""

# ruff: noqa: ASYNC240 - the files are small, and nothing else is to go on meanwhile

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.conftest import drain, noted, texts_of
from tests.faults.account import faults
from tests.faults.mount import mounted, remount
from tests.faults.privilege import without_privilege

from backstory import ANY, BackstoryError, ConfigurationError, StoreUnavailableError
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

BESIDE = ("", "-head", "-turn", "-queue")


async def make_store(path: Path) -> Path:
    async with SQLiteStore(path) as store:
        await store.append("task-1", noted("a"), expected_version=0)
    return path


@contextmanager
def mode(path: Path, bits: int) -> Generator[None]:
    """Give a file or folder other permissions, and what it had before."""
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(bits)
    try:
        with without_privilege():
            faults.count()
            yield
    finally:
        path.chmod(before)


@pytest.mark.fault(31, without="the look whether the file may be written")
@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("bits", [0o000, 0o444])
async def test_file_that_may_not_be_written_is_told_at_opening(
    tmp_path: Path, beside: str, bits: int
) -> None:
    path = await make_store(tmp_path / "story.db")

    with mode(Path(f"{path}{beside}"), bits), pytest.raises(StoreUnavailableError):
        await SQLiteStore(path).open()

    async with SQLiteStore(path) as store:
        assert texts_of(await drain(store.read_log())) == ["a"]
        await store.append("task-1", noted("b"), expected_version=1)


@pytest.mark.fault(31, without="the translation of the system's errors")
@pytest.mark.parametrize("bits", [0o000, 0o444, 0o555])
async def test_folder_that_may_not_be_written_is_told_at_opening(tmp_path: Path, bits: int) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()

    with mode(folder, bits), pytest.raises(BackstoryError):
        await SQLiteStore(folder / "story.db").open()
    assert list(folder.iterdir()) == []

    path = await make_store(folder / "story.db")
    with mode(folder, bits), pytest.raises(BackstoryError):
        await SQLiteStore(path).open()
    async with SQLiteStore(path) as store:
        assert texts_of(await drain(store.read_log())) == ["a"]


@pytest.mark.fault(31, without="the translation of the system's errors")
async def test_place_that_is_none_is_told_at_opening(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()

    for name in ("missing/story.db", "file/story.db", "folder", "folder/../missing/x", "x" * 300):
        for read_only in (False, True):
            faults.count()
            with pytest.raises((StoreUnavailableError, ConfigurationError)):
                await SQLiteStore(tmp_path / name, read_only=read_only).open()

    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.fault(31, without="the mode that files are made with")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_every_file_is_its_owner_s_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    faults.count()
    try:
        async with SQLiteStore(tmp_path / "story.db") as store:
            await store.append("task-1", noted("a"), expected_version=0)
            assert await store.try_own("Counts")
            modes = {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    finally:
        os.umask(before)

    assert modes == {0o600}


@pytest.mark.fault(31, without="the translation of the system's errors")
async def test_disk_that_becomes_read_only_is_told_and_passes(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=4m") as disk:
        path = await make_store(disk / "story.db")
        remount(disk, "ro")
        faults.count()
        for read_only in (False, True):
            with pytest.raises(BackstoryError):
                await SQLiteStore(path, read_only=read_only).open()
        with pytest.raises(BackstoryError):
            await SQLiteStore(disk / "other.db").open()

        remount(disk, "rw")
        async with SQLiteStore(path) as store:
            await store.append("task-1", noted("b"), expected_version=1)


@pytest.mark.fault(31, without="the translation of the system's errors")
async def test_folder_that_is_closed_under_an_open_store_harms_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    async with SQLiteStore(folder / "story.db") as store:
        await store.append("task-1", noted("a"), expected_version=0)
        with mode(folder, 0o000):
            try:
                await store.append("task-1", noted("b"), expected_version=1)
            except StoreUnavailableError as error:
                assert not error.outcome_unknown  # noqa: PT017 - either is right
            with pytest.raises(StoreUnavailableError):
                await store.try_own("Counts")

        await store.append("task-1", noted("c"), expected_version=ANY)
        assert texts_of(await drain(store.read_log())) in (["a", "b", "c"], ["a", "c"])
