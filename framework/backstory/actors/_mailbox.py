"""The bounded queue in front of one actor, and the line of those who wait for room in it.

Who comes first is handled first: nobody is put into the mailbox while others stand in line, and
room that is made goes to the first of them at once, in the same step that made it. So the line
is empty, or the mailbox is full.

A message that is withdrawn stays where it is as an empty place, since taking it out of the middle
would mean going through the queue; it no longer counts, and when more than half of the places are
empty they are all cleared away. So a withdrawal costs the same however long the queue is, and what
is kept never grows beyond twice what waits.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from backstory.actors._envelope import Envelope, Place

_EMPTY_PLACES_MIN: Final = 16


class Queue:
    """Envelopes in the order in which they came; any of them can be withdrawn."""

    __slots__ = ("_empty_count", "_envelopes", "_place")

    def __init__(self, place: Place) -> None:
        """Make an empty queue; `place` is what its envelopes say of themselves."""
        self._place = place
        self._envelopes: deque[Envelope] | None = None  # an empty deque is 760 bytes
        self._empty_count = 0

    def __len__(self) -> int:
        return 0 if self._envelopes is None else len(self._envelopes) - self._empty_count

    def __iter__(self) -> Iterator[Envelope]:
        return (envelope for envelope in self._envelopes or () if envelope.place is self._place)

    def append(self, envelope: Envelope) -> None:
        """Put an envelope at the end; it says already where it is."""
        if self._envelopes is None:
            self._envelopes = deque()
        self._envelopes.append(envelope)

    def take(self) -> Envelope | None:
        """Take the first envelope out; None when there is none."""
        while self._envelopes:
            envelope = self._envelopes.popleft()
            if envelope.place is self._place:
                return envelope
            self._empty_count -= 1
        self._envelopes = None
        return None

    def withdraw(self, envelope: Envelope) -> None:
        """Take an envelope out that is in here, wherever."""
        envelope.place = Place.WITHDRAWN
        self._empty_count += 1
        if self._empty_count > max(len(self), _EMPTY_PLACES_MIN):
            self._envelopes = deque(self)
            self._empty_count = 0


class Mailbox:
    """What waits for one actor."""

    __slots__ = ("_line", "_messages", "capacity")

    def __init__(self, capacity: int) -> None:
        """Make an empty mailbox for so many messages."""
        self.capacity = capacity
        self._messages = Queue(Place.MAILBOX)
        self._line: Queue | None = None

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether there is no room."""
        return len(self._messages) >= self.capacity

    def offer(self, envelope: Envelope) -> bool:
        """Put a message at the end, if there is room; return whether there was."""
        if self.is_full:
            return False
        envelope.place = Place.MAILBOX
        self._messages.append(envelope)
        return True

    def line_up(self, envelope: Envelope) -> None:
        """Let a message wait for room."""
        if self._line is None:
            self._line = Queue(Place.LINE)
        envelope.place = Place.LINE
        self._line.append(envelope)

    def take(self) -> Envelope | None:
        """Take the next message out, to be handled; None when there is none."""
        envelope = self._messages.take()
        if envelope is not None:
            envelope.place = Place.BEGUN
            if self._line is not None:
                self._admit()
        return envelope

    def withdraw(self, envelope: Envelope) -> bool:
        """Take a message out that has not begun; return whether it was still waiting."""
        if envelope.place is Place.LINE and self._line is not None:
            self._line.withdraw(envelope)
        elif envelope.place is Place.MAILBOX:
            self._messages.withdraw(envelope)
            self._admit()
        else:
            return False
        return True

    def withdraw_all(
        self, *, messages: Callable[[Envelope], bool], line: Callable[[Envelope], bool]
    ) -> list[Envelope]:
        """Take out what two conditions hold for, in the order in which it came."""
        waiting = [envelope for envelope in self._line or () if line(envelope)]
        # The line first, so that none of it moves up before it is its turn to go.
        for envelope in waiting:
            self.withdraw(envelope)
        present = [envelope for envelope in self._messages if messages(envelope)]
        for envelope in present:
            self.withdraw(envelope)
        return [*present, *waiting]

    def _admit(self) -> None:
        """Let those in line move up, as far as there is room."""
        while self._line is not None and not self.is_full:
            envelope = self._line.take()
            if envelope is None:
                self._line = None
            else:
                self._messages.append(envelope)
                envelope.admit()
