"""The one writer of a store: it gathers the appends that wait and commits them together.

An append puts its batch into a queue and waits for its answer. A single task, which belongs to the
store, takes what has gathered, judges and writes it in one transaction on the writing connection,
and answers each batch by itself: a conflict fails only its own caller. While one group is being
synced to the disk the next one gathers, so the more callers there are the cheaper each becomes.

Cancellation. The task is not a child of any caller, so that a caller who is cancelled takes nobody
along. A batch whose caller is gone before it was taken is left out. One that was taken is written
to its end; its caller, if it asks again with the same event ids, is answered with the receipt.

Errors. What fails before COMMIT is rolled back, and nothing happened. When COMMIT itself fails,
nobody can say: the callers are told so. In both cases the connection is thrown away and another one
opened, since SQLite's view of a file after an error is worth nothing. Whoever waits is answered,
whatever went wrong. Where nothing ran, because others had the turn for too long, it is kept.

Other processes. Whatever is written is written while this process has the turn to write, which all
processes on the file take one after the other; so does the last checkpoint, when it is closed.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from backstory._clock import Clock, to_microseconds
from backstory._commit import (
    AppendCondition,
    Batch,
    CommittedEvent,
    Durability,
    LogHead,
    Settlement,
    StreamHead,
    settle,
)
from backstory._completion import complete
from backstory._errors import BackstoryError, StoreClosedError, StoreUnavailableError
from backstory._group_commit import BUGS, Answer, GroupCommit
from backstory._logging import REASON, log
from backstory._pages import LogRead
from backstory._recorded import RecordedEvent
from backstory.stores.sqlite._connection import Connection, translated
from backstory.stores.sqlite._query import log_query
from backstory.stores.sqlite._statement import statement
from backstory.stores.sqlite._turn import WriteTurn

T = TypeVar("T")

_OF_THE_STATEMENT: Final = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}
)
"""What SQLite says of one statement; anything else it says of the file or the machine."""


class CommitFailedError(Exception):
    """COMMIT failed, so that nobody can say whether the transaction is written."""


class MissedTurnError(Exception):
    """Others had the turn for too long, so that nothing ran; the store's error is the cause."""


class Writer:
    """Commits batches in groups, in the order of their arrival."""

    def __init__(
        self,
        *,
        store: str,
        connect: Callable[[], Awaitable[Connection]],
        clock: Clock,
        durability: Durability,
        turn: WriteTurn,
        written: Callable[[LogHead], None],
        sync: Callable[[], None],
        committed: Callable[[int], None],
    ) -> None:
        """Make a writer; `open` starts it.

        Args:
            store: The store's name, for messages.
            connect: Opens the writing connection.
            clock: What events are recorded at.
            durability: What a commit survives.
            turn: Held while anything is written.
            written: Called with the new head after every COMMIT, on the connection's thread, while
                the turn is held.
            sync: Called there before repetitions are answered, when nothing was written.
            committed: Called with the new position after every group, in the event loop.
        """
        self._store = store
        self._connect = connect
        self._clock = clock
        self._durability = durability
        self._turn_to_write = turn
        self._written = written
        self._sync = sync
        self._committed = committed
        self._groups = GroupCommit(store=store, write=self._write)
        self._turn = asyncio.Lock()
        self._is_closed = False
        self._connection: Connection | None = None

    async def open(self) -> None:
        """Connect, and start to write."""
        self._connection = await self._connect()
        self._groups.open()

    async def aclose(self) -> None:
        """Write what waits, and let go of the connection."""
        await self._groups.aclose()
        async with self._turn:
            # Who waits for a turn behind this one finds the writer closed.
            self._is_closed = True
            await self._discard()

    async def commit(self, batch: Batch) -> Answer:
        """Append a batch, all or nothing, with whatever else waits."""
        return await self._groups.commit(batch)

    async def run(self, attempted: str, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in a transaction of its own, between two groups.

        Raises:
            StoreUnavailableError: It failed; nothing happened, or nobody can say.
            StoreClosedError: The writer is closing.
        """
        self._groups.check_open()
        return await self._transact(attempted, partial(_in_transaction, function))

    async def _transact(self, attempted: str, function: Callable[[sqlite3.Connection], T]) -> T:
        async with self._turn:
            if self._is_closed:
                raise StoreClosedError(store=self._store)
            try:
                with translated(self._store, attempted):
                    connection = self._connection = self._connection or await self._connect()
                    return await connection.run(partial(self._in_turn, attempted, function))
            except MissedTurnError as error:
                raise self._failure(attempted, error) from error
            except Exception as error:
                await self._discard()
                raise self._failure(attempted, error) from error

    def _in_turn(
        self, attempted: str, function: Callable[[sqlite3.Connection], T], db: sqlite3.Connection
    ) -> T:
        try:
            self._turn_to_write.take(attempted)
        except StoreUnavailableError as error:
            raise MissedTurnError from error
        try:
            return function(db)
        finally:
            self._turn_to_write.give_back()

    def _failure(self, attempted: str, error: Exception) -> Exception:
        if isinstance(error, MissedTurnError) and isinstance(error.__cause__, BackstoryError):
            return error.__cause__
        if isinstance(error, (BackstoryError, *BUGS)):
            return error
        is_unknown = isinstance(error, CommitFailedError)
        reason = str(error.__cause__) if is_unknown else f"{type(error).__name__}: {error}"
        return StoreUnavailableError(
            store=self._store, attempted=attempted, reason=reason, outcome_unknown=is_unknown
        )

    def _commit_group(
        self, batches: Sequence[Batch], now: int, db: sqlite3.Connection
    ) -> Settlement:
        commit = partial(commit_group, batches=batches, now=now, durability=self._durability)
        settlement = _in_transaction(commit, db)
        if settlement.events:
            self._written(settlement.log)
        elif any(not isinstance(answer, Exception) for answer in settlement.answers):
            # Repetitions: COMMIT has written nothing, and synced nothing, and what is repeated may
            # be of a process that was killed before it did.
            self._sync()
        return settlement

    async def _discard(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Nobody else would close it.
            await complete(self._close(connection))

    async def _close(self, connection: Connection) -> None:
        for close in (partial(connection.run, self._close_in_turn), connection.aclose):
            try:
                await close()
            except (sqlite3.Error, StoreUnavailableError) as error:
                log.warning("connection.broken", **{REASON: str(error)})

    def _close_in_turn(self, db: sqlite3.Connection) -> None:
        # Whole on the connection's thread, which no cancellation reaches: the last connection to
        # close checkpoints, and only then may the next one write.
        with self._turn_to_write.taken("close"):
            db.close()

    async def _write(self, batches: Sequence[Batch]) -> list[Answer | Exception]:
        try:
            now = to_microseconds(self._clock.now())
        except Exception as error:  # noqa: BLE001 - a clock is the program's
            failure = self._failure("append", error)
            raise failure from None if failure is error else error
        settlement = await self._transact("append", partial(self._commit_group, batches, now))
        self._committed(settlement.log.position)
        return [
            self._failure("append", answer) if isinstance(answer, Exception) else answer
            for answer in settlement.answers
        ]


def commit_group(
    db: sqlite3.Connection, *, batches: Sequence[Batch], now: int, durability: Durability
) -> Settlement:
    """Judge a group, and write what passes; runs on the connection's thread, in a transaction."""
    matches, failures = _matches(db, [b.condition for b in batches if b.condition is not None])
    settlement = settle(
        [batch for batch in batches if batch.condition not in failures],
        heads=_stream_heads(db, {part.stream_id for batch in batches for part in batch.appends}),
        known=_known(db, batches),
        matches=matches,
        log=LogHead(*db.execute(statement("read_log_head")).fetchone()),
        recorded_microseconds=now,
        durability=durability,
    )
    if settlement.events:
        _insert(db, settlement.events, settlement.log)
    if failures:
        settled = iter(settlement.answers)
        answers = [failures.get(b.condition) or next(settled) for b in batches]
        return replace(settlement, answers=answers)
    return settlement


def _in_transaction(function: Callable[[sqlite3.Connection], T], db: sqlite3.Connection) -> T:
    """Return what a function returns, in a transaction around it.

    Raises:
        CommitFailedError: COMMIT failed; SQLite's error is the cause.
        sqlite3.Error: Something before it failed; nothing happened.
    """
    # Immediate, because a deferred transaction that becomes a writer later fails at once when
    # another process wrote in between, without waiting.
    db.execute("BEGIN IMMEDIATE")
    try:
        answer = function(db)
    except BaseException:
        _roll_back(db)
        raise
    try:
        db.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(db)
        raise CommitFailedError from error
    return answer


def _roll_back(db: sqlite3.Connection) -> None:
    # SQLite rolls back by itself after some errors, such as a full disk; and where ROLLBACK fails,
    # so does everything after it, and the connection is thrown away.
    if db.in_transaction:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")


def _stream_heads(db: sqlite3.Connection, stream_ids: set[str]) -> dict[str, StreamHead]:
    sql = statement("read_stream_head")
    heads: dict[str, StreamHead] = {}
    for stream_id in stream_ids:
        if (row := db.execute(sql, (stream_id,)).fetchone()) is not None:
            heads[stream_id] = StreamHead(*row)
    return heads


def _known(db: sqlite3.Connection, batches: Sequence[Batch]) -> dict[str, RecordedEvent]:
    ids = [event.event_id for b in batches for part in b.appends for event in part.events]
    rows = db.execute(statement("find_events"), (msgspec.json.encode(ids).decode(),))
    return {row[3]: RecordedEvent(*row) for row in rows}


def _matches(
    db: sqlite3.Connection, conditions: Sequence[AppendCondition]
) -> tuple[dict[AppendCondition, RecordedEvent], dict[AppendCondition | None, Exception]]:
    """Return what matches each condition, and why which of them cannot be asked."""
    found: dict[AppendCondition, RecordedEvent] = {}
    failures: dict[AppendCondition | None, Exception] = {}
    for condition in conditions:
        try:
            if (match := _match(db, condition)) is not None:
                found[condition] = match
        except (sqlite3.Error, OverflowError) as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code not in _OF_THE_STATEMENT:
                raise
            failures[condition] = error  # the fault of its batch, and not of its neighbours
    return found, failures


def _match(db: sqlite3.Connection, condition: AppendCondition) -> RecordedEvent | None:
    read = LogRead(
        after_position=condition.after_position,
        until_position=None,
        where=condition.where,
        backward=True,
        limit=1,
    )
    query = log_query(read)
    row = db.execute(query.sql, query.parameters).fetchone()
    return None if row is None else RecordedEvent(*row)


def _insert(db: sqlite3.Connection, events: list[CommittedEvent], log: LogHead) -> None:
    db.executemany(statement("append_events"), [_row(event) for event in events])
    tags = [(tag, event.recorded.position) for event in events for tag in event.tags]
    if tags:
        db.executemany(statement("append_tags"), tags)
    db.execute(statement("write_log_head"), (log.position, log.digest))


def _row(event: CommittedEvent) -> tuple[object, ...]:
    recorded = event.recorded
    return (
        recorded.position,
        recorded.stream_id,
        recorded.version,
        recorded.event_id,
        recorded.type,
        recorded.schema_version,
        recorded.recorded_microseconds,
        recorded.metadata_json.decode(),
        recorded.data_json.decode(),
        event.hash,
        event.digest,
    )
