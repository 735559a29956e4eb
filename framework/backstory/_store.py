"""The store contract: what every store promises, and what a store has to supply.

`EventStore` has two sides. The public one is the same code for every store: it checks what it is
given, so that bad input is refused in the same way everywhere, and builds iterators, pages and
subscriptions. The other side is what a store supplies, from `open` to `drop_checkpoint`; it is
called with checked arguments only.

That side may change in minor releases until 1.0.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from backstory._arguments import (
    check_appends,
    check_bounds,
    check_condition,
    check_filter,
    check_notes,
    check_space,
)
from backstory._causality import causes_of, effects_of, find_cause
from backstory._commit import (
    AppendCondition,
    Batch,
    Durability,
    LogHead,
    Receipt,
    StreamAppend,
)
from backstory._filter import EVERY_EVENT, EventFilter
from backstory._ids import check_stream_id, parse_event_id
from backstory._limits import (
    INTEGER_MAX,
    METADATA_ID_BYTES_MAX,
    PAGE_EVENT_COUNT_MAX,
    PROJECTION_NAME_BYTES_MAX,
    check_category,
    check_integer,
    check_text,
)
from backstory._migration import SchemaMigration, refuse_roles
from backstory._pages import PAGE_EVENT_COUNT, LogRead, Page, StreamRead, read_pages
from backstory._progress import Note, Progress, SQLValue, TableRows
from backstory._recorded import NewEvent, RecordedEvent
from backstory._snapshot import Checkpoint, Snapshot
from backstory._statistics import StoreStatistics
from backstory._subscription import Subscription
from backstory._versions import ExpectedVersion


class StreamInfo(Struct, frozen=True):
    """A stream, and where it ends."""

    stream_id: str
    """The stream."""
    version: int
    """Its version when it was read."""


class SealedEvent(Struct, frozen=True):
    """An event with what proves that it is what was written, and where."""

    recorded: RecordedEvent
    """The event."""
    hash: bytes
    """Its hash as stored, chained along its stream; see `event_hash`."""
    digest: bytes | None
    """The running digest of the log behind it as stored; see `log_digest`. None for an event that
    was written before digests were kept."""
    hash_before: bytes | None
    """The stored hash of the event before it in its stream; None when there is none."""
    position_before: int | None
    """The position of the event before it in its stream; None when there is none."""


class LogSeal(Struct, frozen=True):
    """Which log it is, and where it ends."""

    incarnation: str
    """One for each log that was ever begun; a copy has the same."""
    head: LogHead
    """Its last position, and the digest up to there."""
    kept: "LogSeal | None" = None
    """What the store keeps of both apart from the log, as it was when the log was last written to;
    None where it keeps nothing."""


class EventPage(Struct, frozen=True):
    """A page for a user interface."""

    events: list[RecordedEvent]
    """The events, in the order asked for."""
    cursor: int | None
    """Passed back as `cursor`, it gives the next page; None when there is none."""


class StoreCapabilities(Struct, frozen=True, kw_only=True):
    """What a store can and cannot promise."""

    durability: Durability
    """What an acknowledged append survives."""
    is_multi_process: bool
    """Whether several processes may use it at a time."""
    has_tables: bool
    """Whether read models may have tables in it."""
    reads_ahead: bool = False
    """Whether long reads ask for the next page while they handle one: worth it where a server makes
    the pages."""


class EventStore(ABC):
    """A store of events. Open it with `async with`; it belongs to the event loop it is opened in.

    Versions count the events of a stream from 1; a stream that does not exist has version 0.
    Positions order the whole store. Every lower bound is exclusive and every upper bound inclusive,
    so that `after_position=0` reads all, whichever direction is asked for. What a reader has once
    seen never changes, and nothing ever appears behind it.
    """

    capabilities: StoreCapabilities
    """What this store can and cannot promise."""

    async def append(
        self,
        stream_id: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | ExpectedVersion,
        condition: AppendCondition | None = None,
    ) -> Receipt:
        """Append events to one stream, all or none.

        Versions go on from the stream's version; positions increase. Repeating an append with the
        same event ids and the same content is answered with the first receipt, for ever, whatever
        version is expected. Cancelled before the answer, the append may still happen, or not:
        repeat it to know.

        Args:
            stream_id: `category-id`; the stream is created when it does not exist.
            events: One or more events, at most 1,000 and 16 MB. Their order is kept.
            expected_version: The version the stream must have (0: it must not exist), or `ANY`,
                `NO_STREAM` or `STREAM_EXISTS`.
            condition: What must not have happened since it was read; see `AppendCondition`.

        Returns:
            Where the events are, and what they survive.

        Raises:
            InvalidInputError: An argument is outside its limits; nothing was written.
            VersionConflictError: The stream is at another version; nothing was written.
            ConditionConflictError: An event matches the condition; nothing was written.
            DuplicateEventError: An event id is taken by another event; nothing was written.
            StoreUnavailableError: The store did not do it; its `outcome_unknown` says whether it
                may have happened all the same.
            StoreClosedError: The store is not open.
        """
        receipts = await self.append_many(
            [StreamAppend(stream_id, events, expected_version)], condition=condition
        )
        return receipts[0]

    async def append_many(
        self, appends: Sequence[StreamAppend], *, condition: AppendCondition | None = None
    ) -> tuple[Receipt, ...]:
        """Append to several streams in one atomic commit.

        A stream may be named several times. Positions follow the order given. Repeated parts are
        answered with their first receipts while the others are appended.

        Args:
            appends: One or more; together at most 1,000 events and 16 MB.
            condition: For all of them; as for `append`.

        Returns:
            A receipt for each, in order.

        Raises:
            InvalidInputError: As for `append`.
            VersionConflictError: As for `append`; nothing was written to any stream.
            ConditionConflictError: As for `append`; nothing was written to any stream.
            DuplicateEventError: As for `append`; nothing was written to any stream.
            StoreUnavailableError: As for `append`.
            StoreClosedError: As for `append`.
        """
        # Ours from here on: what the caller does to its lists while this waits is not appended.
        parts = tuple(
            StreamAppend(part.stream_id, tuple(part.events), part.expected_version)
            for part in appends
        )
        check_appends(parts)
        check_condition(condition)
        return await self.commit(Batch(parts, condition))

    async def read_stream(
        self,
        stream_id: str,
        *,
        after_version: int = 0,
        until_version: int | None = None,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[RecordedEvent]:
        """Iterate over the events of one stream, in constant memory.

        A stream that does not exist yields nothing. Events appended during the iteration may be
        seen or not.

        Args:
            stream_id: The stream.
            after_version: Exclusive lower bound.
            until_version: Inclusive upper bound; None for the end.
            until_position: Inclusive upper bound on positions, for a look at the past of the store.
            where: Which events; see `where()`.
            backward: Newest first; the bounds stay what they are.
            limit: At most so many events, counted behind the filter; None for all.

        Yields:
            Recorded events in the order of versions.

        Raises:
            InvalidInputError: An argument is outside its limits.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        pages = self.read_stream_pages(
            stream_id,
            after_version=after_version,
            until_version=until_version,
            until_position=until_position,
            where=where,
            backward=backward,
            limit=limit,
        )
        async with aclosing(pages):
            async for events in pages:
                for recorded in events:
                    yield recorded

    async def read_stream_pages(
        self,
        stream_id: str,
        *,
        after_version: int = 0,
        until_version: int | None = None,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[list[RecordedEvent]]:
        """Iterate over the events of one stream in lists of up to 1,000; else as `read_stream`.

        For readers that do little with each event: handing them out one by one costs as much as
        reading them.
        """
        check_stream_id(stream_id)
        check_integer("after_version", after_version, least=0)
        check_filter(where)
        check_bounds(until_version=until_version, until_position=until_position, limit=limit)
        read = StreamRead(
            stream_id, after_version, until_version, until_position, where, backward, 0
        )
        reads_ahead = self.capabilities.reads_ahead
        pages = read_pages(self.read_stream_page, read, limit=limit, reads_ahead=reads_ahead)
        async with aclosing(pages):
            async for events in pages:
                yield events

    async def read_log(
        self,
        *,
        after_position: int = 0,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[RecordedEvent]:
        """Iterate over the events of the whole store, in constant memory.

        Ends at the head; `subscribe` goes on from there.

        Args:
            after_position: Exclusive lower bound; 0 reads from the beginning.
            until_position: Inclusive upper bound; None for the head.
            where: Which events; see `where()`.
            backward: Newest first; the bounds stay what they are.
            limit: At most so many events, counted behind the filter; None for all.

        Yields:
            Recorded events in the order of positions.

        Raises:
            InvalidInputError: An argument is outside its limits.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        pages = self.read_log_pages(
            after_position=after_position,
            until_position=until_position,
            where=where,
            backward=backward,
            limit=limit,
        )
        async with aclosing(pages):
            async for events in pages:
                for recorded in events:
                    yield recorded

    async def read_log_pages(
        self,
        *,
        after_position: int = 0,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[list[RecordedEvent]]:
        """Iterate over the events of the whole store in lists of up to 1,000; else as `read_log`.

        As `read_stream_pages`, for readers that do little with each event.
        """
        check_integer("after_position", after_position, least=0)
        check_filter(where)
        check_bounds(until_position=until_position, limit=limit)
        read = LogRead(after_position, until_position, where, backward, 0)
        reads_ahead = self.capabilities.reads_ahead
        pages = read_pages(self.read_page, read, limit=limit, reads_ahead=reads_ahead)
        async with aclosing(pages):
            async for events in pages:
                yield events

    async def read_log_page(
        self,
        *,
        cursor: int | None = None,
        offset: int = 0,
        limit: int = 100,
        after_position: int = 0,
        until_position: int | None = None,
        where: EventFilter = EVERY_EVENT,
        backward: bool = False,
    ) -> EventPage:
        """Return one page of the log, and the cursor of the next.

        Args:
            cursor: What the page before gave; None for the first page.
            offset: Leave out so many events that match, behind the cursor; they are read all the
                same, so that a page far behind costs as much as all pages before it. A cursor costs
                nothing, and is not moved by what others append.
            limit: At most so many events, from 1 to 10,000.
            after_position: As for `read_log`.
            until_position: As for `read_log`.
            where: As for `read_log`; the same for every page.
            backward: As for `read_log`; the same for every page.

        Raises:
            InvalidInputError: An argument is outside its limits.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        check_integer("after_position", after_position, least=0)
        check_filter(where)
        check_integer("limit", limit, least=1, most=PAGE_EVENT_COUNT_MAX)
        check_integer("offset", offset, least=0)
        check_bounds(until_position=until_position)
        # One more than asked for tells whether there is a next page.
        read = LogRead(after_position, until_position, where, backward, limit + 1)
        if cursor is not None:
            check_integer("cursor", cursor, least=0)
            read = _from_cursor(read, cursor)
        while offset > 0:
            left_out = await self.read_page(replace(read, limit=min(offset, PAGE_EVENT_COUNT)))
            if not left_out.events:
                return EventPage([], None)
            offset -= len(left_out.events)
            read = _from_cursor(read, _cursor(left_out.events, backward=backward))
        page = await self.read_page(read)
        events = page.events[:limit]
        if page.is_last and len(page.events) <= limit:
            return EventPage(events, None)
        return EventPage(events, _cursor(events, backward=backward))

    async def read_event(self, event_id: object) -> RecordedEvent | None:
        """Return the event with an id, or None where no event has it.

        Raises:
            InvalidInputError: The id is no UUID.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        return await self.find_event(parse_event_id(event_id))

    async def read_causes(self, event_id: object) -> AsyncIterator[RecordedEvent]:
        """Iterate over what caused an event, over all streams: its direct cause first.

        It ends with the first event of the chain, which a command has caused and no event. An event
        that does not exist has no causes.

        Yields:
            Recorded events, each the direct cause of the one before.

        Raises:
            InvalidInputError: The id is no UUID.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        event = await self.read_event(event_id)
        if event is not None:
            async for cause in causes_of(self, event):
                yield cause

    async def read_effects(self, causation_id: object) -> AsyncIterator[RecordedEvent]:
        """Iterate over all that came of an event or a command, directly or not, over all streams.

        The events that were found and not yet given are kept in memory; there is one read of the
        log for each event.

        Args:
            causation_id: The id of an event, or of a command, as events name it in their metadata.

        Yields:
            Recorded events in the order of positions. The `causation_id` in the metadata of each
            names its own direct cause.

        Raises:
            InvalidInputError: The id is no text of a possible length.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        text = str(causation_id)
        check_text("causation id", text, METADATA_ID_BYTES_MAX)
        event = await find_cause(self, text)
        after_position = 0 if event is None else event.position
        async for effect in effects_of(self, text, after_position=after_position):
            yield effect

    async def read_streams(self, category: str | None = None) -> AsyncIterator[StreamInfo]:
        """Iterate over the streams of a category, or of the store, in constant memory.

        Yields:
            Streams in the order of their ids' bytes.

        Raises:
            InvalidInputError: The category is not valid.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        if category is not None:
            check_category(category)
        after = ""
        while streams := await self.list_streams(category, after, PAGE_EVENT_COUNT):
            for stream in streams:
                yield stream
            after = streams[-1].stream_id

    @asynccontextmanager
    async def subscribe(
        self, *, after_position: int = 0, where: EventFilter = EVERY_EVENT
    ) -> AsyncGenerator[Subscription]:
        """Open a subscription: every event behind a position, in order, then what is appended.

            async with store.subscribe(after_position=checkpoint) as subscription:
                async for recorded in subscription:
                    ...

        It goes on until it is left or stopped. Subscribing again after `subscription.position` goes
        on without a gap or a repeat.

        Args:
            after_position: Exclusive lower bound; 0 starts with the first event.
            where: Which events; see `where()`.

        Raises:
            InvalidInputError: An argument is outside its limits.
            StoreUnavailableError: The store did not answer, raised from the iteration.
            StoreClosedError: The store is not open, or was closed meanwhile.
        """
        check_integer("after_position", after_position, least=0)
        check_filter(where)
        subscription = Subscription(self, after_position=after_position, where=where)
        try:
            yield subscription
        finally:
            subscription.stop()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, in place of one of the same version, beside the stream's newest others.

        At most 10 of a stream are kept; the oldest go first.

        Raises:
            InvalidInputError: The stream id is not valid.
            StoreUnavailableError: The store did not do it.
            StoreClosedError: The store is not open.
        """
        check_stream_id(snapshot.stream_id)
        check_integer("version", snapshot.version, least=1)
        await self.put_snapshot(snapshot)

    async def load_snapshot(
        self, stream_id: str, *, fingerprint: str, until_version: int | None = None
    ) -> Snapshot | None:
        """Return the newest snapshot of a stream with a fingerprint, or None.

        Args:
            stream_id: The stream.
            fingerprint: What the snapshot must have.
            until_version: Inclusive upper bound; None for no bound.

        Raises:
            InvalidInputError: The stream id or the bound is not valid.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        check_stream_id(stream_id)
        check_bounds(until_version=until_version)
        until = INTEGER_MAX if until_version is None else until_version
        return await self.get_snapshot(stream_id, fingerprint, until)

    async def delete_snapshots(self, stream_id: str | None = None) -> int:
        """Delete the snapshots of a stream, or all; return how many there were.

        Raises:
            InvalidInputError: The stream id is not valid.
            StoreUnavailableError: The store did not do it.
            StoreClosedError: The store is not open.
        """
        if stream_id is not None:
            check_stream_id(stream_id)
        return await self.drop_snapshots(stream_id)

    async def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a projection's checkpoint with its read model, in place of the one before.

        Raises:
            InvalidInputError: The projection's name is not valid.
            StoreUnavailableError: The store did not do it.
            StoreClosedError: The store is not open.
        """
        await self.save_progress(Progress(checkpoint))

    async def save_progress(self, progress: Progress) -> None:
        """Keep a checkpoint with everything that belongs to the same position, all or none.

        Raises:
            InvalidInputError: A name, a position or a note is not valid; nothing was written.
            CheckpointMovedError: The checkpoint is not where it is expected; nothing was written.
            TableStatementError: A statement was refused; nothing was written.
            StoreUnavailableError: The store did not do it; its `outcome_unknown` says whether it
                may have happened all the same.
            StoreClosedError: The store is not open.
        """
        checkpoint = progress.checkpoint
        check_text("projection", checkpoint.projection, PROJECTION_NAME_BYTES_MAX)
        check_integer("position", checkpoint.position, least=0)
        check_notes(progress.notes)
        await self.put_progress(progress)

    async def load_checkpoint(self, projection: str) -> Checkpoint | None:
        """Return a projection's checkpoint, or None.

        Raises:
            InvalidInputError: The name is not valid.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        check_text("projection", projection, PROJECTION_NAME_BYTES_MAX)
        return await self.get_checkpoint(projection)

    async def delete_checkpoint(self, projection: str) -> None:
        """Forget a projection's checkpoint; harmless where there is none.

        Raises:
            InvalidInputError: The name is not valid.
            StoreUnavailableError: The store did not do it.
            StoreClosedError: The store is not open.
        """
        check_text("projection", projection, PROJECTION_NAME_BYTES_MAX)
        await self.drop_checkpoint(projection)

    async def save_notes(self, *notes: Note) -> None:
        """Keep notes, each in place of the one with its key, or forget them; all or none.

        Raises:
            InvalidInputError: A space, a key or a value is outside the limits.
            StoreUnavailableError: The store did not do it.
            StoreClosedError: The store is not open.
        """
        check_notes(notes)
        await self.put_notes(notes)

    async def load_notes(self, space: str) -> list[Note]:
        """Return the notes of a space, in the order of their keys' bytes.

        Raises:
            InvalidInputError: The space is not valid.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        check_space(space)
        notes: list[Note] = []
        after = ""
        while more := await self.list_notes(space, after, PAGE_EVENT_COUNT):
            notes += more
            after = more[-1].key
        return notes

    async def query_tables(self, sql: str, *parameters: SQLValue) -> TableRows:
        """Return the rows of a query on the tables of read models; all of them, so bound it.

        It can change nothing. `sql` names its parameters `$1`, `$2` …

        Raises:
            TableStatementError: The store refuses the query.
            ConfigurationError: The store has no tables for read models.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        return await self.query(sql, parameters)

    # What a store supplies.

    @abstractmethod
    async def open(self) -> None:
        """Make the store ready, once; `async with` calls it.

        Raises:
            ConfigurationError: What is there is no store, or of a newer version.
            StoreUnavailableError: It could not be opened.
        """

    async def migrate(
        self, *, dry_run: bool = False, writers: Sequence[str] = (), readers: Sequence[str] = ()
    ) -> SchemaMigration:
        """Bring what the store is kept in to the newest schema version; the store is not opened.

        Opening it for writing does the same, where the role of the program may. A store without a
        schema has nothing to do.

        Args:
            dry_run: Change nothing; only say what would be done.
            writers: Roles of the database that may append from then on, and keep what lies beside
                the log, but may not change an event. They must exist.
            readers: Roles of the database that may read from then on, read models too.

        Raises:
            ConfigurationError: What is there is no store, or of a newer version; or may not be
                changed by whoever asks; or there is no such role, or the store has none.
            StoreUnavailableError: It could not be reached; nothing was changed.
        """
        del dry_run
        refuse_roles(type(self).__name__, writers, readers)
        return SchemaMigration(before=0, version=0, sql="")

    async def open_damaged(self) -> None:
        """Make the store ready to be looked at, also where `open` refuses it as damaged.

        What is read may be wrong, and nothing can be appended: it is for `verify` and `salvage`. A
        store that refuses nothing opens as always.

        Raises:
            ConfigurationError: As for `open`, or the store was not made to be read only.
            CorruptLogError: So much is damaged that nothing can be read.
            StoreUnavailableError: It could not be opened.
        """
        await self.open()

    @abstractmethod
    async def aclose(self) -> None:
        """Finish what was begun, write it out, and let go of every resource. Twice is harmless."""

    @abstractmethod
    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        """Append a checked batch, all or nothing, as `settle` judges it."""

    @abstractmethod
    async def read_page(self, read: LogRead) -> Page:
        """Return the next events of the log that match."""

    @abstractmethod
    async def read_stream_page(self, read: StreamRead) -> Page:
        """Return the next events of a stream that match."""

    @abstractmethod
    async def find_event(self, event_id: str) -> RecordedEvent | None:
        """Return the event with an id, or None."""

    @abstractmethod
    async def list_streams(
        self, category: str | None, after_stream_id: str, limit: int
    ) -> list[StreamInfo]:
        """Return the next streams behind an id, in the order of their bytes."""

    @abstractmethod
    async def head(self) -> int:
        """Return the last position of the log; 0 when it is empty."""

    @abstractmethod
    async def read_sealed_page(self, after_position: int, limit: int) -> list[SealedEvent]:
        """Return the next events of the log with what seals them.

        Raises:
            CorruptLogError: One of them cannot be read. Asked for a single one, its position is
                named where it is known.
        """

    @abstractmethod
    async def read_seal(self) -> LogSeal:
        """Return which log it is, and where it ends; what is kept apart is read before the log.

        Raises:
            CorruptLogError: It cannot be read.
        """

    @abstractmethod
    async def check_engine(self) -> list[str]:
        """Let the store's engine check itself; return what it finds, in its own words."""

    @abstractmethod
    async def try_own(self, name: str) -> bool:
        """Tell whether this store is the one that owns a name, and let it be if nobody else is.

        Of all stores that are open on one log, in whatever process, one owns a name at a time:
        until it is closed, or its process ends.

        A store that can lose what it owns, such as with a connection, refuses from then on what
        belongs to its owner (`Progress.owner`, `Note.owner`), and says False once, also where it
        could own it again: others may have owned it in between.

        Raises:
            InvalidInputError: It is no possible name of a projection.
        """

    @abstractmethod
    async def statistics(self) -> StoreStatistics:
        """Return what the store holds, in numbers; it may look at all of it.

        Raises:
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """

    @abstractmethod
    async def wait_beyond(self, position: int) -> None:
        """Return when the log may have events beyond a position; rather too early than never.

        Raises:
            StoreClosedError: The store is not open, or was closed meanwhile.
        """

    @abstractmethod
    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot, and the `SNAPSHOT_COUNT_MAX` newest of its stream."""

    @abstractmethod
    async def get_snapshot(
        self, stream_id: str, fingerprint: str, until_version: int
    ) -> Snapshot | None:
        """Return the newest snapshot that fits, or None."""

    @abstractmethod
    async def drop_snapshots(self, stream_id: str | None) -> int:
        """Delete the snapshots of a stream, or all; return how many there were."""

    @abstractmethod
    async def put_progress(self, progress: Progress) -> None:
        """Keep a checkpoint in place of the one before, and what belongs to it, all or none.

        Raises:
            CheckpointMovedError: The one before is not where it is expected.
            TableStatementError: A statement was refused.
            ConfigurationError: There are statements, and the store has no tables.
        """

    @abstractmethod
    async def put_notes(self, notes: Sequence[Note]) -> None:
        """Keep and forget notes, all or none."""

    @abstractmethod
    async def list_notes(self, space: str, after_key: str, limit: int) -> list[Note]:
        """Return the next notes of a space, in the order of their keys' bytes."""

    @abstractmethod
    async def query(self, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
        """Return the rows of a query, which can change nothing.

        Raises:
            TableStatementError: The query was refused.
            ConfigurationError: The store has no tables.
        """

    @abstractmethod
    async def get_checkpoint(self, projection: str) -> Checkpoint | None:
        """Return a projection's checkpoint, or None."""

    @abstractmethod
    async def drop_checkpoint(self, projection: str) -> None:
        """Forget a projection's checkpoint."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _cursor(events: Sequence[RecordedEvent], *, backward: bool) -> int:
    return events[-1].position - 1 if backward else events[-1].position


def _from_cursor(read: LogRead, cursor: int) -> LogRead:
    if not read.backward:
        return replace(read, after_position=max(cursor, read.after_position))
    until = INTEGER_MAX if read.until_position is None else read.until_position
    return replace(read, until_position=min(cursor, until))
