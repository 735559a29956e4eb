"""What becomes of a group of appends: the one place where they are judged.

A store gathers the appends that wait (group commit), fetches the heads of their streams and those
of their event ids that are already recorded, and asks `settle`. The answer says for each append
whether it is written, is answered with its first receipt, or is refused, and gives the rows to
write. It is pure: data in, data out. So the rules are the same on every store, and a store only has
to fetch and write inside one transaction.

The rules:

- An append is one batch: one or more streams, all or nothing, and perhaps a condition. A refused
  batch leaves no trace, and its neighbours in the group do not notice.
- Batches are judged in the order of their arrival, each on what the ones before it left.
- Event ids decide first. If all events of a stream's part are recorded already, in this stream, one
  behind the other and with the same content, then this is a repetition, and it is answered with the
  first receipt whatever version was expected: the caller asks only because the first answer was
  lost. If some are recorded and some are not, or one has other content or another stream, it is a
  bug of the caller's and refused.
- Then the condition is judged: no event behind its position may match its filter, neither one that
  is recorded nor one that a batch before in this group has brought. The store finds the recorded
  ones inside the transaction that writes, where nothing can come in between. What is only repeated
  is not judged: it has happened.
- Then the expected version is judged by `judge_version`.
- Positions are given in the order of the events, one after the other. They never skip inside a
  batch.

Each stream is a hash chain, and the log keeps a running digest over positions and hashes. The exact
bytes that go in are said in `event_hash` and `log_digest`.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

from backstory._codec import same_json
from backstory._errors import ConditionConflictError, DuplicateEventError, InvalidInputError
from backstory._filter import EventFilter
from backstory._recorded import NewEvent, RecordedEvent
from backstory._versions import ExpectedVersion, judge_version


class Durability(Enum):
    """What an acknowledged append survives."""

    MEMORY = "memory"
    """Nothing: it is gone with the process."""
    BUFFERED = "buffered"
    """The end of the process, also by SIGKILL; a power cut may take the last appends."""
    FSYNC = "fsync"
    """A power cut too: it was synced to the disk."""


class StreamAppend(Struct, frozen=True):
    """The events to append to one stream, and what is expected of it."""

    stream_id: str
    """The stream; created when it does not exist."""
    events: Sequence[NewEvent]
    """One or more events, in their order."""
    expected_version: int | ExpectedVersion
    """A version, or a mode."""


class AppendCondition(Struct, frozen=True):
    """A consistency boundary for one append: nothing that matters may have come since it was read.

    A decision that was made on the events that match a filter, up to a position, holds as long as
    no further event matches. With this condition it is appended only then, whatever streams the
    events lie in.
    """

    where: EventFilter
    """What the decision was made on; see `where()`."""
    after_position: int
    """Up to where it was read: the position of the last event that matched, or any later one up to
    which all were read. 0: no event may match at all."""


class Receipt(Struct, frozen=True):
    """What an append was answered: where its events are, and what they survive."""

    stream_id: str
    """The stream."""
    first_version: int
    """The version of the first event."""
    last_version: int
    """The version of the last event, which was the stream's version then."""
    first_position: int
    """The position of the first event."""
    last_position: int
    """The position of the last event."""
    durability: Durability
    """What the events survive."""


class StreamHead(Struct, frozen=True):
    """Where a stream ends."""

    version: int
    """Its version."""
    hash: bytes
    """The hash of its last event."""


class LogHead(Struct, frozen=True):
    """Where the log ends."""

    position: int
    """The last position given."""
    digest: bytes
    """The running digest up to there."""


NO_HASH: Final = bytes(32)
EMPTY_STREAM: Final = StreamHead(0, NO_HASH)
"""The head of a stream that does not exist."""
EMPTY_LOG: Final = LogHead(0, NO_HASH)
"""The head of a log without events."""

_FRAME: Final = struct.Struct("<qqqIIIII")
_POSITION: Final = struct.Struct("<q")


def event_hash(before: bytes, recorded: RecordedEvent) -> bytes:
    """Return the hash of an event: sha256 over the hash before it in its stream and its fields.

    The bytes are, in this order: the hash of the stream's event before (32 zero bytes for the
    first); version, schema version and recorded microseconds as signed 64-bit integers, little
    endian; the lengths of the five texts as unsigned 32-bit integers, little endian; and the texts:
    stream id, event id, type, metadata and data, in UTF-8. The position is not in it, since it is
    not the event's own: `log_digest` has it.
    """
    stream_id, event_id = recorded.stream_id.encode(), recorded.event_id.encode()
    event_type, metadata, data = recorded.type.encode(), recorded.metadata_json, recorded.data_json
    frame = _FRAME.pack(
        recorded.version,
        recorded.schema_version,
        recorded.recorded_microseconds,
        len(stream_id),
        len(event_id),
        len(event_type),
        len(metadata),
        len(data),
    )
    whole = b"".join((before, frame, stream_id, event_id, event_type, metadata, data))
    return hashlib.sha256(whole).digest()


def log_digest(before: bytes, position: int, event_hash: bytes) -> bytes:
    """Return the running digest behind one more event: sha256 over the digest before, the position
    as a signed 64-bit integer, little endian, and the event's hash.
    """  # noqa: D205 - the sentence is longer than a line
    return hashlib.sha256(b"".join((before, _POSITION.pack(position), event_hash))).digest()


class CommittedEvent(Struct, frozen=True):
    """An event to be written, with its tags and what seals it."""

    recorded: RecordedEvent
    """The event."""
    tags: tuple[str, ...]
    """What it is to be found by."""
    hash: bytes
    """Its hash, chained along its stream."""
    digest: bytes
    """The running digest of the log behind it."""


class Batch(Struct, frozen=True):
    """One append: its streams, all or nothing, and what it is subject to."""

    appends: Sequence[StreamAppend]
    condition: AppendCondition | None = None


class Settlement(Struct, frozen=True):
    """What becomes of a group."""

    answers: list[tuple[Receipt, ...] | Exception]
    """For each batch its receipts, one for each of its streams, or why it was refused."""
    events: list[CommittedEvent]
    """What is to be written, in the order of positions."""
    heads: dict[str, StreamHead]
    """The heads of all streams that were asked for or appended to, as they are afterwards."""
    log: LogHead
    """The head of the log afterwards."""


def settle(
    batches: Sequence[Batch],
    *,
    heads: Mapping[str, StreamHead],
    known: Mapping[str, RecordedEvent],
    matches: Mapping[AppendCondition, RecordedEvent],
    log: LogHead,
    recorded_microseconds: int,
    durability: Durability,
) -> Settlement:
    """Judge a group of batches, in their order.

    Args:
        batches: What waits.
        heads: The head of each stream in the group that exists.
        known: Each event in the group whose id is recorded already, by its id.
        matches: A recorded event that matches it, for each condition in the group that has one.
        log: The head of the log.
        recorded_microseconds: The time that the new events get.
        durability: What the receipts say.
    """
    draft = _Draft(dict(heads), dict(known), log, recorded_microseconds, durability)
    answers: list[tuple[Receipt, ...] | Exception] = []
    for batch in batches:
        mark = len(draft.events)
        before = {part.stream_id: draft.heads.get(part.stream_id) for part in batch.appends}
        try:
            if batch.condition is not None and draft.is_new(batch):
                draft.judge_condition(batch.condition, matches.get(batch.condition))
            answers.append(tuple([draft.append(part) for part in batch.appends]))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the fault of this batch
            draft.withdraw(mark, before)
            answers.append(error)
    events = draft.seal()
    end = LogHead(events[-1].recorded.position, events[-1].digest) if events else log
    return Settlement(answers, events, draft.heads, end)


class _DraftedEvent(Struct, frozen=True):
    """An event that is written unless its batch is refused."""

    recorded: RecordedEvent
    hash: bytes
    tags: tuple[str, ...]


class _Draft:
    """A group while it is being judged."""

    def __init__(
        self,
        heads: dict[str, StreamHead],
        known: dict[str, RecordedEvent],
        log: LogHead,
        recorded_microseconds: int,
        durability: Durability,
    ) -> None:
        self.heads = heads
        self.known = known
        self.events: list[_DraftedEvent] = []
        self._log = log
        self._now = recorded_microseconds
        self._durability = durability

    def is_new(self, batch: Batch) -> bool:
        """Tell whether a batch holds an event that is not recorded yet."""
        return any(event.event_id not in self.known for p in batch.appends for event in p.events)

    def judge_condition(self, condition: AppendCondition, match: RecordedEvent | None) -> None:
        """Refuse a batch when an event matches its condition.

        Raises:
            ConditionConflictError: One does: `match`, which is recorded, or one in the draft.
            InvalidInputError: The condition's position has not been given yet, so that nobody can
                have read up to there; the log may have been exchanged for an older one.
        """
        after, head = condition.after_position, self._log.position + len(self.events)
        if after > head:
            reason = f"the log ends at {head}; give a position that was read in this log"
            raise InvalidInputError(argument="after_position", found=str(after), reason=reason)
        drafted = (event.recorded for event in self.events)
        match = match or next(
            (one for one in drafted if one.position > after and condition.where.matches(one)), None
        )
        if match is not None:
            raise ConditionConflictError(
                after_position=after,
                position=match.position,
                event_type=match.type,
                stream_id=match.stream_id,
            )

    def append(self, part: StreamAppend) -> Receipt:
        """Judge one stream's part of a batch, and draft its events."""
        if any(event.event_id in self.known for event in part.events):
            return self._repeat(part)
        head = self.heads.get(part.stream_id, EMPTY_STREAM)
        judge_version(part.stream_id, part.expected_version, head.version)
        chain, version = head.hash, head.version
        first_position = position = self._log.position + len(self.events) + 1
        for position, event in enumerate(part.events, first_position):
            version += 1
            recorded = RecordedEvent(
                position,
                part.stream_id,
                version,
                event.event_id,
                event.type,
                event.schema_version,
                self._now,
                event.metadata_json,
                event.data_json,
            )
            chain = event_hash(chain, recorded)
            self._draft(recorded, chain, event.tags)
        self.heads[part.stream_id] = StreamHead(version, chain)
        return Receipt(
            part.stream_id, head.version + 1, version, first_position, position, self._durability
        )

    def _draft(self, recorded: RecordedEvent, chain: bytes, tags: tuple[str, ...]) -> None:
        # An id that stands twice inside one part is found here: `known` grows with the draft.
        if (twin := self.known.get(recorded.event_id)) is not None:
            raise _duplicate(twin, "the same append holds it twice")
        self.known[recorded.event_id] = recorded
        self.events.append(_DraftedEvent(recorded, chain, tags))

    def _repeat(self, part: StreamAppend) -> Receipt:
        """Answer a repetition with the first receipt, or refuse what only looks like one."""
        recorded = [self.known.get(event.event_id) for event in part.events]
        present = [event for event in recorded if event is not None]
        if len(present) < len(recorded):
            raise _duplicate(present[0], "the other events of this append are not recorded")
        first, last = present[0], present[-1]
        for version, (before, now) in enumerate(
            zip(present, part.events, strict=True), first.version
        ):
            if difference := _difference(before, part.stream_id, version, now):
                raise _duplicate(before, difference)
        return Receipt(
            part.stream_id,
            first.version,
            last.version,
            first.position,
            last.position,
            self._durability,
        )

    def withdraw(self, mark: int, heads: Mapping[str, StreamHead | None]) -> None:
        """Take back every event drafted since `mark`, and put the heads back."""
        for event in self.events[mark:]:
            del self.known[event.recorded.event_id]
        del self.events[mark:]
        for stream_id, head in heads.items():
            if head is None:
                self.heads.pop(stream_id, None)
            else:
                self.heads[stream_id] = head

    def seal(self) -> list[CommittedEvent]:
        """Return what is written, each with the digest of the log behind it."""
        digest = self._log.digest
        sealed: list[CommittedEvent] = []
        for event in self.events:
            digest = log_digest(digest, event.recorded.position, event.hash)
            sealed.append(CommittedEvent(event.recorded, event.tags, event.hash, digest))
        return sealed


def _difference(
    recorded: RecordedEvent, stream_id: str, version: int, event: NewEvent
) -> str | None:
    if recorded.stream_id != stream_id:
        return f"the append is to stream {stream_id!r}"
    if recorded.version != version:
        return "the append has its events in another order"
    if (recorded.type, recorded.schema_version) != (event.type, event.schema_version):
        return f"the append has it as {event.type!r}, schema version {event.schema_version}"
    if not same_json(recorded.data_json, event.data_json):
        return "the append has it with other data"
    if not same_json(recorded.metadata_json, event.metadata_json):
        return "the append has it with other metadata"
    return None


def _duplicate(recorded: RecordedEvent, reason: str) -> DuplicateEventError:
    return DuplicateEventError(
        event_id=recorded.event_id,
        stream_id=recorded.stream_id,
        version=recorded.version,
        reason=reason,
    )
