"""A log that has lost its end is noticed when it is opened, and not served as if it were whole."""

# ruff: noqa: ASYNC240 - the files are small, and nothing else is to go on meanwhile

import re
import shutil
from pathlib import Path

import pytest
from tests.conftest import drain, noted, texts_of
from tests.faults.account import faults

from backstory import ANY, Backstory, CorruptLogError, Durability, StoreUnavailableError
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.sqlite._head import HeadRecord, format_head, read_head

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "story.db"


async def left_behind(path: Path, *texts: str, buffered: str = "") -> Path:
    """Return a copy of a store as a kill would leave it: its last appends lie in the WAL."""
    folder = path.parent / "left"
    folder.mkdir()
    async with (
        SQLiteStore(path) as store,
        SQLiteStore(path, durability=Durability.BUFFERED) as buffering,
    ):
        for text in texts:
            await store.append("task-1", noted(text), expected_version=ANY)
        for text in buffered:
            await buffering.append("task-1", noted(text), expected_version=ANY)
        for file in path.parent.glob("story.db*"):
            shutil.copy(file, folder / file.name)
    return folder / path.name


async def test_log_that_is_whole_is_opened(path: Path) -> None:
    left = await left_behind(path, "a", "b", "c")

    async with SQLiteStore(left) as store:
        assert texts_of(await drain(store.read_log())) == ["a", "b", "c"]


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("byte_count", [1, 100, 4_096])
@pytest.mark.fault(4, without="the head beside the file")
async def test_tail_that_was_cut_off_is_noticed(
    path: Path, byte_count: int, *, read_only: bool
) -> None:
    left = await left_behind(path, *"abcdefgh")
    wal = Path(f"{left}-wal")
    wal.write_bytes(wal.read_bytes()[:-byte_count])
    faults.count()

    with pytest.raises(CorruptLogError, match="the log ends at position 7, and 8 was") as caught:
        await SQLiteStore(left, read_only=read_only).open()

    assert caught.value.position == 8


@pytest.mark.fault(5, without="the head beside the file")
async def test_flipped_bit_in_the_wal_is_noticed(path: Path) -> None:
    left = await left_behind(path, *"abcdefgh")
    wal = left.with_name("story.db-wal")
    content = bytearray(wal.read_bytes())
    content[len(content) // 2] ^= 1
    wal.write_bytes(content)
    faults.count()

    with pytest.raises(CorruptLogError, match="the end is lost"):
        await SQLiteStore(left).open()


@pytest.mark.parametrize("lost", ["story.db-wal", "story.db"])
@pytest.mark.fault(4, 33, without="the head beside the file")
async def test_file_that_is_gone_is_noticed(path: Path, lost: str) -> None:
    left = await left_behind(path, *"abcdefgh")
    left.with_name(lost).unlink()
    faults.count()
    before = sorted(left.parent.iterdir())

    with pytest.raises(CorruptLogError, match="acknowledged up to position 8, and no log is"):
        await SQLiteStore(left).open()

    assert set(before) <= set(left.parent.iterdir())


@pytest.mark.fault(33, "T36", without="the head beside the file")
async def test_older_backup_is_noticed_and_can_be_put_back_on_purpose(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.append("task-1", noted("a"), expected_version=ANY)
    backup = path.with_name("backup.db")
    shutil.copy(path, backup)
    async with SQLiteStore(path) as store:
        await store.append("task-1", noted("b"), expected_version=ANY)
    shutil.copy(backup, path)
    faults.count()

    with pytest.raises(CorruptLogError, match="as with an older backup that was put back"):
        await SQLiteStore(path).open()
    path.with_name("story.db-head").unlink()
    async with Backstory(f"sqlite:///{path}") as story:
        await story.store.append("task-1", noted("c"), expected_version=1)

    kept = read_head(path)
    assert kept is not None
    assert kept.position == 2


@pytest.mark.fault(5, without="the check in the head")
async def test_head_that_is_missing_or_damaged_is_said_and_written_anew(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with SQLiteStore(path) as store:
        await store.append("task-1", noted("a"), expected_version=ANY)
    head = path.with_name("story.db-head")
    whole = head.read_bytes()
    for damage in (b"", whole[:-1], whole.replace(b"head 1", b"head 2"), whole[:90] + b"x" * 200):
        head.write_bytes(damage)
        faults.count()
        caplog.clear()

        async with SQLiteStore(path):
            pass

        assert [record.msg for record in caplog.records] == ["head.missing"]
    async with SQLiteStore(path) as store:
        await store.append("task-1", noted("b"), expected_version=ANY)
    kept = read_head(path)
    assert kept is not None
    assert kept.position == 2


async def test_head_is_that_of_the_last_acknowledged_append(path: Path) -> None:
    async with SQLiteStore(path) as store:
        for number in range(1, 6):
            await store.append("task-1", noted("a"), expected_version=ANY)

            kept = read_head(path)
            assert kept is not None
            assert kept.position == number


@pytest.mark.parametrize("read_only", [False, True])
async def test_buffered_appends_that_a_power_cut_took_alarm_nobody(
    path: Path, caplog: pytest.LogCaptureFixture, *, read_only: bool
) -> None:
    left = await left_behind(path, *"ab", buffered="cd")
    wal = Path(f"{left}-wal")
    wal.write_bytes(wal.read_bytes()[:-1])
    caplog.clear()

    async with SQLiteStore(left, durability=Durability.BUFFERED, read_only=read_only) as store:
        assert texts_of(await drain(store.read_log())) == ["a", "b", "c"]
    assert caplog.records == []


async def test_synced_appends_that_are_lost_are_noticed_under_buffered_too(path: Path) -> None:
    left = await left_behind(path, *"abcd")
    wal = Path(f"{left}-wal")
    wal.write_bytes(wal.read_bytes()[:-1])

    with pytest.raises(CorruptLogError, match="the log ends at position 3, and 4 was"):
        await SQLiteStore(left, durability=Durability.BUFFERED).open()


async def test_buffered_store_keeps_no_head_and_says_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        async with SQLiteStore(path, durability=Durability.BUFFERED) as store:
            await store.append("task-1", noted("a"), expected_version=ANY)

    assert read_head(path) is None
    assert caplog.records == []


async def test_file_to_delete_is_named_where_it_lies(path: Path, tmp_path: Path) -> None:
    other, link = tmp_path / "other.db", tmp_path / "links" / "story.db"
    for file in (path, other):
        async with SQLiteStore(file) as store:
            await store.append("task-1", noted("a"), expected_version=ANY)
    other.replace(path)
    link.parent.mkdir()
    link.symlink_to(path)

    with pytest.raises(CorruptLogError, match=re.escape(f"delete {path}-head")):
        await SQLiteStore(link).open()


async def test_log_that_was_exchanged_is_noticed(path: Path) -> None:
    other = path.with_name("other.db")
    for file in (path, other):
        async with SQLiteStore(file) as store:
            await store.append("task-1", noted("a"), expected_version=ANY)
    shutil.copy(other, path)

    with pytest.raises(CorruptLogError, match="and another log is there now"):
        await SQLiteStore(path).open()


async def test_file_beside_an_empty_store_alarms_nobody(path: Path) -> None:
    async with SQLiteStore(path):
        pass
    path.unlink()

    async with SQLiteStore(path) as store:
        assert await store.head() == 0


@pytest.mark.fault(5, 33, without="the digest in the head")
async def test_log_with_other_events_than_acknowledged_is_refused(path: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.append("task-1", noted("a"), expected_version=ANY)
    kept = read_head(path)
    assert kept is not None
    other = HeadRecord(kept.incarnation, kept.position, bytes(32))
    path.with_name("story.db-head").write_bytes(format_head(other))
    faults.count()

    with pytest.raises(CorruptLogError, match="other events than were acknowledged"):
        await SQLiteStore(path).open()


@pytest.mark.fault(32, without="`O_NOFOLLOW`")
async def test_link_in_the_place_of_the_head_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.with_name("story.db-head").symlink_to(victim)
    faults.count()

    with pytest.raises(StoreUnavailableError, match="beside it"):
        await SQLiteStore(path).open()

    assert victim.read_text() == "precious"
