"""The log that histories are held against, as it is read once from the first event to the last."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from backstory._filter import EVERY_EVENT, EventFilter, FilterItem
from backstory._recorded import RecordedEvent
from backstory.testing._history import content_digest
from backstory.testing._history_verdict import Findings, Invariant

_FEW: Final = 100
"""So many events are looked through sooner than an index is made."""


class JudgedLog:
    """All events of a log, with ways to find them.

    A place is an index into `events`; positions may have gaps.
    """

    def __init__(self, findings: Findings) -> None:
        self.events: list[RecordedEvent] = []
        """In the order in which the store handed them out."""
        self.digests: list[str] = []
        """The digest of what each says."""
        self.place_of: dict[str, int] = {}
        """Where the event with an id is."""
        self._findings = findings
        self._positions: list[int] = []
        self._versions: dict[str, int] = {}
        self._index: dict[tuple[str, str], list[int]] = {}
        self._asked: set[EventFilter] = set()
        self._matches: dict[EventFilter, list[int]] = {}

    @property
    def head(self) -> int:
        """The last position; 0 for an empty log."""
        return self._positions[-1] if self._positions else 0

    def see(self, recorded: RecordedEvent) -> None:
        """Take the next event, and judge its place."""
        where = place_name(recorded)
        if recorded.event_id in self.place_of:
            before = place_name(self.events[self.place_of[recorded.event_id]])
            what = f"event {recorded.event_id} is there a second time, first at {before}"
            self._findings.add(Invariant.NO_GHOSTS, what, where=where)
        if recorded.position <= self.head:
            what = f"the position does not lie behind the one before, which is {self.head}"
            self._findings.add(Invariant.STREAM_ORDER, what, where=where)
        due = self._versions.get(recorded.stream_id, 0) + 1
        if recorded.version != due:
            what = f"the version does not follow in its stream: {due} was due"
            self._findings.add(Invariant.STREAM_ORDER, what, where=where)
        self._versions[recorded.stream_id] = recorded.version
        self.place_of.setdefault(recorded.event_id, len(self.events))
        self._positions.append(recorded.position)
        self.events.append(recorded)
        self.digests.append(content_digest(recorded))

    def between(self, after_position: int, until_position: int | None) -> range:
        """Return the places of the positions behind one and up to another."""
        first = bisect_right(self._positions, after_position)
        if until_position is None:
            return range(first, len(self.events))
        return range(first, bisect_right(self._positions, until_position))

    def matching(self, where: EventFilter, places: range) -> Sequence[int]:
        """Return those places of a range at which an event matches, in order."""
        if where == EVERY_EVENT:
            return places
        if len(places) <= _FEW:
            return [place for place in places if where.matches(self.events[place])]
        if where not in self._asked:
            self._asked.add(where)
            return self._matching(where, places)
        # Programs ask the same again and again, such as for the newest event of a stream.
        if where not in self._matches:
            self._matches[where] = self._matching(where, range(len(self.events)))
        found = self._matches[where]
        return found[bisect_left(found, places.start) : bisect_left(found, places.stop)]

    def _matching(self, where: EventFilter, places: range) -> list[int]:
        found = {
            place
            for item in where.items
            for place in self._candidates(item, places)
            if item.matches(self.events[place])
        }
        return sorted(found)

    def _candidates(self, item: FilterItem, places: range) -> Sequence[int]:
        """Return the fewest places that an index can narrow an item down to."""
        ways: list[Sequence[int]] = [places]
        ways += [self._indexed("tag", [tag], places) for tag in item.tags]
        for part, texts in (("stream", item.streams), ("type", item.types)):
            if texts:
                ways.append(self._indexed(part, texts, places))
        return min(ways, key=len)

    def _indexed(self, part: str, texts: Sequence[str], places: range) -> list[int]:
        if not self._index:
            for place, event in enumerate(self.events):
                for key in _keys(event):
                    self._index.setdefault(key, []).append(place)
        found: list[int] = []
        for text in texts:
            entries = self._index.get((part, text), [])
            start = bisect_left(entries, places.start)
            found += entries[start : bisect_left(entries, places.stop)]
        return found


def _keys(event: RecordedEvent) -> Iterator[tuple[str, str]]:
    yield "stream", event.stream_id
    yield "type", event.type
    for tag in event.metadata.tags:
        yield "tag", tag


def place_name(recorded: RecordedEvent) -> str:
    """Return where an event lies, for a finding."""
    return f"position {recorded.position}, {recorded.stream_id!r} version {recorded.version}"
