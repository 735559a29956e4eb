"""What writes to PostgreSQL: one event after the other, from many tasks, in batches, at two places.

Ours is all that a program pays, as on SQLite. Raw has the rows of the many tasks at hand, and
writes two hundred of them in each statement. Two processes share what one does alone.
"""

from functools import partial
from typing import Final

import anyio
from tests.benchmarks.appends import BATCH_SIZE, TASK_COUNT, Ours
from tests.benchmarks.bench import Bench, Scale
from tests.benchmarks.meter import parts
from tests.benchmarks.postgres import rows
from tests.benchmarks.postgres.child import Child, child
from tests.benchmarks.postgres.database import database, stores
from tests.benchmarks.postgres.raw import RawStore
from tests.benchmarks.row import Result

GROUP_SIZE: Final = 200
"""The rows of a statement of raw, for the many tasks."""


class _Raw:
    def __init__(self, store: RawStore, scale: Scale) -> None:
        self._store = store
        self._scale = scale

    async def one(self) -> None:
        for _ in range(self._scale.single_count):
            await self._store.append_one("meter-one")

    async def many(self) -> None:
        streams = [f"meter-{number}" for number in range(TASK_COUNT)]
        ids = streams * self._scale.append_count_per_task
        start = 0
        for size in parts(len(ids), GROUP_SIZE):
            await self._store.append(ids[start : start + size])
            start += size

    async def batch(self) -> None:
        for _ in range(self._scale.batch_count):
            await self._store.append(["meter-batch"] * BATCH_SIZE)


async def measure(bench: Bench) -> list[Result]:
    """Measure every row, all in one database."""
    scale = bench.scale
    many_count = TASK_COUNT * scale.append_count_per_task
    with database(bench) as url:
        async with stores(url) as (store, raw_store):
            ours, raw = Ours(store, scale), _Raw(raw_store, scale)
            results = [
                await bench.alternate(row, size=size, count=count, ours=one, other=other)
                for row, size, count, one, other in (
                    (rows.ONE, "one at a time", scale.single_count, ours.one, raw.one),
                    (
                        *(rows.MANY, f"{TASK_COUNT} tasks; raw by {GROUP_SIZE}"),
                        *(many_count, ours.many, raw.many),
                    ),
                    (
                        *(rows.BATCH, f"{BATCH_SIZE:,} events"),
                        *(scale.batch_count * BATCH_SIZE, ours.batch, raw.batch),
                    ),
                )
            ]
        results.append(await _processes(bench, url))
    return results


async def _processes(bench: Bench, url: str) -> Result:
    append_count = bench.scale.append_count_per_task
    async with child("appending", url, "1") as first, child("appending", url, "2") as second:
        return await bench.alternate(
            rows.TWO,
            size=f"{TASK_COUNT} tasks in each",
            count=2 * TASK_COUNT * append_count,
            ours=partial(_append_in, [first, second], append_count),
            other=partial(_append_in, [first], 2 * append_count),
        )


async def _append_in(processes: list[Child], append_count: int) -> None:
    async def append(process: Child) -> None:
        await process.tell(str(append_count))
        assert await process.hear() == "done"

    async with anyio.create_task_group() as waiting:
        for process in processes:
            waiting.start_soon(append, process)
