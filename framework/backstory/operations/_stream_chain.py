"""Whether each event follows from the one before it in its stream.

An event's hash is taken over the hash before it, so it is judged against the event of the version
before. That event is found in two ways, which need not agree: the store looks it up, and the events
that were seen last are remembered, for so many streams as memory is meant to hold. Where only one
of the two ways leads to a hash that fits, the event is whole, and the store's index is at fault.

What was wrong with an event does not count against the next one: the next may follow from the hash
that is stored, or from the one that the content gives.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from backstory._commit import NO_HASH, event_hash
from backstory._store import SealedEvent
from backstory.operations._damage import DamageKind, Reason

_STREAM_COUNT_MAX: Final = 10_000


class _Seen(Struct, frozen=True):
    """The newest event of a stream that was seen."""

    version: int
    position: int
    hashes: tuple[bytes, ...]
    """What may be its hash: what is stored, and what its content gives."""


class StreamChains:
    """The hash chains of all streams, followed in the order of positions."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def judge(self, sealed: SealedEvent) -> tuple[list[Reason], tuple[bytes, ...]]:
        """Return what is wrong with the next event, and what may be its hash.

        That is the hash that is stored and, where it does not fit, what the content gives.
        """
        recorded, stored = sealed.recorded, sealed.hash
        seen = self._seen.pop(recorded.stream_id, None)
        given = [event_hash(before, recorded) for before in _earlier(sealed, seen)]
        reasons = [*_order_reasons(sealed, seen)]
        hashes: tuple[bytes, ...] = (stored,)
        if stored not in given:
            reasons.append(_hash_reason(sealed, given))
            hashes = (stored, *given)
        self._remember(recorded.stream_id, seen, _Seen(recorded.version, recorded.position, hashes))
        return reasons, hashes

    def _remember(self, stream_id: str, before: _Seen | None, seen: _Seen) -> None:
        # What was looked at last stands last, so that the first is the one to forget.
        newest = before if before is not None and before.version > seen.version else seen
        self._seen[stream_id] = newest
        if len(self._seen) > _STREAM_COUNT_MAX:
            del self._seen[next(iter(self._seen))]


def _earlier(sealed: SealedEvent, seen: _Seen | None) -> dict[bytes, None]:
    """Return what may be the hash of the event before, each once; empty where it is not there."""
    version = sealed.recorded.version
    if version == 1:
        return {NO_HASH: None}
    earlier = {} if sealed.hash_before is None else {sealed.hash_before: None}
    if seen is not None and seen.version == version - 1:
        earlier |= dict.fromkeys(seen.hashes)
    return earlier


def _hash_reason(sealed: SealedEvent, given: list[bytes]) -> Reason:
    if not given:
        before = sealed.recorded.version - 1
        return Reason(
            DamageKind.MISSING,
            f"version {before} of its stream is not there, so that nothing proves what it says",
        )
    return Reason(
        DamageKind.CHANGED,
        f"what it says gives the hash {_short(given[0])}, and {_short(sealed.hash)} is stored",
    )


def _order_reasons(sealed: SealedEvent, seen: _Seen | None) -> Iterator[Reason]:
    version, position = sealed.recorded.version, sealed.recorded.position
    before = sealed.position_before
    if before is not None and before >= position:
        yield Reason(
            DamageKind.MOVED,
            f"version {version - 1} of its stream stands behind it, at position {before}",
        )
    if seen is None:
        return
    if seen.version == version:
        yield Reason(
            DamageKind.DOUBLED,
            f"version {version} of its stream is at position {seen.position} too",
        )
    elif seen.version > version:
        yield Reason(
            DamageKind.MOVED,
            f"version {seen.version} of its stream stands before it, at position {seen.position}",
        )
    elif seen.version == version - 1 and before != seen.position:
        found = "nowhere" if before is None else f"at position {before}"
        yield Reason(
            DamageKind.INDEX,
            f"the store finds version {seen.version} of its stream {found}, and it is at position "
            f"{seen.position}",
        )


def _short(value: bytes) -> str:
    return f"{value.hex()[:16]}…"
