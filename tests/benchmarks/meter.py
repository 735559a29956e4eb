"""What is appended, loaded and projected: an event of 126 bytes, and what adds it up."""

from collections.abc import Iterable, Iterator
from itertools import count

from backstory import Aggregate, Event, NewEvent, Projection, on

TEXT = "x" * 100

numbers: Iterator[int] = count(1)
"""Counted up for the whole run, so that no two events have one id."""


class Measured(Event, type="bench:measured"):
    """An event of the usual size: about 126 bytes of JSON."""

    text: str
    number: int


class Meter(Aggregate, category="meter", snapshot_every=0):
    """Adds up, and has no snapshots."""

    total: int = 0

    @on(Measured)
    def _measured(self, event: Measured) -> None:
        self.total += event.number


class Gauge(Aggregate, category="gauge", snapshot_every=100):
    """Adds up, and has snapshots."""

    total: int = 0

    def measure(self, number: int) -> None:
        """Take one more measurement."""
        self.emit(Measured(text=TEXT, number=number))

    def look(self) -> int:
        """Return the total and decide nothing."""
        return self.total

    @on(Measured)
    def _measured(self, event: Measured) -> None:
        self.total += event.number


class Total(Projection):
    """Adds up all of them."""

    total: int = 0

    @on(Measured)
    def measured(self, event: Measured) -> None:
        """Add one; public, since raw calls it too."""
        self.total += event.number


def event_id(number: int) -> str:
    """Return an id in the order of the numbers, as ids are made in life."""
    return f"01900000-0000-7000-8000-{number:012x}"


def new_event() -> NewEvent:
    """Return a fresh event, as a program makes one for `append`."""
    number = next(numbers)
    return NewEvent.of(Measured(text=TEXT, number=number), event_id=event_id(number))


def new_events(event_count: int) -> list[NewEvent]:
    """Return so many fresh events."""
    return [new_event() for _ in range(event_count)]


def parts(event_count: int, size: int) -> Iterable[int]:
    """Yield the sizes of the parts that a number of events is cut into."""
    for start in range(0, event_count, size):
        yield min(size, event_count - start)
