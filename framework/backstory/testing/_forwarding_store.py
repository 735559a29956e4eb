"""A store in front of another, which passes on whatever it is asked.

What the public side asks of a store comes through one method, each call with its name: whoever
stands in front can look at it, change it or refuse it there.
"""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from backstory._commit import Batch, Receipt
from backstory._migration import SchemaMigration
from backstory._pages import LogRead, Page, StreamRead
from backstory._progress import Note, Progress, SQLValue, TableRows
from backstory._recorded import RecordedEvent
from backstory._snapshot import Checkpoint, Snapshot
from backstory._statistics import StoreStatistics
from backstory._store import EventStore, LogSeal, SealedEvent, StreamInfo

T = TypeVar("T")

Verb = Literal[
    "commit",
    "read_page",
    "read_stream_page",
    "find_event",
    "list_streams",
    "head",
    "read_sealed_page",
    "read_seal",
    "check_engine",
    "try_own",
    "statistics",
    "wait_beyond",
    "put_snapshot",
    "get_snapshot",
    "drop_snapshots",
    "put_progress",
    "get_checkpoint",
    "drop_checkpoint",
    "put_notes",
    "list_notes",
    "query",
]
"""What a store can be asked for, by the names of the methods that a store supplies."""


class ForwardingStore(EventStore):
    """A store that asks the one behind it; `_call` is between the two."""

    def __init__(self, store: EventStore) -> None:
        """Put a store behind this one.

        Args:
            store: Any store; opened and closed through this one.
        """
        self.capabilities = store.capabilities
        self._store = store

    @abstractmethod
    async def _call(self, verb: Verb, method: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Return what the method of the store behind returns.

        Args:
            verb: The method's name.
            method: The method.
            arguments: What it is called with.
        """

    async def open(self) -> None:
        """Open the store behind."""
        await self._store.open()

    async def migrate(
        self, *, dry_run: bool = False, writers: Sequence[str] = (), readers: Sequence[str] = ()
    ) -> SchemaMigration:
        """Bring what the store behind is kept in to the newest schema version."""
        return await self._store.migrate(dry_run=dry_run, writers=writers, readers=readers)

    async def open_damaged(self) -> None:
        """Open the store behind to be looked at, whatever is wrong with it."""
        await self._store.open_damaged()

    async def aclose(self) -> None:
        """Close the store behind."""
        await self._store.aclose()

    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        """Append a batch, all or nothing."""
        return await self._call("commit", self._store.commit, batch)

    async def read_page(self, read: LogRead) -> Page:
        """Return the next events of the log that match."""
        return await self._call("read_page", self._store.read_page, read)

    async def read_stream_page(self, read: StreamRead) -> Page:
        """Return the next events of a stream that match."""
        return await self._call("read_stream_page", self._store.read_stream_page, read)

    async def find_event(self, event_id: str) -> RecordedEvent | None:
        """Return the event with an id, or None."""
        return await self._call("find_event", self._store.find_event, event_id)

    async def list_streams(
        self, category: str | None, after_stream_id: str, limit: int
    ) -> list[StreamInfo]:
        """Return the next streams behind an id, in the order of their bytes."""
        return await self._call(
            "list_streams", self._store.list_streams, category, after_stream_id, limit
        )

    async def head(self) -> int:
        """Return the last position of the log; 0 when it is empty."""
        return await self._call("head", self._store.head)

    async def read_sealed_page(self, after_position: int, limit: int) -> list[SealedEvent]:
        """Return the next events of the log with what seals them."""
        return await self._call(
            "read_sealed_page", self._store.read_sealed_page, after_position, limit
        )

    async def read_seal(self) -> LogSeal:
        """Return which log it is, and where it ends."""
        return await self._call("read_seal", self._store.read_seal)

    async def check_engine(self) -> list[str]:
        """Let the store's engine check itself."""
        return await self._call("check_engine", self._store.check_engine)

    async def try_own(self, name: str) -> bool:
        """Tell whether this store is the one that owns a name."""
        return await self._call("try_own", self._store.try_own, name)

    async def statistics(self) -> StoreStatistics:
        """Return what the store holds, in numbers."""
        return await self._call("statistics", self._store.statistics)

    async def wait_beyond(self, position: int) -> None:
        """Return when the log may have events beyond a position."""
        await self._call("wait_beyond", self._store.wait_beyond, position)

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot."""
        await self._call("put_snapshot", self._store.put_snapshot, snapshot)

    async def get_snapshot(
        self, stream_id: str, fingerprint: str, until_version: int
    ) -> Snapshot | None:
        """Return the newest snapshot that fits, or None."""
        return await self._call(
            "get_snapshot", self._store.get_snapshot, stream_id, fingerprint, until_version
        )

    async def drop_snapshots(self, stream_id: str | None) -> int:
        """Delete the snapshots of a stream, or all; return how many there were."""
        return await self._call("drop_snapshots", self._store.drop_snapshots, stream_id)

    async def put_progress(self, progress: Progress) -> None:
        """Keep a checkpoint in place of the one before, and what belongs to it."""
        await self._call("put_progress", self._store.put_progress, progress)

    async def get_checkpoint(self, projection: str) -> Checkpoint | None:
        """Return a projection's checkpoint, or None."""
        return await self._call("get_checkpoint", self._store.get_checkpoint, projection)

    async def drop_checkpoint(self, projection: str) -> None:
        """Forget a projection's checkpoint."""
        await self._call("drop_checkpoint", self._store.drop_checkpoint, projection)

    async def put_notes(self, notes: Sequence[Note]) -> None:
        """Keep and forget notes."""
        await self._call("put_notes", self._store.put_notes, notes)

    async def list_notes(self, space: str, after_key: str, limit: int) -> list[Note]:
        """Return the next notes of a space."""
        return await self._call("list_notes", self._store.list_notes, space, after_key, limit)

    async def query(self, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
        """Return the rows of a query."""
        return await self._call("query", self._store.query, sql, parameters)
