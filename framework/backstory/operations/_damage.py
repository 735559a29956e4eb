"""What can be found wrong in a store, and where."""

from enum import Enum
from typing import Final

from msgspec import Struct

from backstory._recorded import RecordedEvent


class DamageKind(Enum):
    """The simplest explanation of a finding. The evidence stands beside it."""

    CHANGED = "changed"
    """What an event says does not give the hash that is stored with it."""
    DOUBLED = "doubled"
    """An event stands where its stream has had one of that version already."""
    MISSING = "missing"
    """Events are not there: positions of the log, or versions of a stream."""
    SWAPPED = "swapped"
    """Two events stand each at the position at which the other was written."""
    MOVED = "moved"
    """An event stands at another position than it was written at, or before one it follows."""
    INSERTED = "inserted"
    """An event was put in: without it the log's digest goes on."""
    BROKEN = "broken"
    """The log's digest does not go on here, and nothing simpler explains it."""
    MALFORMED = "malformed"
    """An event holds what no append accepts: no JSON, or a value outside the limits."""
    UNREADABLE = "unreadable"
    """Events cannot be read at all."""
    END = "end"
    """The log does not end where its head says, or where what is kept apart says."""
    INDEX = "index"
    """The store's engine finds fault with itself, or an index does not agree with the events. The
    events themselves may all be whole."""


class Damage(Struct, frozen=True):
    """One finding."""

    what: DamageKind
    """The simplest explanation."""
    evidence: str
    """What was found, in words; all of it, where one place shows several faults."""
    position: int | None = None
    """Where it shows; None where it has no place in the log."""
    last_position: int | None = None
    """The end of a range that begins at `position`; else the same."""
    stream_id: str | None = None
    """The stream of the event that shows it; None where it cannot be told."""
    version: int | None = None
    """Its version."""


class Reason(Struct, frozen=True):
    """One of the faults that a place shows."""

    what: DamageKind
    evidence: str


_RANK: Final = {kind: rank for rank, kind in enumerate(DamageKind)}


class Finding:
    """What one event shows, while more may be learnt of it."""

    def __init__(self, recorded: RecordedEvent, reasons: list[Reason]) -> None:
        self.recorded = recorded
        self.reasons = reasons

    def replace(self, reason: Reason, *others: Reason) -> None:
        """Put other reasons, or none, in the place of one."""
        place = self.reasons.index(reason)
        self.reasons[place : place + 1] = others

    def damage(self) -> Damage:
        """Return it as one finding, which is named after the most telling reason."""
        recorded = self.recorded
        reasons = sorted(self.reasons, key=lambda reason: _RANK[reason.what])
        return Damage(
            what=reasons[0].what,
            evidence="; ".join(reason.evidence for reason in reasons),
            position=recorded.position,
            last_position=recorded.position,
            stream_id=recorded.stream_id,
            version=recorded.version,
        )
