"""The one writer of a store: it commits the appends that wait together, on a connection of its own.

Order. Whatever process it is, a group is inserted by the database's function `append_events`, which
first takes the one lock of the log, then gives positions behind the last event, inserts, and keeps
the lock until the transaction has ended. So positions become visible in their order, without gaps,
and a reader who has seen one has seen all before it. No transaction id plays a part.

The short way. The writer remembers where the streams end that it has written to. A group without a
condition is judged on that alone, and is one statement: one round trip, and the lock is held by
nobody who could fall asleep with it. What others have appended meanwhile the database finds, by the
version rule, the rule of event ids, and the hashes: then nothing was written. Such a group, and one
with a refusal in it, is judged once more, on ends that are read anew. A conflict on these is told
without the lock, since nothing is written on it: at that moment the stream was not as expected.
Unless the events are recorded, for then it is a repetition.

The long way, for all else. In a transaction that has taken the turn first, the ends of the streams,
the known events and the matches of conditions are read, the group is judged on these, and written.

Errors. The database says of almost every failure that nothing happened. Where the connection is
lost in the middle, nobody can say; so the group is written again, the long way, on another
connection, and what the first attempt has written is found by its event ids. A statement of a lost
connection that still runs comes too late: the ids, or the versions, are taken. Only when no attempt
succeeds within the time limit are the callers told that the outcome is unknown.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import asyncpg
from msgspec.structs import replace

from backstory._clock import Clock, to_microseconds
from backstory._commit import (
    EMPTY_LOG,
    AppendCondition,
    Batch,
    CommittedEvent,
    Durability,
    LogHead,
    Receipt,
    Settlement,
    StreamHead,
    settle,
)
from backstory._errors import StoreUnavailableError, VersionConflictError
from backstory._group_commit import Answer, GroupCommit
from backstory._recorded import RecordedEvent
from backstory._versions import ExpectedVersion
from backstory.stores.postgres._database import Database, Db, Doubt, close, is_spoilt, make_durable
from backstory.stores.postgres._read import find_events, match, read_log_head, read_stream_heads
from backstory.stores.postgres._statement import statement

_HEAD_COUNT_MAX: Final = 10_000
_BELATED: Final = ("BS001", asyncpg.UniqueViolationError.sqlstate)
"""What the database says where others were faster."""
_EVENT_IDS: Final = "events_id"
"""The constraint that it names where an event is recorded already."""
_OF_THE_STATEMENT: Final = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)
"""What it says where a value is one that no repetition makes possible."""
_NEW: Final = (ExpectedVersion.NO_STREAM, 0)


class Writer:
    """Commits batches in groups, in the order of their arrival."""

    def __init__(
        self, database: Database, *, clock: Clock, committed: Callable[[int], None]
    ) -> None:
        """Make a writer; `open` starts it.

        Args:
            database: Where to connect.
            clock: What events are recorded at.
            committed: Called with the new position after every group.
        """
        settings = database.settings
        self._database = database
        self._schema = settings.quoted_schema
        self._durability = settings.durability
        self._clock = clock
        self._committed = committed
        self._groups = GroupCommit(store=settings.name, write=self._write)
        self._connection: Db | None = None
        self._heads: dict[str, StreamHead] = {}
        self._log = EMPTY_LOG
        """Where the log ends, as far as is known here; a guess."""

    def open(self) -> None:
        """Start to write; connects with the first group."""
        self._groups.open()

    async def aclose(self) -> None:
        """Write what waits, and let go of the connection."""
        await self._groups.aclose()
        if self._connection is not None:
            await close(self._connection)

    def is_own(self, process_id: int) -> bool:
        """Tell whether a process of the server is the one that this writer is connected to."""
        db = self._connection
        return db is not None and not db.is_closed() and db.get_server_pid() == process_id

    async def commit(self, batch: Batch) -> Answer:
        """Append a batch, all or nothing, with whatever else waits."""
        return await self._groups.commit(batch)

    async def _write(self, batches: Sequence[Batch]) -> Sequence[Answer | Exception]:
        group = _Group(batches)
        try:
            await self._database.patiently(
                "append", lambda: self._attempt(group), doubt=group.doubt
            )
        except StoreUnavailableError as error:
            if len(batches) > 1 and isinstance(error.__cause__, _OF_THE_STATEMENT):
                # The fault of one batch, and not of its neighbours.
                return [await self._write_alone(batch) for batch in batches]
            raise
        return group.answers

    async def _write_alone(self, batch: Batch) -> Answer | Exception:
        try:
            return (await self._write([batch]))[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer to this batch
            return error

    async def _attempt(self, group: "_Group") -> None:
        group.is_sent = False
        try:
            group.recorded_microseconds = to_microseconds(self._clock.now())
            db = await self._connected()
            if not group.doubt.is_unknown and await self._write_shortly(db, group):
                return
            await self._write_at_length(db, group)
        except BaseException as error:
            if is_spoilt(error):
                self._let_go()
            if group.is_sent:
                group.doubt.note(error)
            raise

    async def _connected(self) -> Db:
        if self._connection is None or self._connection.is_closed():
            # What was remembered may be of another database, such as one from a backup.
            self._heads.clear()
            self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> Db:
        db = await self._database.connect(plan_cache_mode="auto")
        try:
            await make_durable(db, self._durability)
            self._log = await read_log_head(db, self._schema)
        except BaseException:
            db.terminate()
            raise
        return db

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    # The short way.

    async def _write_shortly(self, db: Db, group: "_Group") -> bool:
        """Tell whether a group could be answered without holding the turn over a round trip."""
        if group.conditions:
            return False
        is_fresh = await self._look_up_heads(db, group)
        settlement = self._judge(group)
        if not group.refused:
            if await self._insert_in_time(db, group, settlement):
                return True
            if group.is_repeated:
                return False
            is_fresh = False
        if not is_fresh:  # what was remembered is old, or a refusal would rest on it
            self._forget(group)
            self._remember(await read_stream_heads(db, self._schema, group.stream_ids))
            settlement = self._judge(group)
        if not await self._is_refused_rightly(db, group):
            return False
        return await self._insert_in_time(db, group, settlement)

    async def _look_up_heads(self, db: Db, group: "_Group") -> bool:
        """Read the ends of streams that are not remembered, but for those that must be new.

        Tell whether those of all its streams were read just now.
        """
        unknown = {
            part.stream_id
            for batch in group.batches
            for part in batch.appends
            if part.stream_id not in self._heads and part.expected_version not in _NEW
        }
        if unknown:
            self._remember(await read_stream_heads(db, self._schema, unknown))
        return unknown == group.stream_ids

    def _judge(self, group: "_Group") -> Settlement:
        return group.settle(self._heads, {}, {}, self._log, self._durability)

    async def _insert_in_time(self, db: Db, group: "_Group", settlement: Settlement) -> bool:
        """Insert what was judged, and tell whether nobody else was faster."""
        try:
            end = await self._insert(db, group, settlement)
        except asyncpg.PostgresError as error:
            if error.sqlstate not in _BELATED:
                raise
            group.is_sent = False  # it was refused whole
            group.is_repeated = error.constraint_name == _EVENT_IDS
            self._forget(group)
            return False
        self._is_written(settlement, end)
        return True

    async def _is_refused_rightly(self, db: Db, group: "_Group") -> bool:
        """Tell whether what is refused, on ends that were just read, are conflicts and no more.

        What looks like a conflict may be a repetition: then its events are recorded.
        """
        refused = group.refused
        if not all(isinstance(error, VersionConflictError) for _, error in refused):
            return False
        suspects = _event_ids(batch for batch, _ in refused)
        return not (suspects and await find_events(db, self._schema, suspects))

    # The long way.

    async def _write_at_length(self, db: Db, group: "_Group") -> None:
        async with db.transaction():
            await db.execute(statement("take_turn", self._schema))
            self._log = await read_log_head(db, self._schema)
            heads = await read_stream_heads(db, self._schema, group.stream_ids)
            known = await find_events(db, self._schema, _event_ids(group.batches))
            matches = {
                condition: found
                for condition in group.conditions
                if (found := await match(db, self._schema, condition)) is not None
            }
            settlement = group.settle(heads, known, matches, self._log, self._durability)
            end = await self._insert(db, group, settlement)
            if known and not settlement.events:
                # Repetitions: what is repeated may be committed and not be synced, or not have
                # reached a replica yet. A record of our own makes COMMIT wait for all before it.
                await db.execute(statement("wait_durable", self._schema))
        self._is_written(settlement, end)

    async def _insert(self, db: Db, group: "_Group", settlement: Settlement) -> LogHead:
        """Insert what was judged, if anything is to be; return where the log ends then."""
        if not settlement.events:
            return self._log
        group.is_sent = True
        columns = _columns(settlement.events, group.heads)
        base, digest = await db.fetchrow(
            statement("append_events", self._schema),
            *(
                *columns[:5],
                group.recorded_microseconds,
                *columns[5:],
                self._log.position,
                self._log.digest,
            ),
        )
        group.answers = _moved(settlement.answers, base - self._log.position)
        return LogHead(base + len(settlement.events), digest)

    def _is_written(self, settlement: Settlement, end: LogHead) -> None:
        self._log = end
        self._remember(settlement.heads)
        self._committed(end.position)

    def _remember(self, heads: dict[str, StreamHead]) -> None:
        if len(self._heads) + len(heads) > _HEAD_COUNT_MAX:
            self._heads.clear()
        self._heads.update(heads)

    def _forget(self, group: "_Group") -> None:
        for stream_id in group.stream_ids:
            self._heads.pop(stream_id, None)


class _Group:
    """Batches that are written together, and what has become of them so far."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.recorded_microseconds = 0
        self.stream_ids = {part.stream_id for batch in batches for part in batch.appends}
        self.is_sent = False
        """Whether this attempt has asked the database to write."""
        self.is_repeated = False
        """Whether the database has found one of its events recorded."""
        self.doubt = Doubt()
        """Whether an attempt was lost after that."""
        self.heads: dict[str, StreamHead] = {}
        """What it was judged on."""
        self.answers: list[Answer | Exception] = []

    @property
    def refused(self) -> list[tuple[Batch, Exception]]:
        """The batches that were refused when it was judged, and why."""
        return [
            (batch, answer)
            for batch, answer in zip(self.batches, self.answers, strict=True)
            if isinstance(answer, Exception)
        ]

    @property
    def conditions(self) -> set[AppendCondition]:
        """The conditions of its batches."""
        return {batch.condition for batch in self.batches if batch.condition is not None}

    def settle(
        self,
        heads: Mapping[str, StreamHead],
        known: Mapping[str, RecordedEvent],
        matches: Mapping[AppendCondition, RecordedEvent],
        log_head: LogHead,
        durability: Durability,
    ) -> Settlement:
        """Judge it."""
        self.heads = {stream_id: heads[stream_id] for stream_id in self.stream_ids & heads.keys()}
        settlement = settle(
            self.batches,
            heads=self.heads,
            known=known,
            matches=matches,
            log=log_head,
            recorded_microseconds=self.recorded_microseconds,
            durability=durability,
        )
        self.answers = settlement.answers
        return settlement


def _event_ids(batches: Iterable[Batch]) -> list[str]:
    return [event.event_id for b in batches for part in b.appends for event in part.events]


def _columns(
    events: Sequence[CommittedEvent], heads: dict[str, StreamHead]
) -> tuple[list[Any], ...]:
    """Return events as the columns that the database takes, from the stream ids to the digests."""
    recorded = [event.recorded for event in events]
    before = {stream_id: head.hash for stream_id, head in heads.items() if head.version}
    return (
        [one.stream_id for one in recorded],
        [one.version for one in recorded],
        [one.event_id for one in recorded],
        [one.type for one in recorded],
        [one.schema_version for one in recorded],
        [one.metadata_json.decode() for one in recorded],
        [one.data_json.decode() for one in recorded],
        [event.hash for event in events],
        # For the first event of each stream alone: the others are chained to each other.
        [before.pop(one.stream_id, None) for one in recorded],
        [event.digest for event in events],
    )


def _moved(answers: list[Answer | Exception], by: int) -> list[Answer | Exception]:
    """Return answers with the positions that were really given."""
    if not by:
        return answers
    return [
        answer if isinstance(answer, Exception) else tuple(_behind(one, by) for one in answer)
        for answer in answers
    ]


def _behind(receipt: Receipt, by: int) -> Receipt:
    first, last = receipt.first_position + by, receipt.last_position + by
    return replace(receipt, first_position=first, last_position=last)
