"""The SQLite store: a writer, a few readers, and a watch over one file.

Readers have connections of their own in `mode=ro`: they never wait for the writer, and cannot
checkpoint. A page is one statement on one of them; between pages nothing is held, so a reader that
is slow, or forgotten, is in nobody's way.
"""

import math
import os
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import anyio
from msgspec.structs import replace

from backstory._clock import Clock, SystemClock
from backstory._commit import EMPTY_LOG, Batch, Durability, LogHead, Receipt
from backstory._completion import complete
from backstory._connected_store import ConnectedStore
from backstory._errors import ConfigurationError, StoreUnavailableError
from backstory._limits import PROJECTION_NAME_BYTES_MAX, check_text
from backstory._logging import POSITION, REASON, log
from backstory._migration import SchemaMigration, refuse_roles
from backstory._pages import LogRead, Page, StreamRead
from backstory._progress import Note, Progress, SQLValue, TableRows
from backstory._recorded import RecordedEvent
from backstory._snapshot import SNAPSHOT_COUNT_MAX, Checkpoint, Snapshot
from backstory._statistics import StoreStatistics
from backstory._store import LogSeal, SealedEvent, StoreCapabilities, StreamInfo
from backstory._tables import query_tables
from backstory._watch import Watch
from backstory.stores.sqlite._connection import Connection, translated
from backstory.stores.sqlite._head import HeadFile, HeadRecord, check_head, read_head
from backstory.stores.sqlite._measure import check_file, measure
from backstory.stores.sqlite._migrate import migrate, migration_from, schema_version
from backstory.stores.sqlite._ownership import Ownership
from backstory.stores.sqlite._progress import keep_progress, note
from backstory.stores.sqlite._read import (
    Values,
    data_version,
    find_event,
    list_notes,
    read_log,
    read_page,
    read_rows,
    read_stream_page,
)
from backstory.stores.sqlite._sealed import read_sealed
from backstory.stores.sqlite._statement import statement
from backstory.stores.sqlite._sync import sync_wal
from backstory.stores.sqlite._turn import WriteTurn
from backstory.stores.sqlite._writer import Writer

T = TypeVar("T")

_READER_COUNT_MAX: Final = 4
_PAGE_BYTES_MAX: Final = 4_000_000
_NOTES_SINCE: Final = 4
"""The schema version that brought notes."""
_ROW_COUNT: Final = 32
"""Rows between two looks at a page's size."""
_SYNCHRONOUS: Final = {Durability.FSYNC: "FULL", Durability.BUFFERED: "NORMAL"}
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_RETRY_SECONDS: Final = 0.01
_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables


class SQLiteStore(ConnectedStore):
    """A store in one SQLite file, which several processes may share."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = Durability.FSYNC,
        read_only: bool = False,
        busy_timeout_seconds: float = 5.0,
        poll_interval_seconds: float = 0.05,
        clock: Clock | None = None,
    ) -> None:
        """Make a store; `async with` opens it, and creates the file where there is none.

        Args:
            path: The file; its folder must exist. It is created readable by its owner only.
            durability: `FSYNC` syncs every commit, so that it survives a power cut; `BUFFERED`
                leaves that to the operating system, so that it survives the end of the process.
            read_only: Open a file that exists, and refuse to write.
            busy_timeout_seconds: How long a commit waits for other processes.
            poll_interval_seconds: How often to look for other processes' appends.
            clock: What events are recorded at; the machine's clock by default.

        Raises:
            ConfigurationError: A setting is none.
        """
        if durability not in _SYNCHRONOUS:
            raise ConfigurationError(
                f"an SQLite file has no durability {durability}; use fsync or buffered"
            )
        for setting in (busy_timeout_seconds, poll_interval_seconds):
            if not (math.isfinite(setting) and setting > 0):
                raise ConfigurationError(
                    "busy_timeout_seconds and poll_interval_seconds must be positive and finite"
                )
        if "\0" in os.fspath(path):
            raise ConfigurationError(f"{path!r} is no path: it holds a NUL character")
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigurationError(
                f"SQLite {sqlite3.sqlite_version} is too old; Backstory needs 3.37 or newer"
            )
        self.capabilities = StoreCapabilities(
            durability=durability, is_multi_process=True, has_tables=True
        )
        super().__init__(f"sqlite:///{path}", read_only=read_only)
        # Whole from here on: a program may change its folder while the store is open.
        self._path = Path(path).absolute()
        self._durability = durability
        self._busy_timeout_seconds = busy_timeout_seconds
        self._poll_interval_seconds = poll_interval_seconds
        self._clock = clock or SystemClock()
        self._reader_slots = anyio.Semaphore(_READER_COUNT_MAX)
        self._start()

    def _start(self) -> None:
        self._watch = Watch(
            store=self._name, look=self._look, poll_interval_seconds=self._poll_interval_seconds
        )
        self._readers: list[Connection] = []
        self._watcher: Connection | None = None
        self._seen_version: int | None = None  # of the file, as the watcher's connection counts
        self._writer: Writer | None = None
        self._turn: WriteTurn | None = None
        self._head_file: HeadFile | None = None
        self._owned: Ownership | None = None

    @property
    def path(self) -> Path:
        """The file, by its whole path."""
        return self._path

    async def migrate(
        self, *, dry_run: bool = False, writers: Sequence[str] = (), readers: Sequence[str] = ()
    ) -> SchemaMigration:
        """Create the file, or bring it to the newest schema; it has no roles."""
        refuse_roles(self._name, writers, readers)
        plan = migration_from(await self._found_version())
        if not dry_run:
            async with self:
                pass  # opening has done it
        return plan

    async def _found_version(self) -> int:
        if not self._path.exists():
            return 0
        with translated(self._name, "look at the schema"):
            watcher = await self._connection("ro")
            try:
                return await self._first_look(watcher)
            finally:
                await watcher.aclose()

    async def _connect(self, *, is_damaged: bool) -> None:
        try:
            self._find()
        except OSError as error:
            raise StoreUnavailableError(
                store=self._name, attempted="find the file", reason=str(error)
            ) from error
        if not self._read_only:
            self._create()
        with translated(self._name, "open"):
            # A look that cannot write comes first: a file that is not ours is left as it is.
            self._watcher = await self._connection("ro")
            version = await self._first_look(self._watcher)
            if not version and not is_damaged:
                self._check_no_log()
            if not self._read_only:
                await self._open_writer()
            await self._watcher.run(self._check_schema)
            if not is_damaged:
                self._incarnation = await self._watcher.run(self._check_head)
        self._watch.open()

    async def _first_look(self, watcher: Connection) -> int:
        """Return the schema version; 0 for an empty file."""
        look = partial(schema_version, store=self._name)
        try:
            return await watcher.run(look)
        except sqlite3.OperationalError as error:
            if self._read_only or error.sqlite_errorcode != sqlite3.SQLITE_READONLY_ROLLBACK:
                raise
        # Who made the file was ended in the middle, and left a journal that only a writer may roll
        # back; any connection that may write does so when it reads.
        writer = await self._connection("rw")
        try:
            await writer.run(look)
        finally:
            await writer.aclose()
        return await watcher.run(look)

    async def _open_writer(self) -> None:
        try:
            self._turn = WriteTurn(
                self._path, store=self._name, timeout_seconds=self._busy_timeout_seconds
            )
            self._head_file = HeadFile(self._path) if self._keeps_head else None
        except OSError as error:
            raise StoreUnavailableError(
                store=self._name, attempted="open the files beside it", reason=str(error)
            ) from error
        self._owned = Ownership(self._path)
        self._writer = Writer(
            store=self._name,
            connect=partial(self._connect_writer, self._turn),
            clock=self._clock,
            durability=self._durability,
            turn=self._turn,
            written=self._keep_head,
            sync=self._sync,
            committed=self._watch.saw,
        )
        await self._writer.open()

    def _check_whether_gone(self) -> None:
        if not self._path.exists():
            self._check_no_log()

    def _check_no_log(self) -> None:
        if (kept := read_head(self._path)) is not None:
            check_head(kept, "", EMPTY_LOG, path=self._path, store=self._name)

    @property
    def _keeps_head(self) -> bool:
        return self._durability is Durability.FSYNC

    def _keep_head(self, log_head: LogHead) -> None:
        if self._head_file is None:
            return
        try:
            self._head_file.write(HeadRecord(self._incarnation, log_head.position, log_head.digest))
        except OSError as error:
            # The events are committed and synced; only a loss of them later could go unnoticed.
            log.warning("head.unwritten", **{REASON: str(error)})

    def _check_head(self, db: sqlite3.Connection) -> str:
        """Compare the log with the head that is kept beside it; return the log's incarnation."""
        kept = read_head(self._path)  # first: the log only grows meanwhile
        seal = read_log(db)
        if kept is not None:
            check_head(kept, seal.incarnation, seal.head, path=self._path, store=self._name)
        elif seal.head.position and self._keeps_head:
            log.warning("head.missing", **{POSITION: seal.head.position})
        return seal.incarnation

    def _find(self) -> None:
        if self._path.exists():
            # Through links, as SQLite goes: by whatever name, what lies beside it lies beside it.
            self._path = self._path.resolve()
            # SQLite would open it all the same, for reading. Not tried by opening it: to close a
            # file again takes SQLite's own locks from it, wherever this process has them.
            if not (self._read_only or _is_writable(self._path)):
                raise PermissionError(f"{self._path} may not be written; open it read-only")
        if self._read_only:
            self._check_exists()
        else:
            self._check_whether_gone()

    def _check_schema(self, db: sqlite3.Connection) -> None:
        if not schema_version(db, self._name):
            raise ConfigurationError(f"{self._name} is empty; append to it first")

    def _check_exists(self) -> None:
        if not self._path.is_file():
            raise ConfigurationError(f"there is no store at {self._path}; name one that exists")

    def _create(self) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        try:
            os.close(os.open(self._path, flags, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise StoreUnavailableError(
                store=self._name, attempted="create the file", reason=str(error)
            ) from error

    async def _connection(self, mode: str) -> Connection:
        return await Connection.open(
            self._path, mode=mode, busy_timeout_seconds=self._busy_timeout_seconds
        )

    async def _connect_writer(self, turn: WriteTurn) -> Connection:
        connection = await self._connection("rw")
        try:
            await connection.run(partial(self._prepare, turn))
        except BaseException:
            await connection.aclose()
            raise
        return connection

    def _prepare(self, turn: WriteTurn, db: sqlite3.Connection) -> None:
        with turn.taken("open"):
            self._set_up_patiently(db)

    def _set_up_patiently(self, db: sqlite3.Connection) -> None:
        # SQLite's own lock may be held by a program that is not ours, and turning WAL on does not
        # wait for it, whatever the timeout.
        deadline = time.monotonic() + self._busy_timeout_seconds
        while True:
            try:
                self._set_up(db)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
            else:
                return

    def _set_up(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}")
        db.execute("PRAGMA fullfsync = ON")  # on macOS, where fsync does not reach the disk
        db.execute("PRAGMA foreign_keys = ON")
        migrate(db, self._name)
        self._sync()

    def _sync(self) -> None:
        if self._durability is Durability.FSYNC:
            try:
                sync_wal(self._path)
            except OSError as error:
                raise StoreUnavailableError(
                    store=self._name, attempted="sync the WAL", reason=str(error)
                ) from error

    def _release(self, closing: AsyncExitStack) -> None:
        # The writer goes last: the last connection to close checkpoints, and only it may.
        closing.callback(self._close_files)
        if self._writer is not None:
            closing.push_async_callback(self._writer.aclose)
        for reader in self._readers:
            closing.push_async_callback(reader.aclose)
        closing.push_async_callback(self._close_watcher)
        closing.push_async_callback(self._watch.aclose)

    async def _close_watcher(self) -> None:
        if self._watcher is not None:
            await self._watcher.aclose()

    def _close_files(self) -> None:
        for file in (self._turn, self._head_file, self._owned):
            if file is not None:
                file.close()

    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        """Append a batch, all or nothing, in a group with whatever else waits."""
        return await self._writable("append").commit(batch)

    async def read_page(self, read: LogRead) -> Page:
        """Return the next events of the log that match."""
        return await self._read("read the log", partial(read_page, read=read))

    async def read_stream_page(self, read: StreamRead) -> Page:
        """Return the next events of a stream that match."""
        return await self._read("read a stream", partial(read_stream_page, read=read))

    async def find_event(self, event_id: str) -> RecordedEvent | None:
        """Return the event with an id, or None."""
        return await self._read("read an event", partial(find_event, event_id=event_id))

    async def list_streams(
        self, category: str | None, after_stream_id: str, limit: int
    ) -> list[StreamInfo]:
        """Return the next streams behind an id, in the order of their bytes."""
        # Every stream of a category begins with it and a dash; the next character after the dash
        # is the dot.
        bounds = {
            "after": max(after_stream_id, f"{category}-" if category else ""),
            "until": f"{category}." if category else "\U0010ffff",
            "limit": limit,
        }
        rows = await self._read("list streams", partial(read_rows, "list_streams", bounds))
        return [StreamInfo(*row) for row in rows]

    async def head(self) -> int:
        """Return the last position of the log; 0 when it is empty."""
        return (await self._read("read the head", read_log)).head.position

    async def read_sealed_page(self, after_position: int, limit: int) -> list[SealedEvent]:
        """Return the next events of the log with what seals them."""
        read = partial(read_sealed, after_position=after_position, limit=limit, store=self._name)
        return await self._read("read the log", read)

    async def read_seal(self) -> LogSeal:
        """Return which log it is, and where it ends."""
        record = read_head(self._path)  # first: the log only grows meanwhile
        seal = await self._read("read the head", read_log)
        if record is None:
            return seal
        kept = LogSeal(record.incarnation, LogHead(record.position, record.digest))
        return replace(seal, kept=kept)

    async def check_engine(self) -> list[str]:
        """Run SQLite's own check of the file and its indexes; compare tags and saved state."""
        return await self._read("check the file", check_file)

    async def try_own(self, name: str) -> bool:
        """Own a name by a lock on a file of its own."""
        check_text("name", name, PROJECTION_NAME_BYTES_MAX)
        self._check_open()
        try:
            return False if self._owned is None else self._owned.take(name)
        except OSError as error:
            raise StoreUnavailableError(
                store=self._name, attempted=f"own {name!r}", reason=str(error)
            ) from error

    async def statistics(self) -> StoreStatistics:
        """Return what the store holds, in numbers; it goes once along two indexes."""
        return await self._read("measure itself", partial(measure, path=self._path))

    async def wait_beyond(self, position: int) -> None:
        """Return when the log has events beyond a position."""
        self._check_open()
        await self._watch.wait_beyond(position)

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot."""
        s = snapshot
        values = (s.stream_id, s.version, s.fingerprint, s.state_json.decode())
        thin = {"stream_id": s.stream_id, "keep": SNAPSHOT_COUNT_MAX}
        await self._change("save a snapshot", ("save_snapshot", values), ("thin_snapshots", thin))

    async def get_snapshot(
        self, stream_id: str, fingerprint: str, until_version: int
    ) -> Snapshot | None:
        """Return the newest snapshot of a stream with this fingerprint and not after a version."""
        values = {
            "stream_id": stream_id,
            "fingerprint": fingerprint,
            "until": until_version,
        }
        rows = await self._read("load a snapshot", partial(read_rows, "load_snapshot", values))
        return Snapshot(*rows[0]) if rows else None

    async def drop_snapshots(self, stream_id: str | None) -> int:
        """Delete the snapshots of a stream, or all; return how many there were."""
        return await self._change(
            "delete snapshots", ("delete_snapshots", {"stream_id": stream_id})
        )

    async def put_progress(self, progress: Progress) -> None:
        """Keep a projection's checkpoint, and what belongs to it, in one transaction."""
        writer = self._writable("save a checkpoint")
        await writer.run("save a checkpoint", partial(keep_progress, progress))

    async def put_notes(self, notes: Sequence[Note]) -> None:
        """Keep and forget notes."""
        await self._writable("save a note").run("save a note", partial(note, notes))

    async def list_notes(self, space: str, after_key: str, limit: int) -> list[Note]:
        """Return the next notes of a space, in the order of their keys' bytes."""
        values = {"space": space, "after": after_key, "limit": limit}
        rows = await self._read("read notes", partial(list_notes, values))
        return [Note(*row) for row in rows]

    async def query(self, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
        """Return the rows of a query, on a connection that can only read."""
        query = partial(query_tables, sql=sql, parameters=parameters)
        return await self._read("query a read model", query)

    async def get_checkpoint(self, projection: str) -> Checkpoint | None:
        """Return a projection's checkpoint, or None."""
        rows = await self._read(
            "load a checkpoint", partial(read_rows, "load_checkpoint", (projection,))
        )
        return Checkpoint(*rows[0]) if rows else None

    async def drop_checkpoint(self, projection: str) -> None:
        """Forget a projection's checkpoint."""
        await self._change("delete a checkpoint", ("delete_checkpoint", (projection,)))

    async def _read(self, attempted: str, function: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        async with self._reader_slots, self._reader(attempted) as reader:
            with translated(self._name, attempted):
                return await reader.run(function)

    @asynccontextmanager
    async def _reader(self, attempted: str) -> AsyncGenerator[Connection]:
        self._check_open()
        with translated(self._name, attempted):
            reader = self._readers.pop() if self._readers else await self._connection("ro")
        try:
            yield reader
        finally:
            if self._is_open:
                self._readers.append(reader)
            else:
                await complete(reader.aclose())

    async def _look(self) -> int:
        """Return the head, where another connection has committed since the last look."""
        with translated(self._name, "look for appends"):
            watcher = self._watcher = self._watcher or await self._connection("ro")
            try:
                version = await watcher.run(data_version)
                if version == self._seen_version:
                    return 0
                head = (await watcher.run(read_log)).head.position
            except Exception:
                # The next look is made on another connection, which counts anew.
                self._watcher, self._seen_version = None, None
                await complete(watcher.aclose())
                raise
        self._seen_version = version
        return head

    async def _change(self, attempted: str, *changes: tuple[str, Values]) -> int:
        return await self._writable(attempted).run(attempted, partial(_execute, changes))

    def _writable(self, attempted: str) -> Writer:
        self._check_open()
        if self._writer is None:
            raise ConfigurationError(
                f"{self._name} was opened read-only, and cannot {attempted}; open it for writing"
            )
        return self._writer


def _is_writable(path: Path) -> bool:
    # Without more, the system answers for who began the program, not for whom it acts as now.
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _execute(changes: Sequence[tuple[str, Values]], db: sqlite3.Connection) -> int:
    """Execute statements in order; return how many rows the last one changed."""
    row_count = 0
    for name, values in changes:
        row_count = db.execute(statement(name), values).rowcount
    return row_count
