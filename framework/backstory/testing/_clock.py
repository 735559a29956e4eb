"""A clock that a test holds in its hand."""

from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2026, 1, 7, 12, tzinfo=UTC)


class ManualClock:
    """A clock that stands still until it is moved.

        clock = ManualClock()
        store = InMemoryStore(clock=clock)
        clock.advance(60)

    A store that is made with it records events at the moment that it shows.
    """

    def __init__(self, moment: datetime = START) -> None:
        """Make a clock.

        Args:
            moment: What it shows first, a time with a zone; noon of 7 January 2026 in UTC when not
                said.
        """
        self.moment = moment
        """What it shows."""

    def now(self) -> datetime:
        """Return the moment that the clock shows."""
        return self.moment

    def advance(self, seconds: float) -> None:
        """Move the clock; a negative number moves it back."""
        self.moment += timedelta(seconds=seconds)
