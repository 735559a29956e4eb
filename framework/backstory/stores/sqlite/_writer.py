"""The one writer of a store: it gathers the appends that wait and commits them together.

An append puts its batch into a queue and waits for its answer. A single task, which belongs to the
store, takes what has gathered, judges and writes it in one transaction on the writing connection,
and answers each batch by itself: a conflict fails only its own caller. While one group is being
synced to the disk the next one gathers, so the more callers there are the cheaper each becomes.

Cancellation. The task is not a child of any caller, so that a caller who is cancelled takes nobody
along. A batch whose caller is gone before it was taken is left out. One that was taken is written
to its end; its caller, if it asks again with the same event ids, is answered with the receipt.

Errors. What fails before COMMIT is rolled back, and nothing happened. When COMMIT itself fails,
nobody can say: the callers are told so, and the connection is thrown away and opened again, since
SQLite's view of a file whose sync failed is worth nothing.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec

from backstory._clock import Clock, to_microseconds
from backstory._commit import (
    Batch,
    CommittedEvent,
    Durability,
    LogHead,
    Receipt,
    Settlement,
    StreamHead,
    settle,
)
from backstory._errors import StoreClosedError
from backstory._limits import APPEND_EVENT_COUNT_MAX
from backstory._recorded import RecordedEvent
from backstory.stores.sqlite._connection import Connection, translated
from backstory.stores.sqlite._statement import statement

Answer = tuple[Receipt, ...]


class CommitFailedError(Exception):
    """COMMIT failed, so that nobody can say whether the group is written."""


class Writer:
    """Commits batches in groups, in the order of their arrival."""

    def __init__(
        self,
        *,
        store: str,
        connect: Callable[[], Awaitable[Connection]],
        clock: Clock,
        durability: Durability,
        committed: Callable[[int], None],
    ) -> None:
        """Make a writer; `open` starts it.

        Args:
            store: The store's name, for messages.
            connect: Opens the writing connection.
            clock: What events are recorded at.
            durability: What a commit survives.
            committed: Called with the new head after every group.
        """
        self._store = store
        self._connect = connect
        self._clock = clock
        self._durability = durability
        self._committed = committed
        self._queue: deque[tuple[Batch, asyncio.Future[Answer]]] = deque()
        self._wanted = asyncio.Event()
        self._is_closing = False
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
            await self._task
        if self._connection is not None:
            await self._connection.aclose()

    async def commit(self, batch: Batch) -> Answer:
        """Append a batch, all or nothing, with whatever else waits."""
        if self._is_closing:
            raise StoreClosedError(store=self._store)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.append((batch, answer))
        self._wanted.set()
        return await answer

    async def run(self, function: Callable[[sqlite3.Connection], int]) -> int:
        """Run a small write of another kind in a transaction of its own, between two groups."""
        if self._is_closing:
            raise StoreClosedError(store=self._store)
        connection = self._connection = self._connection or await self._connect()
        return await connection.run(partial(_in_transaction, function))

    async def _work(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while group := self._take():
                await self._write(group)
            if self._is_closing:
                return

    def _take(self) -> list[tuple[Batch, "asyncio.Future[Answer]"]]:
        group: list[tuple[Batch, asyncio.Future[Answer]]] = []
        count = 0
        while self._queue:
            batch, answer = self._queue[0]
            size = sum(len(part.events) for part in batch)
            if group and count + size > APPEND_EVENT_COUNT_MAX:
                break
            self._queue.popleft()
            if not answer.done():  # else its caller was cancelled
                group.append((batch, answer))
                count += size
        return group

    async def _write(self, group: list[tuple[Batch, "asyncio.Future[Answer]"]]) -> None:
        batches = [batch for batch, _ in group]
        try:
            settlement = await self._commit_group(batches)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            for _, answer in group:
                _answer(answer, error)
            return
        self._committed(settlement.log.position)
        for (_, answer), answered in zip(group, settlement.answers, strict=True):
            _answer(answer, answered)

    async def _commit_group(self, batches: list[Batch]) -> Settlement:
        try:
            with translated(self._store, "append"):
                connection = self._connection = self._connection or await self._connect()
                now = to_microseconds(self._clock.now())
                function = partial(
                    commit_group, batches=batches, now=now, durability=self._durability
                )
                return await connection.run(function)
        except CommitFailedError as failure:
            broken, self._connection = self._connection, None
            if broken is not None:
                await broken.aclose()
            with translated(self._store, "append", outcome_unknown=True):
                raise failure.__cause__ or failure from None


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
    """Judge and write a group in one transaction; runs on the connection's thread.

    Raises:
        CommitFailedError: COMMIT failed; SQLite's error is the cause.
        sqlite3.Error: Something before it failed; nothing happened.
    """
    # Immediate, because a deferred transaction that becomes a writer later fails at once when
    # another process wrote in between, without waiting.
    db.execute("BEGIN IMMEDIATE")
    try:
        settlement = settle(
            batches,
            heads=_stream_heads(db, {part.stream_id for batch in batches for part in batch}),
            known=_known(db, batches),
            log=LogHead(*db.execute(statement("read_log_head")).fetchone()),
            recorded_microseconds=now,
            durability=durability,
        )
        if settlement.events:
            _insert(db, settlement.events, settlement.log)
    except BaseException:
        _roll_back(db)
        raise
    try:
        db.execute("COMMIT")
    except sqlite3.Error as error:
        _roll_back(db)
        raise CommitFailedError from error
    return settlement


def _in_transaction(function: Callable[[sqlite3.Connection], int], db: sqlite3.Connection) -> int:
    db.execute("BEGIN IMMEDIATE")
    try:
        answer = function(db)
        db.execute("COMMIT")
    except BaseException:
        _roll_back(db)
        raise
    return answer


def _roll_back(db: sqlite3.Connection) -> None:
    # SQLite rolls back by itself after some errors, such as a full disk.
    if db.in_transaction:
        db.execute("ROLLBACK")


def _stream_heads(db: sqlite3.Connection, stream_ids: set[str]) -> dict[str, StreamHead]:
    sql = statement("read_stream_head")
    heads: dict[str, StreamHead] = {}
    for stream_id in stream_ids:
        if (row := db.execute(sql, (stream_id,)).fetchone()) is not None:
            heads[stream_id] = StreamHead(*row)
    return heads


def _known(db: sqlite3.Connection, batches: Sequence[Batch]) -> dict[str, RecordedEvent]:
    ids = [event.event_id for batch in batches for part in batch for event in part.events]
    rows = db.execute(statement("find_events"), (msgspec.json.encode(ids).decode(),))
    return {row[3]: RecordedEvent(*row) for row in rows}


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
    )
