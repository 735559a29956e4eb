"""What folds the log into a read model, from the first event to the last.

Ours is everything between opening a `Backstory` and having the read model: the subscription, the
handler, the checkpoints on the way and the last one. Raw gets the same columns, decodes them and
calls the same handler.
"""

from typing import Final

from tests.benchmarks.bench import Bench
from tests.benchmarks.group import Group
from tests.benchmarks.meter import Total
from tests.benchmarks.row import Result, Row, at_least
from tests.benchmarks.stream import stores_with

from backstory import Backstory

CATCH_UP: Final = Row("catch up with the log in a projection", "events/s", target=at_least(0.5))


async def measure(bench: Bench) -> list[Result]:
    """Measure it."""
    event_count = bench.scale.projected_count
    async with stores_with(bench, "meter-2", event_count) as (store, raw):

        async def ours() -> None:
            await store.delete_checkpoint(Total.projection_name)
            async with Backstory(store, projections=[Total]) as story:
                await story.read_model(Total, timeout_seconds=600)

        def other() -> None:
            raw.project(event_count, Total().measured)

        return [
            await bench.alternate(
                CATCH_UP, size=f"{event_count:,} events", count=event_count, ours=ours, other=other
            )
        ]


GROUP: Final = Group("projections", (CATCH_UP,), measure)
