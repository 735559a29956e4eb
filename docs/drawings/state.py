"""The states of a subscription, and what changes them: the table in its module, as a picture."""

from backstory import SubscriptionState
from backstory._subscription import TRANSITIONS
from drawings.picture import arrow, box, picture, words


def draw_states() -> str:
    """Return the states and their transitions as a picture.

    Raises:
        KeyError: The table has no such transition.
    """
    catching_up, held_up, live, stopped = SubscriptionState
    why = {
        (source.value, target.value): cause.value for (source, cause), target in TRANSITIONS.items()
    }
    parts = [
        arrow((240, 10), (240, 40)),
        box(170, 40, 140, 40, catching_up.value),
        box(10, 150, 140, 40, held_up.value),
        box(330, 150, 140, 40, live.value),
        box(170, 260, 140, 40, stopped.value),
        arrow((190, 80), (100, 150)),
        words(95, 112, why.pop((catching_up.value, held_up.value))),
        arrow((120, 150), (210, 80)),
        words(190, 135, why.pop((held_up.value, catching_up.value))),
        arrow((270, 80), (360, 150)),
        words(290, 112, why.pop((catching_up.value, live.value))),
        arrow((380, 150), (290, 80)),
        words(375, 112, why.pop((live.value, catching_up.value))),
        arrow((80, 190), (80, 280), (170, 280)),
        words(110, 270, why.pop((held_up.value, stopped.value))),
        arrow((400, 190), (400, 280), (310, 280)),
        words(360, 270, why.pop((live.value, stopped.value))),
        arrow((240, 80), (240, 260)),
        words(255, 210, why.pop((catching_up.value, stopped.value))),
    ]
    if why:
        raise ValueError(f"the picture of a subscription lacks {sorted(why)}")
    return picture("The states of a subscription", 480, 310, parts)
