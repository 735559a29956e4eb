"""What writes: one event after the other, from many tasks, in batches.

Ours is all that a program pays: the NewEvent is made, appended and acknowledged. Raw makes its rows
and commits them; for the many tasks it has the same rows at hand and writes a thousand of them in
each transaction, which nobody who must answer each task by itself can do.
"""

from pathlib import Path
from typing import Final

import anyio
from tests.benchmarks.bench import Bench, Scale
from tests.benchmarks.group import Group
from tests.benchmarks.meter import new_event, new_events, parts
from tests.benchmarks.raw import RawStore
from tests.benchmarks.row import Result, Row, at_least

from backstory import ANY, EventStore
from backstory.stores.sqlite import SQLiteStore

TASK_COUNT: Final = 64
BATCH_SIZE: Final = 1_000

ONE: Final = Row("append one event after the other", "events/s", target=at_least(0.55))
MANY: Final = Row("append from 64 tasks to 64 streams", "events/s", target=at_least(0.33))
BATCH: Final = Row("append a batch of 1,000", "events/s", target=at_least(0.6))


async def append_one_by_one(store: EventStore, stream_id: str, append_count: int) -> None:
    """Append to a stream, each event when the one before it was acknowledged."""
    for _ in range(append_count):
        await store.append(stream_id, [new_event()], expected_version=ANY)


async def append_from_tasks(
    store: EventStore, append_count: int, *, category: str = "meter"
) -> None:
    """Do so in many tasks at once, each on a stream of its own."""
    async with anyio.create_task_group() as writers:
        for number in range(TASK_COUNT):
            writers.start_soon(append_one_by_one, store, f"{category}-{number}", append_count)


class Ours:
    """Each way to append to a store of ours; all that a program pays."""

    def __init__(self, store: EventStore, scale: Scale) -> None:
        self._store = store
        self._scale = scale

    async def one(self) -> None:
        """Append one event after the other."""
        await append_one_by_one(self._store, "meter-one", self._scale.single_count)

    async def many(self) -> None:
        """Append from many tasks at once."""
        await append_from_tasks(self._store, self._scale.append_count_per_task)

    async def batch(self) -> None:
        """Append large batches."""
        for _ in range(self._scale.batch_count):
            await self._store.append("meter-batch", new_events(BATCH_SIZE), expected_version=ANY)


class _Raw:
    def __init__(self, store: RawStore, scale: Scale) -> None:
        self._store = store
        self._scale = scale

    def one(self) -> None:
        for _ in range(self._scale.single_count):
            self._store.append(["meter-one"])

    def many(self) -> None:
        streams = [f"meter-{number}" for number in range(TASK_COUNT)]
        ids = streams * self._scale.append_count_per_task
        start = 0
        for size in parts(len(ids), BATCH_SIZE):
            self._store.append(ids[start : start + size])
            start += size

    def batch(self) -> None:
        for _ in range(self._scale.batch_count):
            self._store.append(["meter-batch"] * BATCH_SIZE)


async def measure(bench: Bench) -> list[Result]:
    """Measure every row, each on files that it shares with the others."""
    folder, scale = bench.folder, bench.scale
    raw_store = RawStore(Path(folder, "raw-appends.db"))
    many_count = TASK_COUNT * scale.append_count_per_task
    batch_count = scale.batch_count * BATCH_SIZE
    async with SQLiteStore(Path(folder, "appends.db")) as store:
        ours, raw = Ours(store, scale), _Raw(raw_store, scale)
        results = [
            await bench.alternate(row, size=size, count=count, ours=one, other=other)
            for row, size, count, one, other in (
                (ONE, "one at a time", scale.single_count, ours.one, raw.one),
                (MANY, "64 tasks; raw by 1,000", many_count, ours.many, raw.many),
                (BATCH, f"{BATCH_SIZE:,} events", batch_count, ours.batch, raw.batch),
            )
        ]
    raw_store.close()
    return results


GROUP: Final = Group("appends", (ONE, MANY, BATCH), measure)
