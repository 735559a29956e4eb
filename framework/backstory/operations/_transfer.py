"""Events out of a store as lines, and lines into a store as the same events.

A line is what `RecordedEvent.to_json` says: the event as stored, whatever its type, whether this
program knows it or not. An import appends it under its own event id, as the version of its stream
that it has in the line. So a line can be appended once and nowhere else: repeating an import adds
nothing, one that was broken off goes on where it stopped, and a line that is missing in between is
noticed. The positions and times of the lines are not taken over. They say when a store accepted an
event and in which order, and that is the new store's to say; the order of the lines is kept.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from backstory._codec import encode, parse_metadata
from backstory._commit import StreamAppend
from backstory._errors import (
    BackstoryError,
    CodecError,
    DuplicateEventError,
    InvalidInputError,
    VersionConflictError,
)
from backstory._events import RawEvent
from backstory._filter import EVERY_EVENT, EventFilter
from backstory._ids import check_stream_id, parse_event_id
from backstory._limits import check_integer
from backstory._recorded import NewEvent, RecordedEvent
from backstory._store import EventStore

_BATCH_LINE_COUNT: Final = 500
_BATCH_BYTES: Final = 7_000_000
"""A batch that has so many bytes is appended; as an event has 1 MB at most, none exceeds 8 MB."""
_LINE_BYTES_MAX: Final = 2_000_000
_SKIPPED_COUNT_MAX: Final = 100
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read_as_today(recorded: RecordedEvent) -> RecordedEvent:
    """Return an event as its class reads it: with the class's type, schema version and data.

    One that this program does not know is returned as it is.

    Raises:
        DecodeError: The event does not fit its class.
        EncodeError: What the class has read would not come back equal.
    """
    event = recorded.data
    if isinstance(event, RawEvent):
        return recorded
    return replace(
        recorded,
        type=event.event_type,
        schema_version=event.schema_version,
        data_json=encode(event)[0],
    )


async def export_events(
    store: EventStore,
    *,
    after_position: int = 0,
    until_position: int | None = None,
    where: EventFilter = EVERY_EVENT,
    decode: bool = False,
) -> AsyncIterator[bytes]:
    """Iterate over the events of a store as lines of JSON, each with its line break.

    Memory is constant. What an export by category gives can be imported; by type, or by anything
    else that divides a stream, only where nothing is missing in between.

    Args:
        store: An open store.
        after_position: Exclusive lower bound; 0 begins with the first event.
        until_position: Inclusive upper bound; None for the head.
        where: Which events; see `where()`.
        decode: Give each event as its class reads it, in the class's schema version; see
            `read_as_today`. Otherwise it is given as it is stored.

    Yields:
        Lines in the order of positions.

    Raises:
        InvalidInputError: An argument is outside its limits.
        DecodeError: With `decode`, an event does not fit its class.
        EncodeError: With `decode`, what a class has read would not come back equal.
        StoreUnavailableError: The store did not answer.
        StoreClosedError: The store is not open.
    """
    log = store.read_log(after_position=after_position, until_position=until_position, where=where)
    async for recorded in log:
        yield (read_as_today(recorded) if decode else recorded).to_json() + b"\n"


class SkippedEventLine(Struct, frozen=True):
    """A line that an import passed over."""

    line: int
    """Its number in the file, from 1."""
    reason: str
    """What is wrong with it."""


class EventImportSummary(Struct):
    """How far an import of events has come."""

    line_count: int = 0
    """Lines read; blank ones do not count."""
    added_count: int = 0
    """Events that were added. Exact when nobody else imports them at the same moment."""
    present_count: int = 0
    """Events that the store had already."""
    skipped_count: int = 0
    """Bad lines that were passed over."""
    skipped: list[SkippedEventLine] = []
    """The first 100 of them."""


class BadEventLineError(BackstoryError, ValueError):
    """A line is no event, or the store refuses it; it was not added, and what is before it was."""

    def __init__(self, *, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        """Its number in the file, from 1."""
        self.reason = reason
        """What is wrong with it and what would be right."""
        self.summary: EventImportSummary | None = None
        """How far the import came."""


async def import_events(
    store: EventStore, lines: Iterable[bytes], *, on_error: Literal["stop", "skip"] = "stop"
) -> EventImportSummary:
    """Append every line of an export as the event that it says, in the order of the lines.

    Each event keeps its id, stream, version, type, schema version, metadata and data, byte for
    byte. Memory is constant. Up to 500 lines are appended at a time, all or none. What was imported
    before is found again and not added twice, so after any interruption the whole file is simply
    imported again. A file may go on where the store's streams end. Blank lines are passed over.

    Args:
        store: An open store.
        lines: The lines, with or without their line breaks.
        on_error: Stop at the first bad line, or skip bad lines and say so in the summary. What
            follows a skipped line in its stream is missing its version, and is skipped with it.

    Returns:
        How many lines were read, added, present already and skipped.

    Raises:
        BadEventLineError: With `"stop"`, a line is no event, does not follow in its stream, says
            otherwise than the store what is recorded under its id, or, where this program knows its
            type, does not fit its class.
        StoreUnavailableError: The store did not do it; some lines before may be in it.
        StoreClosedError: The store is not open.
    """
    importing = _Import(store, stops=on_error == "stop")
    try:
        for number, text in enumerate(lines, 1):
            await importing.read(number, text)
        await importing.append_gathered()
    except BadEventLineError as error:
        error.summary = importing.summary
        raise
    return importing.summary


class _EventLine(Struct, frozen=True):
    """What a line has of an event; its position and its time are passed over."""

    event_id: str
    stream_id: str
    version: int
    type: str
    schema_version: int
    data: msgspec.Raw
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


_decoder: Final = msgspec.json.Decoder(_EventLine)


def _parse(text: bytes) -> StreamAppend:
    """Return the append that a line says.

    Raises:
        ValueError: It says none; InvalidInputError is one.
        CodecError: Its data or metadata is none that a store keeps.
    """
    if len(text) > _LINE_BYTES_MAX:
        raise ValueError(f"has more than {_LINE_BYTES_MAX:,} bytes")
    line = _decoder.decode(text)
    check_stream_id(line.stream_id)
    check_integer("version", line.version, least=1)
    metadata_json = bytes(line.metadata)
    event = NewEvent(
        parse_event_id(line.event_id),
        line.type,
        line.schema_version,
        bytes(line.data),
        metadata_json,
        parse_metadata(metadata_json, event_type=line.type).tags,
    )
    return StreamAppend(line.stream_id, (event,), line.version - 1)


class _Gathered(Struct, frozen=True):
    """A line that waits to be appended."""

    number: int
    append: StreamAppend


class _Import:
    """An import on its way."""

    def __init__(self, store: EventStore, *, stops: bool) -> None:
        self.summary = EventImportSummary()
        self._store = store
        self._stops = stops
        self._gathered: list[_Gathered] = []
        self._gathered_bytes = 0

    async def read(self, number: int, text: bytes) -> None:
        """Take in the next line."""
        if number == 1:
            text = text.removeprefix(_BYTE_ORDER_MARK)
        if not text.strip():
            return
        self.summary.line_count += 1
        try:
            append = _parse(text)
        except (ValueError, RecursionError, CodecError) as error:
            # What stands before a bad line is imported, whatever batch it is in.
            await self.append_gathered()
            self._pass_over(number, f"is no event: {error}")
            return
        self._gathered.append(_Gathered(number, append))
        self._gathered_bytes += len(text)
        if self._gathered_bytes >= _BATCH_BYTES or len(self._gathered) == _BATCH_LINE_COUNT:
            await self.append_gathered()

    def _pass_over(self, number: int, reason: str) -> None:
        if self._stops:
            raise BadEventLineError(line=number, reason=reason)
        self.summary.skipped_count += 1
        if len(self.summary.skipped) < _SKIPPED_COUNT_MAX:
            self.summary.skipped.append(SkippedEventLine(number, reason))

    async def append_gathered(self) -> None:
        """Append what waits."""
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered:
            await self._append(gathered)

    async def _append(self, gathered: Sequence[_Gathered]) -> None:
        head = await self._store.head()
        try:
            # A part for each line: of several in one part, some known and some new are refused.
            receipts = await self._store.append_many([line.append for line in gathered])
        except (DuplicateEventError, InvalidInputError, VersionConflictError) as error:
            await self._append_apart(gathered, error)
            return
        # A repetition is answered with its first receipt, which lies before this append.
        added_count = sum(receipt.first_position > head for receipt in receipts)
        self.summary.added_count += added_count
        self.summary.present_count += len(receipts) - added_count

    async def _append_apart(self, gathered: Sequence[_Gathered], error: Exception) -> None:
        """Append in halves what was refused as a whole, until the line at fault stands alone."""
        if len(gathered) > 1:
            middle = len(gathered) // 2
            await self._append(gathered[:middle])
            await self._append(gathered[middle:])
            return
        self._pass_over(gathered[0].number, _reason(gathered[0].append, error))


def _reason(append: StreamAppend, error: Exception) -> str:
    if not isinstance(error, VersionConflictError):
        return str(error)
    return (
        f"does not follow in stream {append.stream_id!r}, which is at version "
        f"{error.actual_version} here, and should be at {append.expected_version}; import the "
        "lines in between first, or into a store that has no other events of the stream"
    )
