"""What replays the log: its speed, and the memory of a process that does nothing else."""

import sys
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from tests.benchmarks.bench import Bench
from tests.benchmarks.group import Group
from tests.benchmarks.row import Result, Row, at_least, at_most
from tests.benchmarks.stream import path_of, stores_with

from backstory import Backstory

REPLAY: Final = Row("replay the log, typed", "events/s", target=at_least(0.6))
MEMORY: Final = Row("memory of a process that replays", "MB", against="", target=at_most(150))

STREAM_ID: Final = "gauge-long"


async def measure(bench: Bench) -> list[Result]:
    """Measure both."""
    event_count = bench.scale.long_count
    async with stores_with(bench, STREAM_ID, event_count) as (store, raw):

        async def replay() -> None:
            async with Backstory(store) as story:
                async for _ in story.replay(until_position=event_count):
                    pass

        speed = await bench.alternate(
            REPLAY,
            size=f"{event_count:,} events",
            count=event_count,
            ours=replay,
            other=partial(raw.read_log, event_count),
        )
    bench.say(MEMORY.name)
    peak = await _peak_megabytes(path_of(bench, STREAM_ID, event_count), event_count)
    return [speed, Result(MEMORY, f"{event_count:,} events", [peak])]


async def _peak_megabytes(path: Path, event_count: int) -> float:
    program = [sys.executable, "-m", "tests.benchmarks.replaying", str(path), str(event_count)]
    process = await anyio.run_process(program, cwd=Path(__file__).parents[2])
    return float(process.stdout)


GROUP: Final = Group("replays", (REPLAY, MEMORY), measure)
