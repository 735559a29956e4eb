"""The states of a projector, from the table of what may follow what."""

from collections.abc import Iterable
from typing import Final

from backstory import ProjectorState
from backstory._projector import MOVES
from drawings.picture import arrow, box, picture, words

_BOX: Final = (130, 36)
_GAP: Final = 14
_FRAME_LEFT: Final = 210
_ENDS_LEFT: Final = 470


def stages() -> tuple[list[ProjectorState], list[ProjectorState], list[ProjectorState]]:
    """Return the states that begin, those that follow each other as they may, and those that end.

    Raises:
        ValueError: The table has another shape than the picture can show.
    """
    targets = {target for found in MOVES.values() for target in found}
    first = [state for state in MOVES if state not in targets]
    last = [state for state in MOVES if not MOVES[state]]
    between = [state for state in MOVES if state not in (*first, *last)]
    drawn = {
        **dict.fromkeys((*first, *between), frozenset((*between, *last))),
        **dict.fromkeys(last, frozenset[ProjectorState]()),
    }
    if drawn != MOVES or len(drawn) != len(ProjectorState):
        raise ValueError("the picture of a projector no longer shows what may follow what")
    return first, between, last


def draw_projector() -> str:
    """Return the states, and what may follow what, as a picture."""
    first, between, last = stages()
    width, height = _BOX
    inner = _GAP + len(between) * (height + _GAP)
    middle = inner / 2
    frame_right = _FRAME_LEFT + width + 2 * _GAP
    parts = [
        *_column(20, middle, first),
        box(_FRAME_LEFT, 0, width + 2 * _GAP, inner, ""),
        *_column(_FRAME_LEFT + _GAP, middle, between),
        *_column(_ENDS_LEFT, middle, last),
        words(_FRAME_LEFT + _GAP + width / 2, inner + 16, "each may follow each"),
        arrow((20 + width, middle), (_FRAME_LEFT, middle)),
        *(arrow((frame_right, y), (_ENDS_LEFT, y)) for y in _middles(middle, last)),
        words(20 + width / 2, middle + height + _GAP, "may end at once, too"),
    ]
    return picture("The states of a projector", _ENDS_LEFT + width + 10, inner + 30, parts)


def _middles(middle: float, states: Iterable[ProjectorState]) -> list[float]:
    """Return where the boxes of a column have their middles."""
    count, step = len(list(states)), _BOX[1] + _GAP
    return [middle + step * (number - (count - 1) / 2) for number in range(count)]


def _column(left: float, middle: float, states: list[ProjectorState]) -> list[str]:
    width, height = _BOX
    tops = [y - height / 2 for y in _middles(middle, states)]
    return [
        box(left, top, width, height, state.value) for top, state in zip(tops, states, strict=True)
    ]
