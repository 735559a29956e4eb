"""What today's class does with the events that are stored under one type and schema version."""

from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import Struct

from backstory._errors import DecodeError
from backstory._events import Event, event_class
from backstory._reason import reason_of
from backstory._recorded import RecordedEvent
from backstory._upcasting import upcast
from backstory.operations._keeping import Keeping
from backstory.operations._shape import Shapes

_FINDING_COUNT_MAX: Final = 100
"""Findings of one verdict for one type and schema version; the rest are one finding together."""
_FURTHER: Final = "(further ones)"


class Verdict(Enum):
    """What today's class does with stored events, from the harmless to the fatal."""

    READS = "reads"
    """It reads them, and keeps all that is stored."""
    FILLS = "fills"
    """It reads them, and fills a field that they lack with its default."""
    LOSES = "loses"
    """It reads them, and drops something that is stored, after upcasting."""
    UNKNOWN = "unknown"
    """There is no class for the type."""
    NEWER = "newer"
    """They are stored in a newer schema version than the class's."""
    BREAKS = "breaks"
    """They cannot be decoded."""


class CompatibilityFinding(Struct, frozen=True, kw_only=True):
    """What today's class does with some events of one type and schema version."""

    verdict: Verdict
    """What it does."""
    event_type: str
    """The stored type."""
    schema_version: int
    """The stored schema version."""
    subject: str
    """For `LOSES` and `FILLS` the path of the field, such as `lines[].sku`; for `BREAKS` the
    reason; else empty."""
    event_count: int
    """How many events; one that loses two fields counts with both."""
    position: int
    """The position of the first of them."""
    stream_id: str
    """Its stream."""
    version: int
    """Its version."""


class Tally:
    """Events about which the same is to be said, and where the first of them is."""

    __slots__ = ("count", "position", "stream_id", "version")

    def __init__(self, first: RecordedEvent) -> None:
        self.count = 0
        # Not the event itself: what it was decoded to may be large.
        self.position, self.stream_id, self.version = first.position, first.stream_id, first.version


class Kind:
    """Everything that is stored under one type and schema version, judged event by event."""

    def __init__(self, first: RecordedEvent, *, shape_count_max: int) -> None:
        self.uncompared_count = 0
        """Events that had one shape too many, and were not compared."""
        self._event_type, self._schema_version = first.type, first.schema_version
        self._shape_count_max = shape_count_max
        self._shapes = Shapes()
        self._by_shape: dict[bytes, list[Tally]] = {}
        self._tallies: dict[tuple[Verdict, str], Tally] = {}
        self._subject_counts: dict[Verdict, int] = {}

    @property
    def shape_count(self) -> int:
        """Shapes of which a sample was compared."""
        return len(self._by_shape)

    def judge(self, recorded: RecordedEvent) -> str | None:
        """Count an event where it belongs; return why it cannot be decoded, or None."""
        try:
            event = recorded.data
        except Exception as error:  # noqa: BLE001 - a class's own code may raise anything
            reason = _reason(error)
            self._tally(Verdict.BREAKS, reason, recorded).count += 1
            return reason
        for tally in self._tallies_of(recorded, event):
            tally.count += 1
        return None

    def _tallies_of(self, recorded: RecordedEvent, event: Event) -> list[Tally]:
        cls = event_class(self._event_type)
        if cls is None:
            return [self._tally(Verdict.UNKNOWN, "", recorded)]
        if self._schema_version > cls.schema_version:
            return [self._tally(Verdict.NEWER, "", recorded)]
        data = msgspec.json.decode(recorded.data_json)
        digest = self._shapes.digest(data)
        tallies = self._by_shape.get(digest)
        if tallies is None:
            if len(self._by_shape) == self._shape_count_max:
                self.uncompared_count += 1
                return [self._tally(Verdict.READS, "", recorded)]
            tallies = self._by_shape[digest] = self._compare(recorded, data, event)
        return tallies

    def _compare(self, recorded: RecordedEvent, data: Any, event: Event) -> list[Tally]:
        if self._schema_version < event.schema_version:
            newest = upcast(data, self._schema_version, event.event_upcasters)
            # As JSON values, since that is what the class has read.
            data = msgspec.json.decode(msgspec.json.encode(newest))
        keeping = Keeping(data, event)
        lost = [self._tally(Verdict.LOSES, path, recorded) for path in keeping.lost]
        filled = [self._tally(Verdict.FILLS, path, recorded) for path in keeping.filled]
        # Many paths may share a tally, which counts an event once.
        tallies = list(dict.fromkeys((*lost, *filled)))
        return tallies or [self._tally(Verdict.READS, "", recorded)]

    def _tally(self, verdict: Verdict, subject: str, recorded: RecordedEvent) -> Tally:
        tally = self._tallies.get((verdict, subject))
        if tally is None:
            count = self._subject_counts[verdict] = self._subject_counts.get(verdict, 0) + 1
            key = (verdict, subject if count <= _FINDING_COUNT_MAX else _FURTHER)
            tally = self._tallies.setdefault(key, Tally(recorded))
        return tally

    def findings(self) -> Iterator[CompatibilityFinding]:
        """Yield what was found."""
        for (verdict, subject), tally in self._tallies.items():
            yield CompatibilityFinding(
                verdict=verdict,
                event_type=self._event_type,
                schema_version=self._schema_version,
                subject=subject,
                event_count=tally.count,
                position=tally.position,
                stream_id=tally.stream_id,
                version=tally.version,
            )


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, DecodeError) else reason_of(error)
