"""What a command costs when its aggregate stays loaded, and what an idle aggregate takes.

Both sides are ours: 64 tasks each send commands to an aggregate of their own, which has 500 events
and a snapshot every 100. The one keeps its aggregates, the other loads each for each command.

The memory is that of 10,000 aggregates that have had a command and are idle, as Python's
`tracemalloc` counts it, without that of 10,000 states by themselves.
"""

import gc
import tracemalloc
from functools import partial
from typing import Final

import anyio
from tests.benchmarks.bench import Bench
from tests.benchmarks.group import Group
from tests.benchmarks.meter import Gauge
from tests.benchmarks.row import Result, Row, at_least, at_most
from tests.benchmarks.stream import fill

from backstory import Backstory, EventStore
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore

LIVE: Final = Row(
    "commands from 64 tasks to 64 aggregates",
    "commands/s",
    against="each loads",
    target=at_least(1.2),
)
IDLE: Final = Row(
    "memory of an idle aggregate, without its state", "bytes", against="", target=at_most(4_000)
)

_TASK_COUNT: Final = 64
_EVENT_COUNT: Final = 500
_IDLE_COUNT: Final = 10_000


async def measure(bench: Bench) -> list[Result]:
    """Measure both rows."""
    return [await _live(bench), await _idle(bench)]


async def _live(bench: Bench) -> Result:
    command_count = bench.scale.append_count_per_task
    async with SQLiteStore(bench.folder / "commands.db") as store:
        for number in range(_TASK_COUNT):
            await fill(store, f"gauge-{number}", _EVENT_COUNT)
        async with Backstory(store) as live, Backstory(store, live_aggregates_max=0) as loading:
            return await bench.alternate(
                LIVE,
                size=f"{_EVENT_COUNT:,} events each, snapshots every 100",
                count=_TASK_COUNT * command_count,
                ours=partial(_command, live, command_count),
                other=partial(_command, loading, command_count),
            )


async def _command(story: Backstory, command_count: int) -> None:
    async def follow_up(id: str) -> None:
        for number in range(command_count):
            await story.execute(Gauge.measure, id, number=number)

    async with anyio.create_task_group() as callers:
        for number in range(_TASK_COUNT):
            callers.start_soon(follow_up, str(number))


async def _idle(bench: Bench) -> Result:
    values: list[float] = []
    async with InMemoryStore() as store:
        await _bytes_each(store)  # what is made once is made
        for number in range(bench.pair_count):
            bench.say(IDLE.name, f"round {number + 1} of {bench.pair_count}")
            values.append(await _bytes_each(store))
    return Result(IDLE, f"{_IDLE_COUNT:,} aggregates", values)


async def _bytes_each(store: EventStore) -> float:
    gc.collect()
    tracemalloc.start()
    try:
        states = [Gauge.blank(str(number)) for number in range(_IDLE_COUNT)]
        by_themselves, _ = tracemalloc.get_traced_memory()
        async with Backstory(store) as story:
            for state in states:
                await story.execute(Gauge.look, state.id)
            gc.collect()
            together, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (together - 2 * by_themselves) / _IDLE_COUNT


GROUP: Final = Group("commands", (LIVE, IDLE), measure)
