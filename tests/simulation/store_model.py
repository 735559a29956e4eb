"""What a store is, said with lists and dictionaries, and with nothing of the framework.

Every answer of a store can be computed from what was given to it. This is that computation in its
plainest form: each question goes through all events. It is written from the contract's words and
shares no code with the stores, so that a mistake in what they share is found as well.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

SNAPSHOTS_KEPT: Final = 10


@dataclass(frozen=True)
class Fact:
    """An event before it is recorded."""

    event_id: str
    type: str
    schema_version: int
    data: Any
    metadata: Mapping[str, Any]

    def but(self, **changed: Any) -> "Fact":
        """Return the same with something else in its place."""
        return replace(self, **changed)


@dataclass(frozen=True)
class Part:
    """What is to be appended to one stream."""

    stream_id: str
    facts: Sequence[Fact]
    expected: int | str
    """A version, or `any`, `no stream`, `exists`."""


@dataclass(frozen=True)
class Entry:
    """An event as it is recorded."""

    position: int
    stream_id: str
    version: int
    recorded_at: datetime
    fact: Fact

    @property
    def category(self) -> str:
        return self.stream_id[: self.stream_id.index("-")]


@dataclass(frozen=True)
class Place:
    """Where the events of one part are: first and last version, first and last position."""

    stream_id: str
    versions: tuple[int, int]
    positions: tuple[int, int]


@dataclass(frozen=True)
class Refusal:
    """An error that a store may raise, and what it must say."""

    error: str
    says: tuple[tuple[str, object], ...] = ()


Item = Mapping[str, Any]
"""What an event must have: the keyword arguments of `where`."""

Saved = tuple[str, bytes]
"""A snapshot: fingerprint and state."""

Kept = tuple[int, str, bytes]
"""A checkpoint: position, fingerprint and read model."""

Condition = tuple[Sequence[Item], int]
"""Items, of which no event may match one, and the position behind which that holds."""


class Refused(Exception):  # noqa: N818 - not an error of the model's
    """A part cannot be appended."""

    def __init__(self, *refusals: Refusal) -> None:
        super().__init__()
        self.refusals = refusals


@dataclass
class StoreModel:
    """Everything that a store has been given."""

    entries: list[Entry] = field(default_factory=list[Entry])
    snapshots: dict[str, dict[int, Saved]] = field(default_factory=dict[str, dict[int, Saved]])
    checkpoints: dict[str, Kept] = field(default_factory=dict[str, Kept])

    def copy_log(self) -> "StoreModel":
        """Return a model with the same log, for a trial."""
        return StoreModel(list(self.entries))

    # Writing

    def append(
        self,
        parts: Sequence[Part],
        condition: Condition | None,
        now: datetime,
    ) -> list[Place] | set[Refusal]:
        """Append all or nothing; return the places, or the errors of which one is right."""
        known = {entry.fact.event_id for entry in self.entries}
        is_new = any(fact.event_id not in known for part in parts for fact in part.facts)
        refusals = set(self._judge(condition) if condition and is_new else ())
        draft = self.copy_log()
        places: list[Place] = []
        for part in parts:
            try:
                places.append(draft.append_part(part, now))
            except Refused as refused:
                refusals |= {*refused.refusals}
                break
        if refusals:
            return refusals
        self.entries = draft.entries
        return places

    def _judge(self, condition: Condition) -> Iterator[Refusal]:
        items, after = condition
        if after > self.head():
            yield Refusal("InvalidInputError")
        elif self.read_log(after, None, items, backward=False, limit=None):
            yield Refusal("ConditionConflictError", (("after_position", after),))

    def append_part(self, part: Part, now: datetime) -> Place:
        recorded = [self.find(fact.event_id) for fact in part.facts]
        if any(recorded):
            return self._repeat(part, recorded)
        version = self.version(part.stream_id)
        refusals: list[Refusal] = []
        if not is_expected(part.expected, version):
            says = (("stream_id", part.stream_id), ("actual_version", version))
            refusals.append(Refusal("VersionConflictError", says))
        if len({fact.event_id for fact in part.facts}) < len(part.facts):
            refusals.append(Refusal("DuplicateEventError"))
        if refusals:
            raise Refused(*refusals)
        first = self.head() + 1
        for fact in part.facts:
            version += 1
            self.entries.append(Entry(self.head() + 1, part.stream_id, version, now, fact))
        return Place(part.stream_id, (version - len(part.facts) + 1, version), (first, self.head()))

    def _repeat(self, part: Part, recorded: Sequence[Entry | None]) -> Place:
        present = [entry for entry in recorded if entry is not None]
        first, last = present[0], present[-1]
        is_same = [entry and entry.fact for entry in recorded] == list(part.facts) and [
            (entry.stream_id, entry.version) for entry in present
        ] == [(part.stream_id, first.version + place) for place in range(len(part.facts))]
        if not is_same:
            raise Refused(Refusal("DuplicateEventError"))
        return Place(part.stream_id, (first.version, last.version), (first.position, last.position))

    def save_snapshot(self, stream_id: str, version: int, fingerprint: str, state: bytes) -> None:
        kept = self.snapshots.setdefault(stream_id, {})
        kept[version] = (fingerprint, state)
        while len(kept) > SNAPSHOTS_KEPT:
            del kept[min(kept)]

    def delete_snapshots(self, stream_id: str | None) -> int:
        doomed = list(self.snapshots) if stream_id is None else [stream_id]
        return sum(len(self.snapshots.pop(one, {})) for one in doomed)

    # Reading

    def head(self) -> int:
        return self.entries[-1].position if self.entries else 0

    def version(self, stream_id: str) -> int:
        return sum(entry.stream_id == stream_id for entry in self.entries)

    def find(self, event_id: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.fact.event_id == event_id), None)

    def read_log(
        self,
        after: int,
        until: int | None,
        items: Sequence[Item],
        *,
        backward: bool,
        limit: int | None,
    ) -> list[Entry]:
        found = [
            entry
            for entry in self.entries
            if entry.position > after
            and (until is None or entry.position <= until)
            and any(matches(item, entry) for item in items)
        ]
        return (found[::-1] if backward else found)[:limit]

    def read_stream(
        self,
        stream_id: str,
        after_version: int,
        until_version: int | None,
        until_position: int | None,
        items: Sequence[Item],
        *,
        backward: bool,
        limit: int | None,
    ) -> list[Entry]:
        found = [
            entry
            for entry in self.read_log(0, until_position, items, backward=backward, limit=None)
            if entry.stream_id == stream_id
            and entry.version > after_version
            and (until_version is None or entry.version <= until_version)
        ]
        return found[:limit]

    def streams(self, category: str | None) -> list[tuple[str, int]]:
        counted = Counter(entry.stream_id for entry in self.entries)
        wanted = (
            (stream_id, version)
            for stream_id, version in counted.items()
            if category in (None, stream_id[: stream_id.index("-")])
        )
        return sorted(wanted, key=lambda stream: stream[0].encode())

    def causes(self, event_id: str) -> list[Entry]:
        found: list[Entry] = []
        entry = self.find(event_id)
        while entry is not None:
            cause = self.find(entry.fact.metadata.get("causation_id", ""))
            if cause is None or cause.position >= entry.position:
                break
            found.append(cause)
            entry = cause
        return found

    def effects(self, causation_id: str) -> list[Entry]:
        cause = self.find(causation_id)
        ids, found = {causation_id}, list[Entry]()
        for entry in self.entries[0 if cause is None else cause.position :]:
            if entry.fact.metadata.get("causation_id") in ids:
                ids.add(entry.fact.event_id)
                found.append(entry)
        return found

    def load_snapshot(
        self, stream_id: str, fingerprint: str, until: int | None
    ) -> tuple[int, bytes] | None:
        fitting = [
            (version, state)
            for version, (made_by, state) in self.snapshots.get(stream_id, {}).items()
            if made_by == fingerprint and (until is None or version <= until)
        ]
        return max(fitting, default=None)

    def statistics(self) -> dict[str, object]:
        times = [entry.recorded_at for entry in self.entries]
        streams = {entry.stream_id: entry.category for entry in self.entries}
        return {
            "event_count": len(self.entries),
            "stream_count": len(streams),
            "head": self.head(),
            "oldest": times[0] if times else None,
            "newest": times[-1] if times else None,
            "events_by_type": dict(Counter(entry.fact.type for entry in self.entries)),
            "events_by_category": dict(Counter(entry.category for entry in self.entries)),
            "streams_by_category": dict(Counter(streams.values())),
            "snapshot_count": sum(len(kept) for kept in self.snapshots.values()),
            "checkpoint_count": len(self.checkpoints),
        }


def is_expected(expected: int | str, version: int) -> bool:
    if isinstance(expected, int):
        return version == expected
    return {"any": True, "no stream": version == 0, "exists": version > 0}[expected]


def matches(item: Item, entry: Entry) -> bool:
    """Tell whether an event has everything that is asked for."""
    metadata = entry.fact.metadata
    one_of = {"types": entry.fact.type, "categories": entry.category, "streams": entry.stream_id}
    for part, wanted in item.items():
        if part in one_of:
            holds = not wanted or one_of[part] in wanted
        elif part == "tags":
            holds = all(tag in metadata.get("tags", ()) for tag in wanted)
        elif part == "recorded_after":
            holds = entry.recorded_at > wanted
        elif part == "recorded_until":
            holds = entry.recorded_at <= wanted
        else:
            holds = metadata.get(part) == wanted
        if not holds:
            return False
    return True
