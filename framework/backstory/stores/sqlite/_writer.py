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
whatever went wrong.

Other processes. Whatever is written is written while this process has the turn to write, which all
processes on the file take one after the other; so does the last checkpoint, when it is closed.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

import msgspec

from backstory._clock import Clock, to_microseconds
from backstory._commit import (
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
from backstory._errors import BackstoryError, StoreClosedError, StoreUnavailableError
from backstory._limits import APPEND_BYTES_MAX, APPEND_EVENT_COUNT_MAX
from backstory._logging import REASON, log
from backstory._recorded import RecordedEvent
from backstory._subscription import LogRead
from backstory.stores.sqlite._connection import Connection, translated
from backstory.stores.sqlite._statement import log_query, statement
from backstory.stores.sqlite._turn import WriteTurn

T = TypeVar("T")
Answer = tuple[Receipt, ...]


class CommitFailedError(Exception):
    """COMMIT failed, so that nobody can say whether the transaction is written."""


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
        self._queue: deque[tuple[Batch, asyncio.Future[Answer]]] = deque()
        self._wanted = asyncio.Event()
        self._turn = asyncio.Lock()
        self._is_closing = False
        self._is_closed = False
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and start to write."""
        self._connection = await self._connect()
        self._task = asyncio.create_task(self._work(), name=f"writer of {self._store}")

    async def aclose(self) -> None:
        """Write what waits, and let go of the connection."""
        self._is_closing = True
        self._wanted.set()
        if self._task is not None:
            # Waited for and not awaited: a loop that shuts down cancels every task, this one too,
            # and the connection must be let go of all the same.
            await asyncio.wait([self._task])
        for _, answer in self._queue:
            _answer(answer, StoreClosedError(store=self._store))
        async with self._turn:
            # Who waits for a turn behind this one finds the writer closed.
            self._is_closed = True
            await self._discard()

    async def commit(self, batch: Batch) -> Answer:
        """Append a batch, all or nothing, with whatever else waits."""
        if self._is_closing:
            raise StoreClosedError(store=self._store)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((batch, answer))
        self._wanted.set()
        return await answer

    async def run(self, attempted: str, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function in a transaction of its own, between two groups.

        Raises:
            StoreUnavailableError: It failed; nothing happened, or nobody can say.
            StoreClosedError: The writer is closing.
        """
        if self._is_closing:
            raise StoreClosedError(store=self._store)
        return await self._transact(attempted, partial(_in_transaction, function))

    async def _transact(self, attempted: str, function: Callable[[sqlite3.Connection], T]) -> T:
        async with self._turn:
            if self._is_closed:
                raise StoreClosedError(store=self._store)
            try:
                with translated(self._store, attempted):
                    connection = self._connection = self._connection or await self._connect()
                    return await connection.run(partial(self._in_turn, attempted, function))
            except Exception as error:
                await self._discard()
                raise self._failure(attempted, error) from error

    def _in_turn(
        self, attempted: str, function: Callable[[sqlite3.Connection], T], db: sqlite3.Connection
    ) -> T:
        with self._turn_to_write.taken(attempted):
            return function(db)

    def _failure(self, attempted: str, error: Exception) -> BackstoryError:
        if isinstance(error, BackstoryError):
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
        if connection is None:
            return
        try:
            # The last connection to close checkpoints.
            await connection.run(lambda _db: self._turn_to_write.take("close"))
        except StoreUnavailableError as error:
            log.warning("connection.broken", **{REASON: str(error)})
            await self._close(connection)
        else:
            try:
                await self._close(connection)
            finally:
                self._turn_to_write.give_back()

    async def _close(self, connection: Connection) -> None:
        try:
            await connection.aclose()
        except sqlite3.Error as error:
            log.warning("connection.broken", **{REASON: str(error)})

    async def _work(self) -> None:
        while not self._is_closing:
            await self._wanted.wait()
            self._wanted.clear()
            while group := self._take():
                await self._write(group)

    def _take(self) -> list[tuple[Batch, "asyncio.Future[Answer]"]]:
        """Take what one transaction holds: as much as the largest single append may be."""
        group: list[tuple[Batch, asyncio.Future[Answer]]] = []
        event_count = byte_count = 0
        while self._queue:
            batch, answer = self._queue[0]
            events = [event for part in batch.appends for event in part.events]
            event_count += len(events)
            byte_count += sum(len(event.data_json) for event in events)
            is_full = event_count > APPEND_EVENT_COUNT_MAX or byte_count > APPEND_BYTES_MAX
            if group and is_full:
                break
            self._queue.popleft()
            if not answer.done():  # else its caller was cancelled
                group.append((batch, answer))
        return group

    async def _write(self, group: list[tuple[Batch, "asyncio.Future[Answer]"]]) -> None:
        try:
            settlement = await self._transact(
                "append",
                partial(
                    self._commit_group,
                    [batch for batch, _ in group],
                    to_microseconds(self._clock.now()),
                ),
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            for _, answer in group:
                _answer(answer, self._failure("append", error))
            return
        self._committed(settlement.log.position)
        for (_, answer), answered in zip(group, settlement.answers, strict=True):
            if isinstance(answered, Exception):
                _answer(answer, self._failure("append", answered))
            else:
                _answer(answer, answered)


def _answer(answer: "asyncio.Future[Answer]", answered: Answer | Exception) -> None:
    if answer.done():  # its caller was cancelled meanwhile
        return
    if isinstance(answered, Exception):
        answer.set_exception(answered)
    else:
        answer.set_result(answered)


def commit_group(
    db: sqlite3.Connection, *, batches: Sequence[Batch], now: int, durability: Durability
) -> Settlement:
    """Judge a group, and write what passes; runs on the connection's thread, in a transaction."""
    settlement = settle(
        batches,
        heads=_stream_heads(db, {part.stream_id for batch in batches for part in batch.appends}),
        known=_known(db, batches),
        matches=_matches(db, [b.condition for b in batches if b.condition is not None]),
        log=LogHead(*db.execute(statement("read_log_head")).fetchone()),
        recorded_microseconds=now,
        durability=durability,
    )
    if settlement.events:
        _insert(db, settlement.events, settlement.log)
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
) -> dict[AppendCondition, RecordedEvent]:
    found: dict[AppendCondition, RecordedEvent] = {}
    for condition in conditions:
        read = LogRead(
            after_position=condition.after_position,
            until_position=None,
            where=condition.where,
            backward=True,
            limit=1,
        )
        query = log_query(read)
        if (row := db.execute(query.sql, query.parameters).fetchone()) is not None:
            found[condition] = RecordedEvent(*row)
    return found


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
