"""The turn to write: one at a time, each in turn, and none for ever."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backstory import StoreUnavailableError
from backstory.stores.sqlite._turn import WriteTurn, open_beside


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "story.db"


@pytest.fixture
def turns(path: Path) -> Iterator[list[WriteTurn]]:
    """Yield what three processes would have: the lock is one of open files, not of processes."""
    turns = [WriteTurn(path, store="s", timeout_seconds=30) for _ in range(3)]
    yield turns
    for turn in turns:
        turn.close()


def test_one_has_the_turn_at_a_time(turns: list[WriteTurn]) -> None:
    inside, most, count = 0, 0, 0

    def work(turn: WriteTurn) -> None:
        nonlocal inside, most, count
        for _ in range(50):
            with turn.taken("append"):
                inside += 1
                most = max(most, inside)
                count += 1
                inside -= 1

    threads = [threading.Thread(target=work, args=(turn,)) for turn in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (most, count) == (1, 150)


def test_nobody_who_comes_again_is_before_who_waits(turns: list[WriteTurn]) -> None:
    # Two that come again and again, and one that wants it now and then.
    stopped = threading.Event()
    greedy_count = 0

    def come_again(turn: WriteTurn) -> None:
        nonlocal greedy_count
        while not stopped.is_set():
            with turn.taken("append"):
                greedy_count += 1

    threads = [threading.Thread(target=come_again, args=(turn,)) for turn in turns[:2]]
    for thread in threads:
        thread.start()
    most = 0
    for _ in range(50):
        before = greedy_count
        with turns[2].taken("append"):
            most = max(most, greedy_count - before)
    stopped.set()
    for thread in threads:
        thread.join()

    assert greedy_count
    print(f"at most {most} turns before a turn of one's own")  # noqa: T201 - for a failed test


def test_wait_has_a_limit(path: Path, turns: list[WriteTurn]) -> None:
    impatient = WriteTurn(path, store="sqlite:///story.db", timeout_seconds=0.01)

    with turns[0].taken("append"), pytest.raises(StoreUnavailableError) as caught:
        impatient.take("append")

    assert "other processes wrote for 0.01 s" in str(caught.value)
    assert not caught.value.outcome_unknown
    with impatient.taken("append"):
        pass
    impatient.close()


def test_turn_is_given_back_when_the_work_fails(turns: list[WriteTurn]) -> None:
    with pytest.raises(LookupError), turns[0].taken("append"):
        raise LookupError

    with turns[1].taken("append"):
        pass


def test_files_are_the_owners_only(path: Path, turns: list[WriteTurn]) -> None:
    assert turns
    for what in ("turn", "queue"):
        assert path.with_name(f"story.db-{what}").stat().st_mode & 0o777 == 0o600


def test_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.with_name("story.db-turn").symlink_to(tmp_path / "victim")

    with pytest.raises(OSError, match=r"story\.db-turn"):
        open_beside(path, "turn")

    assert not (tmp_path / "victim").exists()
