"""Whether each event stands in the log where it was written.

Each event keeps the running digest of the log behind it, which is taken over the digest before, its
position and its hash. So each is judged against its neighbour alone, and what is wrong at one place
does not hide what is wrong at another. An event may follow from the digest that is stored with its
neighbour, or from the one that the neighbour should have: one damaged digest is one finding.

Events from before schema 3 have no digest. Theirs is computed, from the first event on, and shows
at the next digest that is stored, or at the head, whether one of them is missing.

Where a digest does not go on, an explanation is looked for, the simplest first: the event was
written one position away; positions before it are missing. What is left is kept, so that at the end
these events can be compared with each other: two of them may have been exchanged, or one put in.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from backstory._commit import NO_HASH, log_digest
from backstory._store import SealedEvent
from backstory.operations._damage import DamageKind, Finding, Reason

_SUSPECT_COUNT_MAX: Final = 40
"""All suspects are compared with each other, which costs the cube of their number."""


class _Suspect(Struct, eq=False):
    """An event that does not follow from its neighbour."""

    ordinal: int
    """Which event it was that was judged."""
    places: tuple[int, ...]
    """Its position, and where the one before it ends."""
    priors: tuple[bytes, ...]
    """What may be the digest before it."""
    hashes: tuple[bytes, ...]
    digest: bytes
    reason: Reason
    finding: Finding | None = None

    @property
    def position(self) -> int:
        return self.places[0]


class _Origin(Struct, frozen=True):
    """Where a suspect was written, as its digest proves."""

    position: int
    skipped: _Suspect | None
    """The event that is passed over when the digest goes on to it."""


class LogChain:
    """The running digest of the log, followed in the order of positions."""

    def __init__(self, *, position: int = 0, digest: bytes | None = NO_HASH) -> None:
        """Begin behind a position.

        Args:
            position: The last one that is not judged.
            digest: The digest up to there; None where it is not known.
        """
        self.undigested_count = 0
        self._ordinal = 0
        self._position = position
        self._digests: tuple[bytes, ...] = () if digest is None else (digest,)
        self._has_digests = False
        self._gaps: list[str] = []
        self._suspects: list[_Suspect] = []

    def judge(self, sealed: SealedEvent, hashes: tuple[bytes, ...]) -> Reason | None:
        """Say what is wrong with the next event; `hashes` is what may be its own."""
        self._ordinal += 1
        position, digest = sealed.recorded.position, sealed.digest
        if digest is None:
            return self._pass_undigested(position, hashes[0])
        written_at, reason = position, None
        computed = log_digest(self._digests[0], position, hashes[0]) if self._digests else digest
        if computed != digest and not self._continues(position, hashes, digest):
            written_at, reason = self._explain(position, hashes, digest)
        self._digests = (digest,) if computed == digest else (digest, computed)
        self._position, self._has_digests = written_at, True
        self._gaps.clear()
        return reason

    def pass_over(self, last_position: int) -> None:
        """Go on behind events that cannot be read, and without knowing the digest there."""
        self._position, self._digests = last_position, ()

    def ends_with(self, digest: bytes) -> bool:
        """Tell whether a digest is the one up to here, as far as that is known."""
        return not self._digests or digest in self._digests

    @property
    def position(self) -> int:
        """How far the log has been followed."""
        return self._position

    @property
    def gaps(self) -> str:
        """Positions that were missing among events without a digest, as the end of a sentence."""
        return f"; no event is at {', '.join(self._gaps)}" if self._gaps else ""

    def _continues(self, position: int, hashes: Iterable[bytes], digest: bytes) -> bool:
        return any(
            log_digest(before, position, own) == digest
            for before in self._digests
            for own in hashes
        )

    def _pass_undigested(self, position: int, own: bytes) -> Reason | None:
        self.undigested_count += 1
        if position > self._position + 1 and len(self._gaps) < _SUSPECT_COUNT_MAX:
            self._gaps.append(_range(self._position + 1, position - 1))
        self._digests = tuple(log_digest(before, position, own) for before in self._digests)
        self._position = position
        if self._has_digests:
            reason = "it has no digest, and one before it has"
            return Reason(DamageKind.BROKEN, reason)
        return None

    def _explain(
        self, position: int, hashes: tuple[bytes, ...], digest: bytes
    ) -> tuple[int, Reason]:
        """Return where an event was written, and what is wrong."""
        follows = self._position + 1
        for place in (follows, position - 1, position + 1):
            if self._continues(place, hashes, digest):
                return place, Reason(DamageKind.MOVED, f"it was written at position {place}")
        evidence = f"the digest of the log does not go on here{self.gaps}"
        reason = Reason(DamageKind.BROKEN, evidence)
        if follows < position:
            missing = f"no event is at {_range(follows, position - 1)}, and {evidence}"
            reason = Reason(DamageKind.MISSING, missing)
        if len(self._suspects) < _SUSPECT_COUNT_MAX:
            places = tuple(dict.fromkeys((position, follows)))
            suspect = _Suspect(self._ordinal, places, self._digests, hashes, digest, reason)
            self._suspects.append(suspect)
        return position, reason

    def keep(self, finding: Finding) -> None:
        """Take note of the finding that the last event has become, so that it can be explained."""
        if self._suspects and self._suspects[-1].ordinal == self._ordinal:
            self._suspects[-1].finding = finding

    def explain(self) -> None:
        """Compare the events that are unexplained, and say in their findings what becomes clear."""
        found = [(suspect, self._origin(suspect)) for suspect in self._suspects]
        origins = {id(suspect): origin for suspect, origin in found if origin is not None}
        written = {s.position: o.position for s, o in found if o is not None}
        put_in = {
            id(origin.skipped): suspect.position
            for suspect, origin in found
            if origin is not None and _is_next(origin.skipped, suspect)
        }
        for suspect in self._suspects:
            if suspect.finding is None:
                continue
            if (origin := origins.get(id(suspect))) is not None:
                reasons = _moved(suspect.position, origin.position, written)
                suspect.finding.replace(suspect.reason, *reasons)
            elif (behind := put_in.get(id(suspect))) is not None:
                evidence = f"without it the digest goes on, to position {behind}"
                suspect.finding.replace(suspect.reason, Reason(DamageKind.INSERTED, evidence))

    def _origin(self, suspect: _Suspect) -> _Origin | None:
        places = {place for other in self._suspects for place in other.places}
        for before, skipped in self._befores(suspect):
            for place in places:
                for own in suspect.hashes:
                    if log_digest(before, place, own) == suspect.digest:
                        return _Origin(place, skipped)
        return None

    def _befores(self, suspect: _Suspect) -> Iterator[tuple[bytes, _Suspect | None]]:
        """Yield every digest that it may follow, with the event that is passed over for it."""
        for other in self._suspects:
            if other is not suspect:
                yield other.digest, None
            yield from ((prior, other) for prior in other.priors)


def _is_next(skipped: _Suspect | None, suspect: _Suspect) -> bool:
    return skipped is not None and skipped.ordinal == suspect.ordinal - 1


def _moved(position: int, origin: int, written: dict[int, int]) -> Iterator[Reason]:
    """Yield what is wrong with an event whose origin is proved."""
    if origin == position:  # it is where it was: the event before it is the stranger
        return
    if written.get(origin) == position:
        evidence = f"it was written at position {origin}, and what was written here is there"
        yield Reason(DamageKind.SWAPPED, evidence)
    else:
        yield Reason(DamageKind.MOVED, f"it was written at position {origin}")


def _range(first: int, last: int) -> str:
    return f"position {first}" if first == last else f"positions {first} to {last}"
