"""The judgement on a log: each event by itself, in its stream and in the log, and the log's end.

It is pure: events in, findings out. Memory is bounded whatever is found: so many findings are kept
and the others counted.
"""

from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from backstory._clock import from_microseconds
from backstory._codec import check_json, parse_metadata
from backstory._commit import NO_HASH, LogHead
from backstory._errors import CodecError
from backstory._events import check_metadata
from backstory._ids import check_event_id, check_stream_id
from backstory._limits import EVENT_BYTES_MAX, check_event_type, check_integer
from backstory._recorded import RecordedEvent
from backstory._store import LogSeal, SealedEvent
from backstory.operations._damage import Damage, DamageKind, Finding, Reason
from backstory.operations._log_chain import LogChain
from backstory.operations._sealed_log import UnreadableEvents
from backstory.operations._stream_chain import StreamChains

DAMAGE_COUNT_MAX: Final = 1_000
"""So many findings are kept; the others are counted."""

_json_decoder: Final = msgspec.json.Decoder()


class _Mark(Struct, frozen=True):
    """What is known of the log at a position."""

    name: str
    head: LogHead


class Examination:
    """Judges the events of a log, in the order of their positions."""

    def __init__(self, *, position: int = 0, digest: bytes | None = NO_HASH) -> None:
        """Begin behind a position.

        Args:
            position: The last one that is not judged.
            digest: The digest up to there; None where it is not known.
        """
        self.event_count = 0
        self.stream_count = 0
        self.size_bytes = 0
        self._begin = position
        self._streams = StreamChains()
        self._log = LogChain(position=position, digest=digest)
        self._marks: list[_Mark] = []
        self._found: list[Finding | Damage] = []
        self._unkept_count = 0

    @property
    def undigested_count(self) -> int:
        """Events that have no digest."""
        return self._log.undigested_count

    def expect(self, seal: LogSeal) -> None:
        """Expect the log to end as its head says, and as what is kept apart says."""
        self._marks.append(_Mark("the log's head", seal.head))
        if seal.kept is None or not seal.kept.head.position:
            return
        if seal.kept.incarnation != seal.incarnation:
            kept, now = seal.kept.incarnation, seal.incarnation
            evidence = f"what is kept apart is of the log {kept}, and this is the log {now}"
            self.add(Damage(DamageKind.END, evidence))
        else:
            self._marks.append(_Mark("the head that is kept apart", seal.kept.head))

    def judge(self, sealed: SealedEvent) -> bool:
        """Take in the next event, and tell whether it is whole, whatever an index says of it."""
        recorded = sealed.recorded
        self.event_count += 1
        self.stream_count += recorded.version == 1
        self.size_bytes += len(recorded.data_json) + len(recorded.metadata_json)
        reasons, hashes = self._streams.judge(sealed)
        if (reason := self._log.judge(sealed, hashes)) is not None:
            reasons.append(reason)
        if (unfit := _unfit(recorded)) is not None:
            reasons.append(Reason(DamageKind.MALFORMED, unfit))
        if self._marks:
            self._compare_marks(recorded.position)
        if reasons:
            self._keep(Finding(recorded, reasons))
        return all(reason.what is DamageKind.INDEX for reason in reasons)

    def pass_over(self, hole: UnreadableEvents) -> None:
        """Go on behind events that cannot be read."""
        self.add(
            Damage(DamageKind.UNREADABLE, hole.reason, hole.first_position, hole.last_position)
        )
        self._log.pass_over(hole.last_position)

    def add(self, damage: Damage) -> None:
        """Take in what was found elsewhere."""
        if len(self._found) < DAMAGE_COUNT_MAX:
            self._found.append(damage)
        else:
            self._unkept_count += 1

    def finish(self) -> tuple[list[Damage], int]:
        """Return the findings that are kept, in the order of positions, and how many there are."""
        for mark in self._marks:
            self._end_before(mark)
        self._marks.clear()
        self._log.explain()
        found = [one for one in self._found if isinstance(one, Damage) or one.reasons]
        damage = [one if isinstance(one, Damage) else one.damage() for one in found]
        damage.sort(key=lambda one: (one.position is None, one.position or 0))
        return damage, len(damage) + self._unkept_count

    def _keep(self, finding: Finding) -> None:
        if len(self._found) < DAMAGE_COUNT_MAX:
            self._found.append(finding)
            self._log.keep(finding)
        else:
            self._unkept_count += 1

    def _compare_marks(self, position: int) -> None:
        for mark in [mark for mark in self._marks if mark.head.position == position]:
            self._marks.remove(mark)
            if not self._log.ends_with(mark.head.digest):
                evidence = (
                    f"{mark.name} has another digest at position {position} than the events up to "
                    f"there{self._log.gaps}"
                )
                self.add(Damage(DamageKind.END, evidence, position, position))

    def _end_before(self, mark: _Mark) -> None:
        """Say what is wrong with the end, where a mark was not met."""
        end, last = self._log.position, mark.head.position
        if last > end:
            evidence = f"{mark.name} is at position {last}, and the last event at {end}"
            self.add(Damage(DamageKind.END, evidence, end + 1, last))
        elif last == self._begin and not self._log.ends_with(mark.head.digest):
            evidence = f"{mark.name} has another digest than the log up to position {last}"
            self.add(Damage(DamageKind.END, evidence, last, last))


def _unfit(recorded: RecordedEvent) -> str | None:
    """Return why no append would accept an event, whatever classes this program has."""
    try:
        check_integer("position", recorded.position, least=1)
        check_integer("version", recorded.version, least=1)
        check_integer("schema version", recorded.schema_version, least=1)
        check_event_id(recorded.event_id)
        _check_names(recorded.stream_id, recorded.type)
        from_microseconds(recorded.recorded_microseconds)
        check_json(recorded.type, recorded.data_json)
        _json_decoder.decode(recorded.data_json)
        check_metadata(parse_metadata(recorded.metadata_json, event_type=recorded.type))
    except (ValueError, OverflowError, RecursionError, CodecError) as error:
        return str(error)
    size = len(recorded.data_json) + len(recorded.metadata_json)
    return f"it has {size:,} bytes" if size > EVENT_BYTES_MAX else None


@lru_cache(maxsize=10_000)
def _check_names(stream_id: str, event_type: str) -> None:
    check_stream_id(stream_id)
    check_event_type(event_type)
