"""The good beginning of a damaged store, copied into a new one.

What lies before the first damage is proved: each event by its hash, and their order by the digest.
Events from before schema 3 have no digest; what proves their order is the next digest behind them,
or the head, and when that does not fit they are copied already. So they are counted.

An event is appended to another store as it was, id, version, time and bytes; so it gets the same
hash there, and that is compared. What lies behind is not copied, whole as it may look: the order of
the log is the promise, and what cannot be read hides which streams it belongs to.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct
from msgspec.structs import force_setattr

from backstory._clock import from_microseconds
from backstory._codec import parse_metadata
from backstory._commit import StreamAppend
from backstory._errors import ConfigurationError, InvalidInputError
from backstory._limits import INTEGER_MAX
from backstory._recorded import NewEvent, RecordedEvent
from backstory._store import EventStore, SealedEvent
from backstory.operations._damage import Damage, DamageKind
from backstory.operations._examination import Examination
from backstory.operations._sealed_log import UnreadableEvents, read_sealed_log
from backstory.operations._verification import BEFORE_ALL, read_seal

_BATCH_EVENT_COUNT: Final = 500
_BATCH_BYTES: Final = 7_000_000
CUT_STREAM_COUNT_MAX: Final = 1_000
_PROGRESS_EVENT_COUNT: Final = 1_000


class SalvageClock:
    """The clock of the store that `salvage` fills: it tells the time of the event it copies."""

    def __init__(self) -> None:
        self._now = datetime.fromtimestamp(0, UTC)

    def now(self) -> datetime:
        """Return the time that was set."""
        return self._now

    def set(self, microseconds: int) -> None:
        """Set the time, in microseconds since 1970 in UTC."""
        self._now = from_microseconds(microseconds)


class CutStream(Struct, frozen=True):
    """A stream of which events are missing in the copy."""

    stream_id: str
    """The stream."""
    after_version: int
    """The last version that the copy has; 0 where it has none of it."""


class Salvage(Struct, frozen=True, kw_only=True):
    """What was saved, and what was not."""

    event_count: int
    """Events in the copy."""
    last_position: int
    """The position of the last of them in the damaged store; 0 where there is none."""
    keeps_positions: bool
    """Whether they have the same positions in the copy. Where the damaged store had gaps by right,
    the copy has none."""
    left_count: int
    """Events behind the first damage that can still be read, and were not copied."""
    undigested_count: int
    """Events in the copy from before schema 3, which have no digest of their own: each is as it was
    written, and their order is proved only where the copy is whole."""
    cut_streams: list[CutStream]
    """The first 1,000 streams that such events belong to, in the order in which they are cut."""
    damage: list[Damage]
    """What was found wrong, as by `verify`, without what the engine says of itself."""
    damage_count: int
    """How many findings there are."""
    is_whole: bool
    """Whether nothing is missing in the copy; what only an index has is mended by copying."""


async def salvage(
    source: EventStore,
    target: EventStore,
    *,
    clock: SalvageClock,
    on_progress: Callable[[int], None] | None = None,
) -> Salvage:
    """Copy the events before the first damage into an empty store, and say what is missing.

    The copy has the same events with the same ids, streams, versions, times and bytes, and the same
    hashes; it is another log all the same, with an incarnation of its own. Snapshots and
    checkpoints are caches, and are not copied. The source is only read. Memory is constant. What
    fails halfway leaves a copy of less; salvage again into another store.

    Of events that were written before schema 3 the order inside each stream is proved, and the
    order of the streams among each other only where the copy is whole; see `undigested_count`.

    Args:
        source: The damaged store, from `inspected()`.
        target: An open store without events, made with the same `clock`.
        clock: What the target takes its time from; salvage sets it.
        on_progress: Called with a position of the source now and then.

    Raises:
        InvalidInputError: The target is not empty.
        ConfigurationError: The target does not take its time from the clock.
        StoreUnavailableError: A store did not answer.
        StoreClosedError: A store is not open.
    """
    if await target.head():
        reason = "it has events already; salvage into a new store"
        raise InvalidInputError(argument="target", found="of the salvage", reason=reason)
    copying = _Copy(target, clock)
    seal, faults = await read_seal(source)
    for fault in faults:
        copying.examination.add(fault)
    if seal is not None:
        copying.examination.expect(seal)
    until = INTEGER_MAX if seal is None else seal.head.position
    async for found in read_sealed_log(source, after_position=BEFORE_ALL, until_position=until):
        await copying.take(found)
        count = copying.examination.event_count
        if on_progress is not None and not count % _PROGRESS_EVENT_COUNT:
            on_progress(copying.reached)
    return await copying.finish()


class _Copy:
    """A copy on its way."""

    def __init__(self, target: EventStore, clock: SalvageClock) -> None:
        self.examination = Examination()
        self.reached = 0
        self._target = target
        self._clock = clock
        self._is_cut = False
        self._gathered: list[SealedEvent] = []
        self._gathered_bytes = 0
        self._event_count = 0
        self._last_position = 0
        self._keeps_positions = True
        self._left_count = 0
        self._undigested_count = 0
        self._cut_streams: dict[str, int] = {}

    async def take(self, found: SealedEvent | UnreadableEvents) -> None:
        """Take in what the source has next."""
        if isinstance(found, UnreadableEvents):
            self.examination.pass_over(found)
            self.reached, self._is_cut = found.last_position, True
            return
        self.reached = found.recorded.position
        is_whole = self.examination.judge(found)
        if is_whole and not self._is_cut:
            await self._gather(found)
        else:
            self._leave(found.recorded)

    def _leave(self, recorded: RecordedEvent) -> None:
        self._is_cut = True
        self._left_count += 1
        if len(self._cut_streams) < CUT_STREAM_COUNT_MAX:
            self._cut_streams.setdefault(recorded.stream_id, recorded.version - 1)

    async def _gather(self, sealed: SealedEvent) -> None:
        recorded = sealed.recorded
        if self._gathered and (
            # One append has one time.
            recorded.recorded_microseconds != self._gathered[0].recorded.recorded_microseconds
            or len(self._gathered) == _BATCH_EVENT_COUNT
            or self._gathered_bytes > _BATCH_BYTES
        ):
            await self._append()
        self._gathered.append(sealed)
        self._gathered_bytes += len(recorded.data_json) + len(recorded.metadata_json)

    async def _append(self) -> None:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        last = gathered[-1]
        self._clock.set(last.recorded.recorded_microseconds)
        receipts = await self._target.append_many([_as_it_was(one.recorded) for one in gathered])
        position = receipts[-1].last_position
        [written] = await self._target.read_sealed_page(position - 1, 1)
        if written.hash != last.hash:
            raise ConfigurationError(
                "the store to salvage into records another time than it is told; "
                "make it with clock= the clock that salvage is given"
            )
        self._event_count += len(gathered)
        self._undigested_count += sum(one.digest is None for one in gathered)
        self._last_position = last.recorded.position
        self._keeps_positions &= self._last_position == position

    async def finish(self) -> Salvage:
        """Append what waits, and return what became of all."""
        if self._gathered:
            await self._append()
        damage, damage_count = self.examination.finish()
        return Salvage(
            event_count=self._event_count,
            last_position=self._last_position,
            keeps_positions=self._keeps_positions,
            left_count=self._left_count,
            undigested_count=self._undigested_count,
            cut_streams=[CutStream(*stream) for stream in self._cut_streams.items()],
            damage=damage,
            damage_count=damage_count,
            is_whole=not self._is_cut and all(one.what is not DamageKind.END for one in damage),
        )


def _as_it_was(recorded: RecordedEvent) -> StreamAppend:
    """Return the append of an event, as it was recorded."""
    tags = parse_metadata(recorded.metadata_json, event_type=recorded.type).tags
    # Made whole and then filled: today's class of the type may refuse what it once accepted, and
    # that is no reason to leave it behind.
    event = NewEvent.raw("salvaged", b"{}", event_id=recorded.event_id)
    for name, value in (
        ("type", recorded.type),
        ("schema_version", recorded.schema_version),
        ("data_json", recorded.data_json),
        ("metadata_json", recorded.metadata_json),
        ("tags", tags),
    ):
        force_setattr(event, name, value)
    return StreamAppend(recorded.stream_id, (event,), recorded.version - 1)
