"""Whether today's classes still read what is stored, asked before a program is deployed.

The whole log is read once, in constant memory. Every event is decoded by today's class, upcasters
and all, because a value can break where its shape does not: a word that an enum lost, a number
below a new bound. What a class silently drops or fills is judged by shape (see `_shape`), on the
first event of each: it hangs on which keys there are, and not on what they say.

What cannot be seen: a default that was changed, since nobody stored it; a field that kept its name
and kind and changed its meaning; what a projection's handler does with an event. An aggregate is
folded along one stream for each type and schema version that lies in its category.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from backstory._aggregate import Aggregate
from backstory._recorded import RecordedEvent
from backstory._store import EventStore
from backstory.operations._folding import AggregateFinding, Folding
from backstory.operations._kind import CompatibilityFinding, Kind, Verdict

_EVENTS_PER_PROGRESS: Final = 1_000


class CompatibilityReport(Struct, frozen=True, kw_only=True):
    """What today's classes do with all that is stored."""

    until_position: int
    """The last position that was looked at."""
    event_count: int
    """Events that were decoded."""
    shape_count: int
    """Shapes of data of which a sample was compared with what its class keeps."""
    uncompared_count: int
    """Events that were decoded and not compared, because their type had too many shapes."""
    findings: Sequence[CompatibilityFinding]
    """From the harmless to the fatal, by type and schema version."""
    aggregate_findings: Sequence[AggregateFinding]
    """By category, type and schema version."""
    folded_stream_count: int
    """Streams that an aggregate was folded along."""
    categories_without_class: Sequence[str]
    """Categories that were met and have no class among those given; up to 1,000."""

    @property
    def breaks(self) -> bool:
        """Whether an event cannot be decoded, or an aggregate not be loaded."""
        return bool(self.aggregate_findings) or self.has(Verdict.BREAKS)

    def has(self, *verdicts: Verdict) -> bool:
        """Tell whether there is a finding with one of these verdicts."""
        return any(finding.verdict in verdicts for finding in self.findings)


async def check_compatibility(
    store: EventStore,
    *,
    aggregates: Sequence[type[Aggregate]] = (),
    shape_count_max: int = 1_000,
    on_progress: Callable[[int], None] | None = None,
) -> CompatibilityReport:
    """Read all that is stored by today's classes, and tell what breaks, is lost or filled.

    The event classes are those that this program has imported. Nothing is written.

    Args:
        store: An open store; what is appended meanwhile is not looked at.
        aggregates: Aggregate classes to be asked, too; one a category.
        shape_count_max: How many shapes of one type and schema version are compared; further ones
            are decoded only, and counted in the report.
        on_progress: Called with a position about every 1,000 events.

    Raises:
        StoreUnavailableError: The store did not answer.
        StoreClosedError: The store is not open.
    """
    checking = _Checking(aggregates, shape_count_max)
    until_position = await store.head()
    async for recorded in store.read_log(until_position=until_position):
        checking.look_at(recorded)
        if on_progress is not None and checking.event_count % _EVENTS_PER_PROGRESS == 0:
            on_progress(recorded.position)
    await checking.fold_samples(store, until_position)
    return checking.report(until_position)


class _Checking:
    """A check on its way."""

    def __init__(self, aggregates: Sequence[type[Aggregate]], shape_count_max: int) -> None:
        self.event_count = 0
        self._kinds: dict[tuple[str, int], Kind] = {}
        self._folding = Folding(aggregates)
        self._shape_count_max = shape_count_max

    def look_at(self, recorded: RecordedEvent) -> None:
        """Judge the next event of the log."""
        self.event_count += 1
        key = (recorded.type, recorded.schema_version)
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = Kind(recorded, shape_count_max=self._shape_count_max)
        self._folding.look_at(recorded, reason=kind.judge(recorded))

    async def fold_samples(self, store: EventStore, until_position: int) -> None:
        """Fold the aggregates along the streams that were chosen."""
        await self._folding.fold_samples(store, until_position=until_position)

    def report(self, until_position: int) -> CompatibilityReport:
        """Return what was found."""
        kinds = self._kinds.values()
        severities = list(Verdict)
        return CompatibilityReport(
            until_position=until_position,
            event_count=self.event_count,
            shape_count=sum(kind.shape_count for kind in kinds),
            uncompared_count=sum(kind.uncompared_count for kind in kinds),
            findings=sorted(
                (finding for kind in kinds for finding in kind.findings()),
                key=lambda one: (
                    severities.index(one.verdict),
                    one.event_type,
                    one.schema_version,
                    one.position,
                ),
            ),
            aggregate_findings=self._folding.findings(),
            folded_stream_count=self._folding.stream_count,
            categories_without_class=sorted(self._folding.without_class),
        )
