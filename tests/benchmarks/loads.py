"""What loads an aggregate.

Without a snapshot, ours is a `load` from the first event: read, checked for gaps, decoded, folded.
Raw gets the same columns and decodes them, and folds nothing.

With snapshots every 100 events, a load costs the same whatever the length of the stream. Both sides
are ours, and fold ten events: a stream that has no more than that, and a long one with its last
snapshot ten events before its end.
"""

from functools import partial
from typing import Final

from tests.benchmarks.bench import Bench
from tests.benchmarks.group import Group
from tests.benchmarks.meter import Gauge, Meter
from tests.benchmarks.row import Result, Row, at_least, at_most
from tests.benchmarks.stream import fill, stores_with

from backstory import Repository

WHOLE: Final = Row("load an aggregate without a snapshot", "events/s", target=at_least(0.6))
SNAPSHOTS: Final = Row(
    "load a long aggregate with snapshots", "ms", against="10 events", target=at_most(1.5)
)

_TAIL_COUNT: Final = 10


async def measure(bench: Bench) -> list[Result]:
    """Measure every row."""
    return [await _whole(bench), await _with_snapshots(bench)]


async def _whole(bench: Bench) -> Result:
    event_count = bench.scale.load_count
    async with stores_with(bench, "meter-1", event_count) as (store, raw):
        repository = Repository(store)

        async def load() -> None:
            await repository.load(Meter, "1")

        return await bench.alternate(
            WHOLE,
            size=f"{event_count:,} events",
            count=event_count,
            ours=load,
            other=partial(raw.read_stream, "meter-1"),
        )


async def _with_snapshots(bench: Bench) -> Result:
    event_count, visit_count = bench.scale.long_count, bench.scale.visit_count
    async with stores_with(bench, "gauge-long", event_count) as (store, _):
        repository = Repository(store)
        # The command finds the snapshot due, and this repository saves it before it returns.
        await repository.execute(Gauge.measure, "long", number=0)
        await fill(store, "gauge-long", _TAIL_COUNT)
        await fill(store, "gauge-short", _TAIL_COUNT)

        async def load(id: str) -> None:
            for _ in range(visit_count):
                await repository.load(Gauge, id)

        return await bench.alternate(
            SNAPSHOTS,
            size=f"{event_count:,} events, snapshots every 100",
            count=visit_count,
            ours=partial(load, "long"),
            other=partial(load, "short"),
        )


GROUP: Final = Group("loads", (WHOLE, SNAPSHOTS), measure)
