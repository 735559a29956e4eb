"""The states of a subscription, from the picture at the head of its module.

The picture there is text. It is read as what it says, and compared with the states that the class
has, so that neither can change without the other.
"""

import re
from itertools import pairwise
from typing import Final

from backstory import SubscriptionState, _subscription
from drawings.picture import arrow, box, picture, words

Transition = tuple[str, str, str]
"""From a state, to a state, and because of what."""

_STEP: Final = re.compile(r" ──\((.*?)\)──▶ ")
_END: Final = re.compile(r"\((.*?)\).*▶ (.+)$")


def transitions() -> list[Transition]:
    """Return the transitions in the order of the picture.

    Raises:
        ValueError: The picture's states are not those of `SubscriptionState`.
    """
    lines = (_subscription.__doc__ or "").splitlines()
    first, second = next((line, below) for line, below in pairwise(lines) if "──▶" in line)
    found = [*_along(first), *_down(first, second)]
    drawn = {state for source, target, _ in found for state in (source, target)}
    if drawn != {state.value for state in SubscriptionState}:
        raise ValueError(f"the picture at the head of _subscription shows {sorted(drawn)}")
    return found


def _along(line: str) -> list[Transition]:
    names = _STEP.split(line.strip())
    return [
        (names[place], names[place + 2], names[place + 1]) for place in range(0, len(names) - 2, 2)
    ]


def _down(states: str, line: str) -> list[Transition]:
    """Return the transitions that leave the states above the corners of a line."""
    [(why, target)] = _END.findall(line)
    spans = [
        (match.start(), match.end(), match[0])
        for match in re.finditer(r"[a-z][a-z ]*[a-z](?= ──\()", states)
    ]
    corners = [match.start() for match in re.finditer("[└┴]", line)]
    return [
        (name, target, why)
        for corner in corners
        for start, end, name in spans
        if start <= corner < end
    ]


def draw_states() -> str:
    """Return the states and their transitions as a picture."""
    catching_up, live, stopped = (state.value for state in SubscriptionState)
    why = {(source, target): reason for source, target, reason in transitions()}
    parts = [
        arrow((10, 40), (40, 40)),
        box(40, 20, 140, 40, catching_up),
        box(460, 20, 140, 40, live),
        box(250, 150, 140, 40, stopped),
        arrow((180, 32), (460, 32)),
        words(320, 18, why[catching_up, live]),
        arrow((460, 50), (180, 50)),
        words(320, 64, why[live, catching_up]),
        arrow((110, 60), (110, 170), (250, 170)),
        words(180, 158, why[catching_up, stopped]),
        arrow((530, 60), (530, 170), (390, 170)),
        words(460, 158, why[live, stopped]),
    ]
    return picture("The states of a subscription", 620, 210, parts)
