"""Whether a store still holds what was written: every event, in its order, up to the end."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from backstory._errors import CorruptLogError, InvalidInputError
from backstory._limits import INTEGER_MAX, check_integer
from backstory._store import EventStore, LogSeal
from backstory.operations._damage import Damage, DamageKind
from backstory.operations._examination import Examination
from backstory.operations._sealed_log import UnreadableEvents, read_sealed_log

_PROGRESS_EVENT_COUNT: Final = 1_000
BEFORE_ALL: Final = -INTEGER_MAX
"""Before every position that a damaged store can hold: what is below 1 must be seen too."""


class Verification(Struct, frozen=True, kw_only=True):
    """The verdict on a store."""

    incarnation: str | None
    """Which log it is; None where it cannot be read."""
    after_position: int
    """Behind which position it was judged."""
    until_position: int
    """The log's last position when the verification began; what was appended since is not judged.
    Where it cannot be read, the position of the last event."""
    digest: str | None
    """The running digest up to there, in hex, as the log has it; None where it cannot be read."""
    has_kept_head: bool
    """Whether the store keeps its head a second time. Without it, a log that was cut back together
    with its head cannot be told from a whole one."""
    event_count: int
    """Events that were judged."""
    stream_count: int
    """Streams that begin among them."""
    size_bytes: int
    """What their data and metadata take."""
    undigested_count: int
    """Events that have no digest of their own, since they were written before schema 3. They are
    judged in their streams, and all of them together in the log."""
    damage: list[Damage]
    """The first 1,000 findings, in the order of positions, and last what has none; empty where all
    is whole."""
    damage_count: int
    """How many findings there are."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return not self.damage_count


async def verify(
    store: EventStore,
    *,
    after_position: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Verification:
    """Read all of a store, and find what is not as it was written; writes nothing.

    Every event is compared with its hash, and so with the event before it in its stream; the order
    of the events with the running digest; the end with the log's head, and with what the store
    keeps of it apart; data and metadata with the limits. At last the store's engine checks itself:
    its pages, its indexes, tags, snapshots and checkpoints. It may run beside programs that append:
    the head is read first, and what comes later is not judged. Memory is constant.

    Whoever can change a store and computes hashes and digests anew is found only by somebody who
    has kept the incarnation, position and digest of an earlier verdict elsewhere.

    Args:
        store: An open store; `inspected()` opens one that `open` refuses.
        after_position: Begin behind this position, where an earlier verification has ended. Then
            what the engine says of the whole store is left out.
        on_progress: Called with a position now and then.

    Raises:
        InvalidInputError: The position is none, or lies behind the end of the log.
        StoreUnavailableError: The store did not answer.
        StoreClosedError: The store is not open.
    """
    check_integer("after_position", after_position, least=0)
    seal, faults = await read_seal(store)
    if seal is not None and after_position > seal.head.position:
        reason = f"the log ends at {seal.head.position}"
        found = str(after_position)
        raise InvalidInputError(argument="after_position", found=found, reason=reason)
    examination = await _begun(store, after_position)
    for fault in faults:
        examination.add(fault)
    if seal is not None:
        examination.expect(seal)
    until = INTEGER_MAX if seal is None else seal.head.position
    last = await _read(store, examination, after_position, until, on_progress)
    if seal is not None:
        await _look_behind(store, examination, until)
    if not after_position:
        for said in await _engine_faults(store):
            examination.add(Damage(DamageKind.INDEX, said))
    damage, damage_count = examination.finish()
    return Verification(
        incarnation=None if seal is None else seal.incarnation,
        after_position=after_position,
        until_position=last if seal is None else until,
        digest=None if seal is None else seal.head.digest.hex(),
        has_kept_head=seal is not None and seal.kept is not None,
        event_count=examination.event_count,
        stream_count=examination.stream_count,
        size_bytes=examination.size_bytes,
        undigested_count=examination.undigested_count,
        damage=damage,
        damage_count=damage_count,
    )


async def read_seal(store: EventStore) -> tuple[LogSeal | None, list[Damage]]:
    """Return where a log ends, or what is wrong with what says so."""
    try:
        return await store.read_seal(), []
    except CorruptLogError as error:
        return None, [Damage(DamageKind.END, error.reason)]


async def last_position(store: EventStore) -> int:
    """Return the last position of a store, as it says itself; 0 where that cannot be read."""
    seal, _ = await read_seal(store)
    return 0 if seal is None else seal.head.position


async def _begun(store: EventStore, after_position: int) -> Examination:
    """Return an examination that goes on behind a position."""
    if not after_position:
        return Examination()
    digest: bytes | None = None
    try:
        for sealed in await store.read_sealed_page(after_position - 1, 1):
            if sealed.recorded.position == after_position:
                digest = sealed.digest
    except CorruptLogError:
        pass  # it is not among what is to be judged
    return Examination(position=after_position, digest=digest)


async def _read(
    store: EventStore,
    examination: Examination,
    after_position: int,
    until_position: int,
    on_progress: Callable[[int], None] | None,
) -> int:
    """Judge the events between two positions; return the position of the last."""
    last = after_position
    log = read_sealed_log(
        store, after_position=after_position or BEFORE_ALL, until_position=until_position
    )
    async for found in log:
        if isinstance(found, UnreadableEvents):
            examination.pass_over(found)
            last = found.last_position
        else:
            examination.judge(found)
            last = found.recorded.position
        if on_progress is not None and not examination.event_count % _PROGRESS_EVENT_COUNT:
            on_progress(last)
    return last


async def _look_behind(store: EventStore, examination: Examination, head: int) -> None:
    """Find events that stand behind the end of the log, and were not appended meanwhile."""
    try:
        behind = await store.read_sealed_page(head, 1)
        end = (await store.read_seal()).head.position
    except CorruptLogError as error:
        examination.add(Damage(DamageKind.UNREADABLE, error.reason, head + 1, head + 1))
        return
    for sealed in behind:
        recorded = sealed.recorded
        if recorded.position > end:
            evidence = f"it stands behind the log's head, which is at position {end}"
            place = (recorded.position, recorded.position, recorded.stream_id, recorded.version)
            examination.add(Damage(DamageKind.END, evidence, *place))


async def _engine_faults(store: EventStore) -> list[str]:
    try:
        return await store.check_engine()
    except CorruptLogError as error:
        return [error.reason]
