"""Progress is kept from where it is expected, or refused."""

import pytest

from backstory import Checkpoint, CheckpointMovedError, Progress
from backstory._progress import check_moved


@pytest.mark.parametrize(("expected", "position"), [(None, 0), (None, 7), (0, 0), (7, 7)])
def test_checkpoint_that_is_where_it_is_expected_may_move(
    expected: int | None, position: int
) -> None:
    check_moved(position, Progress(Checkpoint("a", 9, "f", b"{}"), expected))


@pytest.mark.parametrize(("expected", "position"), [(0, 7), (7, 0), (7, 8)])
def test_checkpoint_that_was_moved_is_told(expected: int, position: int) -> None:
    with pytest.raises(CheckpointMovedError, match=f"is at {position}, not at {expected}"):
        check_moved(position, Progress(Checkpoint("a", 9, "f", b"{}"), expected))
