"""Messages that no actor has handled: the newest are kept, all are counted, each is logged."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from backstory._logging import ACTOR, METHOD, REASON, log
from backstory.actors._envelope import Envelope


class Message(Struct, frozen=True):
    """What was sent to an actor."""

    method: str
    """The qualified name of the method, such as `Counter.add`."""
    args: tuple[Any, ...]
    """Its arguments."""
    kwargs: Mapping[str, Any]
    """Likewise, by name."""


class DeadLetter(Struct, frozen=True):
    """A message that an actor took and did not handle to its end."""

    actor: str
    """The actor's name."""
    message: Message
    """What was sent to it."""
    reason: str
    """Why it was not handled."""


class DeadLetters:
    """The newest dead letters of a system, the oldest of them first.

    Iterate it, or take its length for how many are kept.
    """

    def __init__(self, *, kept_count_max: int) -> None:
        self._kept: deque[DeadLetter] = deque(maxlen=kept_count_max)
        self.count = 0
        """How many there have been in all, the ones that are no longer kept included."""

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(tuple(self._kept))

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, actor: str, envelope: Envelope, reason: str) -> None:
        """Keep and log a message; its arguments are kept, and not logged."""
        message = Message(envelope.label, envelope.args, envelope.kwargs)
        self._kept.append(DeadLetter(actor, message, reason))
        self.count += 1
        log.warning("message.undelivered", **{ACTOR: actor, METHOD: message.method, REASON: reason})
