"""What the judgement of histories is made of: invariants, findings, and how much was judged."""

from collections import Counter
from enum import Enum
from typing import Final

from msgspec import Struct

_SHOWN_COUNT: Final = 10


class Invariant(Enum):
    """What must hold of a log and of what its clients have seen."""

    DURABLE = "durable"
    """What was acknowledged is there, once, where the receipt says, and as it was given."""
    ATOMIC = "atomic"
    """An append is there whole or not at all, its events one behind the other."""
    NO_GHOSTS = "no ghosts"
    """All that is there was asked for; what was refused is not there, and nothing is there
    twice."""
    STREAM_ORDER = "stream order"
    """Versions are 1, 2, 3 …, positions rise, and an append came at the version it expected."""
    CONDITION = "condition"
    """No event that a condition excludes lies between its position and the append."""
    REAL_TIME = "real time"
    """What was acknowledged before something else was asked for lies before it."""
    STABLE_FEED = "stable feed"
    """Readers and subscribers were handed what the log holds: in order, no event left out, none
    twice, and none that was another one then."""
    READ_MODELS = "read models"
    """A checkpoint is a fold of the log up to its position, and not ahead of the log."""
    ERRORS = "errors"
    """Every call was answered, in time, and every failure was a documented one."""
    RECOVERY = "recovery"
    """A store that was opened held all that had been acknowledged by then."""
    LEAKS = "leaks"
    """No file and no task stayed open."""


class Finding(Struct, frozen=True):
    """Something that should not be."""

    invariant: Invariant
    """What does not hold."""
    what: str
    """What is wrong."""
    where: str
    """Where it was seen: a place in the log, or a client and its call."""

    def __str__(self) -> str:
        return f"{self.invariant.value}: {self.what} ({self.where})"


class Judged(Struct, frozen=True, kw_only=True):
    """How much was judged. What stands at 0 has not been tested, whatever the verdict."""

    history_count: int = 0
    """Histories."""
    event_count: int = 0
    """Events of the log."""
    ok_count: int = 0
    """Appends that were acknowledged, repetitions included."""
    conflict_count: int = 0
    """Appends that met a conflict."""
    refused_count: int = 0
    """Appends that were refused as faulty calls."""
    failed_count: int = 0
    """Appends that the store said it had not done."""
    unknown_count: int = 0
    """Appends of which nobody could say whether they happened, and those without an answer."""
    batch_count: int = 0
    """Appends to several streams that have happened."""
    expected_count: int = 0
    """Appends that have happened and expected a version, and not any."""
    condition_count: int = 0
    """Appends that have happened under a condition."""
    read_count: int = 0
    """Reads of the log."""
    subscription_count: int = 0
    """Subscriptions."""
    received_count: int = 0
    """Events that readers and subscribers were handed."""
    checkpoint_count: int = 0
    """Checkpoints and read models that were compared with a fold."""
    opening_count: int = 0
    """Times that the store was opened."""
    measure_count: int = 0
    """Measures that were held against the first one of their history."""
    error_count: int = 0
    """Errors of other calls than appends, those of openings included."""


class HistoryVerdict(Struct, frozen=True):
    """What came of judging histories."""

    findings: tuple[Finding, ...]
    """All that should not be; empty where every invariant holds, as far as it was judged."""
    judged: Judged
    """How much was judged."""

    def check(self) -> None:
        """Ask for a verdict without findings.

        Raises:
            AssertionError: There are some; the message lists the first ones of each invariant.
        """
        if self.findings:
            raise AssertionError(self.report())

    def report(self) -> str:
        """Return the findings, the first ten of each invariant, and how much was judged."""
        lines = [f"{len(self.findings)} findings"]
        for invariant in Invariant:
            found = [one for one in self.findings if one.invariant is invariant]
            lines += [f"  {one}" for one in found[:_SHOWN_COUNT]]
            if len(found) > _SHOWN_COUNT:
                lines.append(f"  {invariant.value}: and {len(found) - _SHOWN_COUNT} more")
        lines.append(f"judged: {self.judged}")
        return "\n".join(lines)


class Findings:
    """Findings and counts while they come in."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self.counts: Counter[str] = Counter()

    def add(self, invariant: Invariant, what: str, *, where: str) -> None:
        """Take note of something that should not be."""
        self._findings.append(Finding(invariant, what, where))

    def verdict(self) -> HistoryVerdict:
        """Return what was found."""
        return HistoryVerdict(tuple(self._findings), Judged(**self.counts))
