"""Whether aggregates can still be loaded from the streams of their categories.

Most of it is known without folding: an aggregate fails on an event that this program does not know,
unless it has a handler for `RawEvent`, and on one that it handles and that cannot be decoded. That
is judged for every event. What a handler does, only a fold shows: so each class is folded along the
first stream in which a type and schema version lies, up to 10,000 events of it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from backstory._aggregate import Aggregate, evolve
from backstory._errors import CodecError
from backstory._events import is_known
from backstory._handlers import UNKNOWN
from backstory._reason import reason_of
from backstory._recorded import RecordedEvent
from backstory._store import EventStore
from backstory.operations._kind import Tally

_EVENT_COUNT_MAX: Final = 10_000
"""Events of one stream that are folded."""
_CATEGORY_COUNT_MAX: Final = 1_000
"""Categories without a class that are named."""
_UNKNOWN: Final = "this program does not know it, and the class has no @on(RawEvent)"


class AggregateFinding(Struct, frozen=True, kw_only=True):
    """Why an aggregate class cannot be loaded from streams of its category."""

    category: str
    """The category."""
    event_type: str
    """The stored type on which it fails."""
    schema_version: int
    """The stored schema version."""
    reason: str
    """Why: the event is unknown to it, cannot be decoded, or its handler raised."""
    event_count: int
    """How many events it fails on; for a handler that raised, how many streams were tried."""
    position: int
    """The position of the first of them."""
    stream_id: str
    """Its stream."""
    version: int
    """Its version."""


class Folding:
    """What becomes of aggregates, event by event, and then along some streams."""

    def __init__(self, aggregates: Iterable[type[Aggregate]]) -> None:
        self.without_class: set[str] = set()
        """Categories that no class was given for."""
        self._classes = {cls.category: cls for cls in aggregates}
        self._samples: dict[tuple[str, str, int], str] = {}
        self._tallies: dict[tuple[str, str, int], tuple[str, Tally]] = {}

    @property
    def stream_count(self) -> int:
        """Streams that a class is folded along."""
        return len(set(self._samples.values()))

    def look_at(self, recorded: RecordedEvent, *, reason: str | None) -> None:
        """Judge an event; `reason` is why it cannot be decoded, or None where it can."""
        category = recorded.category
        cls = self._classes.get(category)
        if cls is None:
            if len(self.without_class) < _CATEGORY_COUNT_MAX:
                self.without_class.add(category)
            return
        self._samples.setdefault(
            (category, recorded.type, recorded.schema_version), recorded.stream_id
        )
        handled = recorded.type in cls.handlers
        if not is_known(recorded.type, recorded.schema_version):
            handled = UNKNOWN in cls.handlers
            if not handled:
                self._count(recorded, reason or _UNKNOWN)
        if handled and reason is not None:
            self._count(recorded, reason)

    def _count(self, recorded: RecordedEvent, reason: str) -> None:
        key = (recorded.category, recorded.type, recorded.schema_version)
        # One for each type and schema version: its first reason stands for all.
        self._tallies.setdefault(key, (reason, Tally(recorded)))[1].count += 1

    async def fold_samples(self, store: EventStore, *, until_position: int) -> None:
        """Fold the classes along the streams that were chosen."""
        for stream_id in dict.fromkeys(self._samples.values()):
            await self._fold(store, stream_id, until_position)

    async def _fold(self, store: EventStore, stream_id: str, until_position: int) -> None:
        category, _, id = stream_id.partition("-")
        aggregate = self._classes[category].blank(id)
        stream = store.read_stream(stream_id, until_position=until_position, limit=_EVENT_COUNT_MAX)
        async for recorded in stream:
            try:
                evolve(aggregate, recorded)
            except CodecError:
                return  # judged already, with every event like it
            except Exception as error:  # noqa: BLE001 - a handler may raise anything
                self._count(recorded, reason_of(error))
                return

    def findings(self) -> Sequence[AggregateFinding]:
        """Return what was found."""
        return [
            AggregateFinding(
                category=category,
                event_type=event_type,
                schema_version=schema_version,
                reason=reason,
                event_count=tally.count,
                position=tally.position,
                stream_id=tally.stream_id,
                version=tally.version,
            )
            for (category, event_type, schema_version), (reason, tally) in sorted(
                self._tallies.items(), key=lambda item: item[0]
            )
        ]
