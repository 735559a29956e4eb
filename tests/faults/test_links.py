"""A link lies where a store makes a file: what it points to is never written to."""

# ruff: noqa: ASYNC240 - the files are small, and nothing else is to go on meanwhile

from pathlib import Path

import pytest
from tests.conftest import noted
from tests.faults.account import faults

from backstory import ANY, BackstoryError, StoreUnavailableError
from backstory.operations import SalvageClock, salvage
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

BESIDE = ("", "-journal", "-wal", "-shm", "-head", "-turn", "-queue")

PRECIOUS = b"precious\n" * 1_000


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Return a file outside the store's folder."""
    victim = tmp_path / "victim"
    victim.write_bytes(PRECIOUS)
    return victim


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder / "story.db"


async def use(path: Path) -> None:
    """Open a store and write to it; refused or not, it must not reach through a link."""
    faults.count()
    try:
        async with SQLiteStore(path) as store:
            await store.append("task-1", noted("a"), expected_version=ANY)
    except BackstoryError:
        pass


@pytest.mark.fault(32, without="`O_NOFOLLOW`")
@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("beside", BESIDE)
async def test_link_in_the_place_of_a_file_is_not_written_through(
    path: Path, victim: Path, beside: str, *, is_new: bool
) -> None:
    place = Path(f"{path}{beside}")
    if not is_new:
        await use(path)
        place.unlink(missing_ok=True)
    place.symlink_to(victim)

    await use(path)

    assert victim.read_bytes() == PRECIOUS


@pytest.mark.fault(32, without="`O_NOFOLLOW`")
@pytest.mark.parametrize("beside", BESIDE)
async def test_link_to_nowhere_makes_no_file_there(path: Path, tmp_path: Path, beside: str) -> None:
    Path(f"{path}{beside}").symlink_to(tmp_path / "nowhere")

    await use(path)

    assert not (tmp_path / "nowhere").exists()


@pytest.mark.fault(32, without="`O_NOFOLLOW`")
@pytest.mark.parametrize("beside", ["-head", "-turn", "-queue"])
async def test_link_to_an_empty_file_is_refused_too(
    path: Path, tmp_path: Path, beside: str
) -> None:
    (tmp_path / "empty").touch()
    Path(f"{path}{beside}").symlink_to(tmp_path / "empty")
    faults.count()

    with pytest.raises(StoreUnavailableError):
        await SQLiteStore(path).open()

    assert (tmp_path / "empty").read_bytes() == b""


@pytest.mark.fault(32, without="`O_NOFOLLOW`")
async def test_link_in_the_place_of_an_owner_is_refused(path: Path, victim: Path) -> None:
    async with SQLiteStore(path) as store:
        await store.try_own("Counts")
    (owner,) = path.parent.glob("story.db-owner-*")
    owner.unlink()
    owner.symlink_to(victim)
    faults.count()

    async with SQLiteStore(path) as store:
        with pytest.raises(StoreUnavailableError):
            await store.try_own("Counts")

    assert victim.read_bytes() == PRECIOUS


@pytest.mark.fault(32, without="the closing of the first file when the second cannot be opened")
async def test_descriptors_are_given_back_when_a_link_is_refused(path: Path, victim: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")
    Path(f"{path}-queue").symlink_to(victim)
    before = len(list(descriptors.iterdir()))

    for _ in range(5):
        await use(path)

    assert len(list(descriptors.iterdir())) == before


@pytest.mark.fault(32, without="`O_NOFOLLOW`")
@pytest.mark.parametrize("beside", BESIDE)
async def test_salvage_writes_through_no_link(path: Path, victim: Path, beside: str) -> None:
    await use(path)
    target, clock = path.with_name("good.db"), SalvageClock()
    Path(f"{target}{beside}").symlink_to(victim)

    try:
        async with (
            SQLiteStore(path, read_only=True) as source,
            SQLiteStore(target, clock=clock) as copy,
        ):
            await salvage(source, copy, clock=clock)
    except BackstoryError:
        pass

    assert victim.read_bytes() == PRECIOUS


@pytest.mark.fault(32, 33, without="the path as links lead to it")
async def test_two_links_to_one_store_are_one_store(path: Path, tmp_path: Path) -> None:
    await use(path)
    links = [tmp_path / "one.db", tmp_path / "other.db"]
    for link in links:
        link.symlink_to(path)
        faults.count()

    async with SQLiteStore(links[0]) as one, SQLiteStore(links[1]) as other:
        assert await one.try_own("Counts") != await other.try_own("Counts")
        for number in range(10):
            for store in (one, other):
                await store.append("task-1", noted(str(number)), expected_version=ANY)
        assert await one.head() == await other.head() == 21

    async with SQLiteStore(path) as store:
        assert await store.head() == 21
