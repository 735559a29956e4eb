"""The PostgreSQL store: a writer, a pool of readers, wake-ups, and a session that owns names.

Everything is one round trip where it can be, and nothing is held in the database while somebody
thinks: a page is one statement, an append is one statement, and what takes a transaction is short.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, TypeVar

from backstory._clock import Clock, SystemClock
from backstory._commit import Batch, Durability, LogHead, Receipt
from backstory._completion import complete
from backstory._connected_store import ConnectedStore
from backstory._errors import (
    ConfigurationError,
    CorruptLogError,
)
from backstory._limits import PROJECTION_NAME_BYTES_MAX, check_text
from backstory._migration import SchemaMigration
from backstory._pages import LogRead, Page, StreamRead
from backstory._progress import Note, Progress, SQLValue, TableRows
from backstory._recorded import RecordedEvent
from backstory._snapshot import Checkpoint, Snapshot
from backstory._statistics import StoreStatistics
from backstory._store import LogSeal, SealedEvent, StoreCapabilities, StreamInfo
from backstory._watch import Watch
from backstory.stores.postgres._database import (
    Database,
    Db,
    Doubt,
    Settings,
    check_primary,
    make_durable,
)
from backstory.stores.postgres._dsn import check_dsn
from backstory.stores.postgres._measure import check_engine, measure
from backstory.stores.postgres._migrate import INDEXES, migrate, migrate_schema, pending
from backstory.stores.postgres._ownership import Ownership
from backstory.stores.postgres._read import (
    find_event,
    list_streams,
    read_log_head,
    read_page,
    read_seal,
    read_stream_page,
)
from backstory.stores.postgres._roles import share_tables
from backstory.stores.postgres._saved_state import (
    drop_checkpoint,
    drop_snapshots,
    get_checkpoint,
    get_snapshot,
    list_notes,
    put_notes,
    put_progress,
    put_snapshot,
)
from backstory.stores.postgres._sealed import read_sealed
from backstory.stores.postgres._tables import query_tables
from backstory.stores.postgres._wake_ups import WakeUps
from backstory.stores.postgres._writer import Writer

T = TypeVar("T")

_SCHEMA_BYTES_MAX: Final = 63
"""An identifier of PostgreSQL."""
_SCHEMA_WORDS: Final = ("{schema}", "$body$")
"""What the SQL of the schema is written with."""
_POLICIES: Final = (Durability.FSYNC, Durability.BUFFERED)


class PostgresStore(ConnectedStore):
    """A store in one schema of a PostgreSQL database, which many processes may share."""

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "backstory",
        durability: Durability = Durability.FSYNC,
        read_only: bool = False,
        migrate: bool = True,
        indexes: Sequence[str] | None = None,
        listen: bool = True,
        connection_count_max: int = 8,
        connect_timeout_seconds: float = 10.0,
        statement_timeout_seconds: float = 30.0,
        lock_timeout_seconds: float = 10.0,
        retry_seconds: float = 15.0,
        poll_interval_seconds: float = 0.5,
        ownership_timeout_seconds: float = 3.0,
        clock: Clock | None = None,
    ) -> None:
        """Make a store; `async with` opens it, and creates the schema where there is none.

        Args:
            dsn: Where the database is, as a URL of libpq: `postgresql://user@host:5432/name`, with
                settings such as `sslmode` and `passfile`. What it leaves out is taken from the
                variables PGHOST, PGUSER and so on, and from the password file.
            schema: The schema that holds the store; several stores may lie in one database.
            durability: `FSYNC` acknowledges what the server has synced to its disk (and whatever
                more its `synchronous_commit` says, such as replicas); `BUFFERED` what it will have
                synced in a moment, so that a crash of the server may take the last appends.
            read_only: Refuse to write.
            migrate: Whether to bring the schema to the newest version; else one that is older is
                refused, and `backstory migrate` does it.
            indexes: The optional indexes to create with the schema, of those that the page on the
                schema lists; None for all.
            listen: Whether to be told of appends of others by LISTEN; else they are only polled
                for, as behind a pooler that gives out connections for a transaction.
            connection_count_max: Connections for reading and small changes. Three more may be used:
                to write, to listen, and to own projections.
            connect_timeout_seconds: How long to wait for a connection, new or free.
            statement_timeout_seconds: How long a statement may take.
            lock_timeout_seconds: How long a statement may wait for a lock, such as the turn to
                append; and how long a transaction of ours may hold one while it stands still.
            retry_seconds: How long an operation is tried again when its connection was lost.
            poll_interval_seconds: How often to look for appends of others, whatever is heard.
            ownership_timeout_seconds: After how much silence others may take over what this store
                owns.
            clock: What events are recorded at; the machine's clock by default.

        Raises:
            ConfigurationError: A setting is none.
        """
        _check_settings(
            connect_timeout_seconds=connect_timeout_seconds,
            statement_timeout_seconds=statement_timeout_seconds,
            lock_timeout_seconds=lock_timeout_seconds,
            poll_interval_seconds=poll_interval_seconds,
            ownership_timeout_seconds=ownership_timeout_seconds,
        )
        check_dsn(dsn)
        if not (math.isfinite(retry_seconds) and retry_seconds >= 0):
            raise ConfigurationError("retry_seconds must be zero or positive, and finite")
        if connection_count_max < 1:
            raise ConfigurationError("connection_count_max must be 1 or more")
        if durability not in _POLICIES:
            raise ConfigurationError(
                f"PostgreSQL has no durability {durability}; use fsync or buffered"
            )
        _check_schema(schema, indexes)
        self.capabilities = StoreCapabilities(
            durability=durability, is_multi_process=True, has_tables=True, reads_ahead=True
        )
        self._settings = Settings(
            dsn=dsn,
            schema=schema,
            durability=durability,
            read_only=read_only,
            connection_count_max=connection_count_max,
            connect_timeout_seconds=connect_timeout_seconds,
            statement_timeout_seconds=statement_timeout_seconds,
            lock_timeout_seconds=lock_timeout_seconds,
            retry_seconds=retry_seconds,
        )
        super().__init__(self._settings.name, read_only=read_only)
        self._schema = self._settings.quoted_schema
        self._migrates = migrate and not read_only
        self._indexes = indexes
        self._listens = listen
        self._poll_interval_seconds = poll_interval_seconds
        self._ownership_timeout_seconds = ownership_timeout_seconds
        self._clock = clock or SystemClock()
        self._start()

    def _start(self) -> None:
        self._database = Database(self._settings)
        self._watch = Watch(
            store=self._name, look=self._look, poll_interval_seconds=self._poll_interval_seconds
        )
        self._writer: Writer | None = None
        self._wake_ups: WakeUps | None = None
        self._owned: Ownership | None = None

    async def migrate(
        self, *, dry_run: bool = False, writers: Sequence[str] = (), readers: Sequence[str] = ()
    ) -> SchemaMigration:
        """Bring the schema to the newest version; let roles append and read."""
        if self._read_only and not dry_run:
            raise ConfigurationError(f"{self._name} is read-only; open it for writing to migrate")
        return await migrate_schema(
            self._settings,
            indexes=self._indexes,
            writers=writers,
            readers=readers,
            dry_run=dry_run,
        )

    async def _connect(self, *, is_damaged: bool) -> None:
        await self._database.open()
        await self._database.run("open", self._prepare)
        if not is_damaged:
            await self._database.run("open", self._check_head)
        if not self._read_only:
            self._writer = Writer(self._database, clock=self._clock, committed=self._watch.saw)
            self._writer.open()
            timeout = self._ownership_timeout_seconds
            self._owned = Ownership(self._database, timeout_seconds=timeout)
            self._owned.open()
        if self._listens:
            self._wake_ups = WakeUps(self._database, self._watch.heard, is_own=self._is_own)
            self._wake_ups.open()
        self._watch.open()

    async def _prepare(self, db: Db) -> None:
        if not self._read_only:
            await check_primary(db)
            await make_durable(db, self._settings.durability)  # refuses what would not be
        if self._migrates:
            await migrate(db, self._settings, indexes=self._indexes)
        elif missing := await pending(db, self._settings):
            raise ConfigurationError(
                f"{self._name} lacks schema version {missing[-1].number}; "
                "run `backstory migrate` as its owner"
            )
        if not self._read_only:
            await share_tables(db, self._settings)

    async def _check_head(self, db: Db) -> None:
        seal = await read_seal(db, self._schema)
        if seal.kept is not None and seal.kept.head.position > seal.head.position:
            end, kept = seal.head.position, seal.kept.head.position
            reason = f"the log ends at {end}, and has been at {kept}"
            raise CorruptLogError(where=self._name, position=end + 1, reason=reason)

    def _hurry(self) -> None:
        self._database.stop_trying()

    def _release(self, closing: AsyncExitStack) -> None:
        closing.push_async_callback(self._database.aclose)
        for part in (self._owned, self._writer, self._wake_ups, self._watch):
            if part is not None:
                closing.push_async_callback(part.aclose)

    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        """Append a batch, all or nothing, in a group with whatever else waits."""
        self._check_writable("append")
        assert self._writer is not None  # noqa: S101 - an open store that may write has one
        return await self._writer.commit(batch)

    async def read_page(self, read: LogRead) -> Page:
        """Return the next events of the log that match."""
        return await self._run("read the log", partial(read_page, read=read))

    async def read_stream_page(self, read: StreamRead) -> Page:
        """Return the next events of a stream that match."""
        return await self._run("read a stream", partial(read_stream_page, read=read))

    async def find_event(self, event_id: str) -> RecordedEvent | None:
        """Return the event with an id, or None."""
        return await self._run("read an event", partial(find_event, event_id=event_id))

    async def list_streams(
        self, category: str | None, after_stream_id: str, limit: int
    ) -> list[StreamInfo]:
        """Return the next streams behind an id, in the order of their bytes."""
        read = partial(
            list_streams, category=category, after_stream_id=after_stream_id, limit=limit
        )
        return await self._run("list streams", read)

    async def head(self) -> int:
        """Return the last position of the log; 0 when it is empty."""
        return (await self._run("read the head", read_log_head)).position

    async def read_sealed_page(self, after_position: int, limit: int) -> list[SealedEvent]:
        """Return the next events of the log with what seals them."""
        read = partial(read_sealed, after_position=after_position, limit=limit)
        return await self._run("read the log", read)

    async def read_seal(self) -> LogSeal:
        """Return which log it is, and where it ends."""
        return await self._run("read the head", read_seal)

    async def check_engine(self) -> list[str]:
        """Return what the schema lacks, and what does not agree in it."""
        return await self._run("check the schema", check_engine)

    async def try_own(self, name: str) -> bool:
        """Own a name by an advisory lock of a session that does nothing else."""
        check_text("name", name, PROJECTION_NAME_BYTES_MAX)
        self._check_open()
        if (owned := self._owned) is None:
            return False
        attempted = f"own {name!r}"
        return await complete(self._database.patiently(attempted, lambda: owned.take(name)))

    async def statistics(self) -> StoreStatistics:
        """Return what the store holds, in numbers; it goes once along the log."""
        return await self._run("measure itself", measure)

    async def wait_beyond(self, position: int) -> None:
        """Return when the log has events beyond a position."""
        self._check_open()
        await self._watch.wait_beyond(position)

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot."""
        save = partial(put_snapshot, snapshot=snapshot)
        await self._change("save a snapshot", save)

    async def get_snapshot(
        self, stream_id: str, fingerprint: str, until_version: int
    ) -> Snapshot | None:
        """Return the newest snapshot of a stream with this fingerprint and not after a version."""
        load = partial(
            get_snapshot,
            stream_id=stream_id,
            fingerprint=fingerprint,
            until_version=until_version,
        )
        return await self._run("load a snapshot", load)

    async def drop_snapshots(self, stream_id: str | None) -> int:
        """Delete the snapshots of a stream, or all; return how many there were."""
        drop = partial(drop_snapshots, stream_id=stream_id)
        return await self._change("delete snapshots", drop)

    async def put_progress(self, progress: Progress) -> None:
        """Keep a projection's checkpoint, and what belongs to it, in one transaction.

        It is done in the session that owns the projection, if this store owns any.
        """
        owner = progress.owner or progress.checkpoint.projection
        await self._keep("save a checkpoint", [owner], partial(put_progress, progress=progress))

    async def _keep(
        self, attempted: str, owners: Iterable[str], function: Callable[[Db, str], Awaitable[None]]
    ) -> None:
        """Change what belongs to owners, in the session that owns; to its end, as others do."""
        self._check_writable(attempted)
        await complete(self._kept(attempted, owners, function))

    async def _kept(
        self, attempted: str, owners: Iterable[str], function: Callable[[Db, str], Awaitable[None]]
    ) -> None:
        assert self._owned is not None  # noqa: S101 - an open store that may write has one
        doubt = Doubt()
        try:
            await self._owned.run(owners, lambda db: function(db, self._schema), doubt)
        except Exception as error:
            raise self._database.failure(attempted, error, doubt=doubt) from error

    async def put_notes(self, notes: Sequence[Note]) -> None:
        """Keep and forget notes; those of an owner in the session that owns the projection."""
        attempted, save = "save a note", partial(put_notes, notes=notes)
        owners = {note.owner for note in notes if note.owner is not None}
        await (self._keep(attempted, owners, save) if owners else self._change(attempted, save))

    async def list_notes(self, space: str, after_key: str, limit: int) -> list[Note]:
        """Return the next notes of a space, in the order of their keys' bytes."""
        read = partial(list_notes, space=space, after_key=after_key, limit=limit)
        return await self._run("read notes", read)

    async def query(self, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
        """Return the rows of a query, in a transaction that can only read."""
        self._check_open()
        query = partial(query_tables, sql=sql, parameters=parameters)
        return await self._database.run("query a read model", query)

    async def get_checkpoint(self, projection: str) -> Checkpoint | None:
        """Return a projection's checkpoint, or None."""
        load = partial(get_checkpoint, projection=projection)
        return await self._run("load a checkpoint", load)

    async def drop_checkpoint(self, projection: str) -> None:
        """Forget a projection's checkpoint; in the session that owns it, where this store does."""
        attempted, drop = "delete a checkpoint", partial(drop_checkpoint, projection=projection)
        if self._owned is not None and self._owned.concerns(projection):
            await self._keep(attempted, [projection], drop)
        else:
            await self._change(attempted, drop)

    async def _run(self, attempted: str, function: Callable[[Db, str], Awaitable[T]]) -> T:
        self._check_open()
        return await self._database.run(attempted, lambda db: function(db, self._schema))

    async def _change(self, attempted: str, function: Callable[[Db, str], Awaitable[T]]) -> T:
        self._check_writable(attempted)
        # To its end, whoever is cancelled meanwhile: it is short, and its outcome is known.
        return await complete(
            self._database.run(attempted, lambda db: function(db, self._schema), doubt=Doubt())
        )

    async def _look(self) -> int:
        def read(db: Db) -> Awaitable[LogHead]:
            return read_log_head(db, self._schema)

        return (await self._database.run("look for appends", read)).position

    def _is_own(self, process_id: int) -> bool:
        return self._writer is not None and self._writer.is_own(process_id)


def _check_schema(schema: str, indexes: Sequence[str] | None) -> None:
    if not schema or len(schema.encode()) > _SCHEMA_BYTES_MAX or "\0" in schema:
        raise ConfigurationError(f"schema must have 1 to {_SCHEMA_BYTES_MAX} bytes")
    if any(word in schema for word in _SCHEMA_WORDS):
        raise ConfigurationError(f"schema must not hold {' or '.join(_SCHEMA_WORDS)}")
    if unknown := set(indexes or ()) - INDEXES:
        raise ConfigurationError(
            f"there is no index {', '.join(sorted(unknown))}; known: {', '.join(sorted(INDEXES))}"
        )


def _check_settings(**seconds: float) -> None:
    for name, value in seconds.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigurationError(f"{name} must be positive and finite")
