"""The clock, which is handed in wherever time is needed, so that tests can hold it."""

from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Clock(Protocol):
    """Tells the time that events are recorded at. Time is data: it orders nothing."""

    def now(self) -> datetime:
        """Return the time now, in UTC, with its zone."""
        ...


class SystemClock:
    """The machine's clock. It may repeat itself and step back, and nothing here minds."""

    def now(self) -> datetime:
        """Return the machine's time, in UTC."""
        return datetime.now(UTC)


def to_microseconds(moment: datetime) -> int:
    """Return a time with a zone as microseconds since 1970 in UTC, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC, exactly."""
    return _EPOCH + timedelta(microseconds=microseconds)
