"""A store in memory: for tests, and the executable specification of the contract."""

import bisect
import secrets
from collections import Counter
from collections.abc import Sequence
from copy import copy

import anyio
import anyio.lowlevel

from backstory._clock import Clock, SystemClock, to_microseconds
from backstory._commit import (
    EMPTY_LOG,
    AppendCondition,
    Batch,
    Durability,
    LogHead,
    Receipt,
    StreamHead,
    settle,
)
from backstory._errors import StoreClosedError
from backstory._filter import EVERY_EVENT
from backstory._ids import split_stream_id
from backstory._limits import PROJECTION_NAME_BYTES_MAX, check_text
from backstory._pages import LogRead, Page, StreamRead
from backstory._progress import Note, Progress, SQLValue, TableRows, check_moved
from backstory._recorded import RecordedEvent
from backstory._snapshot import SNAPSHOT_COUNT_MAX, Checkpoint, Snapshot
from backstory._statistics import StoreStatistics
from backstory._store import EventStore, LogSeal, SealedEvent, StoreCapabilities, StreamInfo
from backstory._tables import Tables

__all__ = ["InMemoryStore"]


class InMemoryStore(EventStore):
    """Keeps everything in memory; closing it forgets nothing, so that it can be opened again."""

    capabilities = StoreCapabilities(
        durability=Durability.MEMORY, is_multi_process=False, has_tables=True
    )

    def __init__(self, *, clock: Clock | None = None) -> None:
        """Make an empty store.

        Args:
            clock: What events are recorded at; the machine's clock by default.
        """
        self._clock = clock or SystemClock()
        self._log: list[RecordedEvent] = []
        self._streams: dict[str, list[RecordedEvent]] = {}
        self._by_id: dict[str, RecordedEvent] = {}
        self._seals: dict[str, tuple[bytes, bytes]] = {}
        self._incarnation = secrets.token_hex(16)
        self._heads: dict[str, StreamHead] = {}
        self._log_head: LogHead = EMPTY_LOG
        self._snapshots: dict[str, dict[int, Snapshot]] = {}
        self._checkpoints: dict[str, Checkpoint] = {}
        self._notes: dict[tuple[str, str], bytes] = {}
        self._tables = Tables()
        self._grown = anyio.Event()
        self._is_open = False

    async def open(self) -> None:
        """Make the store ready; what it held before is still there."""
        self._is_open = True

    async def aclose(self) -> None:
        """Close the store; who waits for its events is told."""
        self._is_open = False
        self._wake()

    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        """Append a batch, all or nothing."""
        await self._yield_point()
        streams = [part.stream_id for part in batch.appends]
        ids = [event.event_id for part in batch.appends for event in part.events]
        settlement = settle(
            [batch],
            heads={id: self._heads[id] for id in streams if id in self._heads},
            known={id: self._by_id[id] for id in ids if id in self._by_id},
            matches=self._matches(batch.condition),
            log=self._log_head,
            recorded_microseconds=to_microseconds(self._clock.now()),
            durability=Durability.MEMORY,
        )
        answer = settlement.answers[0]
        if isinstance(answer, Exception):
            raise answer
        for event in settlement.events:
            self._keep(event.recorded)
            self._seals[event.recorded.event_id] = (event.hash, event.digest)
        self._heads |= settlement.heads
        self._log_head = settlement.log
        self._wake()
        return answer

    def _matches(self, condition: AppendCondition | None) -> dict[AppendCondition, RecordedEvent]:
        if condition is None:
            return {}
        after = LogRead(
            after_position=condition.after_position,
            until_position=None,
            where=condition.where,
            backward=True,
            limit=1,
        )
        found = self._find(after)
        return {condition: found[0]} if found else {}

    def _keep(self, recorded: RecordedEvent) -> None:
        self._log.append(recorded)
        self._streams.setdefault(recorded.stream_id, []).append(recorded)
        self._by_id[recorded.event_id] = recorded

    def _wake(self) -> None:
        self._grown.set()
        self._grown = anyio.Event()

    async def read_page(self, read: LogRead) -> Page:
        """Return the next events of the log that match."""
        await self._yield_point()
        found = self._find(read)
        is_last = len(found) < read.limit
        head = self._log_head.position
        until = head if read.until_position is None else min(read.until_position, head)
        end = max(read.after_position, until)
        return Page(found, end if is_last or read.backward else found[-1].position, is_last)

    def _find(self, read: LogRead) -> list[RecordedEvent]:
        first = bisect.bisect_right(self._log, read.after_position, key=lambda e: e.position)
        until = self._log_head.position if read.until_position is None else read.until_position
        behind = bisect.bisect_right(self._log, until, key=lambda e: e.position)
        return _matching(self._log, range(first, behind), read)

    async def read_stream_page(self, read: StreamRead) -> Page:
        """Return the next events of a stream that match."""
        await self._yield_point()
        events = self._streams.get(read.stream_id, [])
        until = len(events) if read.until_version is None else min(read.until_version, len(events))
        if read.until_position is not None:
            limit = bisect.bisect_right(events, read.until_position, key=lambda e: e.position)
            until = min(until, limit)
        found = _matching(events, range(read.after_version, until), read)
        is_last = len(found) < read.limit
        end = max(read.after_version, until)
        return Page(found, end if is_last or read.backward else found[-1].version, is_last)

    async def find_event(self, event_id: str) -> RecordedEvent | None:
        """Return the event with an id, or None."""
        await self._yield_point()
        found = self._by_id.get(event_id)
        return None if found is None else _as_stored(found)

    async def list_streams(
        self, category: str | None, after_stream_id: str, limit: int
    ) -> list[StreamInfo]:
        """Return the next streams behind an id, in the order of their bytes."""
        await self._yield_point()
        after = after_stream_id.encode()
        ids = sorted(
            id.encode()
            for id in self._streams
            if category in (None, split_stream_id(id)[0]) and id.encode() > after
        )
        names = [id.decode() for id in ids[:limit]]
        return [StreamInfo(name, self._heads[name].version) for name in names]

    async def head(self) -> int:
        """Return the last position of the log; 0 when it is empty."""
        await self._yield_point()
        return self._log_head.position

    async def read_sealed_page(self, after_position: int, limit: int) -> list[SealedEvent]:
        """Return the next events of the log with what seals them."""
        page = await self.read_page(LogRead(after_position, None, EVERY_EVENT, False, limit))
        return [self._sealed(recorded) for recorded in page.events]

    def _sealed(self, recorded: RecordedEvent) -> SealedEvent:
        seal = self._seals[recorded.event_id]
        if recorded.version == 1:
            return SealedEvent(recorded, *seal, None, None)
        before = self._streams[recorded.stream_id][recorded.version - 2]
        return SealedEvent(recorded, *seal, self._seals[before.event_id][0], before.position)

    async def read_seal(self) -> LogSeal:
        """Return which log it is, and where it ends."""
        await self._yield_point()
        return LogSeal(self._incarnation, self._log_head)

    async def check_engine(self) -> list[str]:
        """Find nothing: memory is not looked at."""
        await self._yield_point()
        return []

    async def try_own(self, name: str) -> bool:
        """Own every name: nobody else has this memory."""
        check_text("name", name, PROJECTION_NAME_BYTES_MAX)
        await self._yield_point()
        return True

    async def statistics(self) -> StoreStatistics:
        """Return what the store holds, in numbers."""
        await self._yield_point()
        types = Counter(recorded.type for recorded in self._log)
        categories = Counter(recorded.category for recorded in self._log)
        streams = Counter(split_stream_id(stream_id)[0] for stream_id in self._streams)
        return StoreStatistics(
            event_count=len(self._log),
            stream_count=len(self._streams),
            head=self._log_head.position,
            oldest=self._log[0].recorded_at if self._log else None,
            newest=self._log[-1].recorded_at if self._log else None,
            events_by_type=dict(sorted(types.items())),
            events_by_category=dict(sorted(categories.items())),
            streams_by_category=dict(sorted(streams.items())),
            snapshot_count=sum(map(len, self._snapshots.values())),
            checkpoint_count=len(self._checkpoints),
            size_bytes=sum(len(e.data_json) + len(e.metadata_json) for e in self._log),
        )

    async def wait_beyond(self, position: int) -> None:
        """Return when the log has events beyond a position."""
        await self._yield_point()
        while self._log_head.position <= position:
            await self._grown.wait()
            self._check_open()

    async def put_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot."""
        await self._yield_point()
        kept = self._snapshots.setdefault(snapshot.stream_id, {})
        kept[snapshot.version] = snapshot
        for version in sorted(kept)[:-SNAPSHOT_COUNT_MAX]:
            del kept[version]

    async def get_snapshot(
        self, stream_id: str, fingerprint: str, until_version: int
    ) -> Snapshot | None:
        """Return the newest snapshot of a stream with this fingerprint and not after a version."""
        await self._yield_point()
        fitting = [
            snapshot
            for version, snapshot in self._snapshots.get(stream_id, {}).items()
            if snapshot.fingerprint == fingerprint and version <= until_version
        ]
        return max(fitting, key=lambda snapshot: snapshot.version, default=None)

    async def drop_snapshots(self, stream_id: str | None) -> int:
        """Delete the snapshots of a stream, or all; return how many there were."""
        await self._yield_point()
        doomed = [stream_id] if stream_id is not None else list(self._snapshots)
        return sum(len(self._snapshots.pop(id, {})) for id in doomed)

    async def put_progress(self, progress: Progress) -> None:
        """Keep a projection's checkpoint, and what belongs to it."""
        await self._yield_point()
        checkpoint = progress.checkpoint
        kept = self._checkpoints.get(checkpoint.projection)
        check_moved(0 if kept is None else kept.position, progress)
        self._tables.change(progress.changes)
        self._checkpoints[checkpoint.projection] = checkpoint
        self._note(progress.notes)

    async def get_checkpoint(self, projection: str) -> Checkpoint | None:
        """Return a projection's checkpoint, or None."""
        await self._yield_point()
        return self._checkpoints.get(projection)

    async def drop_checkpoint(self, projection: str) -> None:
        """Forget a projection's checkpoint."""
        await self._yield_point()
        self._checkpoints.pop(projection, None)

    async def put_notes(self, notes: Sequence[Note]) -> None:
        """Keep and forget notes."""
        await self._yield_point()
        self._note(notes)

    def _note(self, notes: Sequence[Note]) -> None:
        for note in notes:
            if note.value_json is None:
                self._notes.pop((note.space, note.key), None)
            else:
                self._notes[note.space, note.key] = note.value_json

    async def list_notes(self, space: str, after_key: str, limit: int) -> list[Note]:
        """Return the next notes of a space, in the order of their keys' bytes."""
        await self._yield_point()
        found = [
            Note(space, key, value)
            for (in_space, key), value in self._notes.items()
            if in_space == space and key.encode() > after_key.encode()
        ]
        return sorted(found, key=lambda note: note.key.encode())[:limit]

    async def query(self, sql: str, parameters: Sequence[SQLValue]) -> TableRows:
        """Return the rows of a query on the tables of read models."""
        await self._yield_point()
        return self._tables.query(sql, parameters)

    async def _yield_point(self) -> None:
        # Every call yields once, as a store that does I/O would: a program that is only right
        # because memory answers at once would break on the next store.
        self._check_open()
        await anyio.lowlevel.checkpoint()
        self._check_open()

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreClosedError(store="memory://")


def _as_stored(recorded: RecordedEvent) -> RecordedEvent:
    # Each reader gets its own, as from a disk: what it decodes, and changes, is nobody else's.
    return copy(recorded)


def _matching(
    events: Sequence[RecordedEvent], places: range, read: LogRead | StreamRead
) -> list[RecordedEvent]:
    found: list[RecordedEvent] = []
    for place in reversed(places) if read.backward else places:
        if len(found) == read.limit:
            break
        if read.where.matches(events[place]):
            found.append(_as_stored(events[place]))
    return found
