"""How long a live projection in another process takes to have what was acknowledged.

It is measured as in one process; the clock is one that all processes of a machine share. What the
other process has to say comes through a pipe, and says when it had the event, so that only the
pauses between two appends are longer by that.
"""

import anyio
from tests.benchmarks.bench import Bench
from tests.benchmarks.delivery import Arrivals, delays
from tests.benchmarks.postgres import rows
from tests.benchmarks.postgres.child import Child, child
from tests.benchmarks.postgres.database import database
from tests.benchmarks.row import Result

from backstory.stores.postgres import PostgresStore


async def measure(bench: Bench) -> list[Result]:
    """Measure both."""
    with database(bench) as url:
        return await _measure(bench, url)


async def _measure(bench: Bench, url: str) -> list[Result]:
    arrivals = Arrivals()
    results: list[Result] = []
    async with (
        PostgresStore(url) as store,
        child("receiving", url) as other,
        anyio.create_task_group() as hearing,
    ):
        hearing.start_soon(_hear, other, arrivals)
        results += await delays(bench, rows.ALONE, arrivals, arrivals.one_at_a_time, store)
        results += await delays(bench, rows.STEADY, arrivals, arrivals.steadily, store)
        hearing.cancel_scope.cancel()
    return results


async def _hear(other: Child, arrivals: Arrivals) -> None:
    while True:
        event_id, when = (await other.hear()).split()
        arrivals.came(event_id, float(when))
