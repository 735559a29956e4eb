"""What a long log costs: the same call on a log of 1,000,000 events and on one of 10,000.

Both sides are ours, so the ratio is one of times: 1 is no cost at all. Both logs have streams of a
thousand events, and every call goes to a random stream, or to a random place, of its log.
"""

import random
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks.bench import Bench
from tests.benchmarks.group import Group
from tests.benchmarks.meter import new_event
from tests.benchmarks.row import Result, Row, at_most
from tests.benchmarks.stream import fill

from backstory import ANY, EventStore
from backstory.stores.sqlite import SQLiteStore

SHORT_COUNT: Final = 10_000
_STREAM_SIZE: Final = 1_000
_PAGE_SIZE: Final = 100

APPEND: Final = Row("append one event to a long log", "ms", "a short log", at_most(1.3))
LOG_PAGE: Final = Row("read a page of a long log", "ms", "a short log", at_most(1.3))
STREAM_PAGE: Final = Row("read a page of a stream of it", "ms", "a short log", at_most(1.3))


class _Log:
    """A log, and the calls that are made on it."""

    def __init__(self, store: EventStore, event_count: int, call_count: int) -> None:
        self._store = store
        self._event_count = event_count
        self._call_count = call_count
        self._random = random.Random(event_count)  # noqa: S311 - no secret: the same places each time

    async def append(self) -> None:
        for _ in range(self._call_count):
            await self._store.append(self._stream(), [new_event()], expected_version=ANY)

    async def read_log(self) -> None:
        for _ in range(self._call_count):
            after = self._random.randrange(self._event_count - _PAGE_SIZE)
            async for _ in self._store.read_log(after_position=after, limit=_PAGE_SIZE):
                pass

    async def read_stream(self) -> None:
        for _ in range(self._call_count):
            after = self._random.randrange(_STREAM_SIZE - _PAGE_SIZE)
            async for _ in self._store.read_stream(
                self._stream(), after_version=after, limit=_PAGE_SIZE
            ):
                pass

    def _stream(self) -> str:
        return f"meter-{self._random.randrange(self._event_count // _STREAM_SIZE)}"


async def measure(bench: Bench, *, long_count: int | None = None) -> list[Result]:
    """Measure every row.

    Args:
        bench: The bench.
        long_count: The events of the long log; as many as its scale says by default.
    """
    long_count = long_count or bench.scale.long_count
    call_count = bench.scale.visit_count
    async with _filled(bench, SHORT_COUNT) as short, _filled(bench, long_count) as long:
        ours = _Log(long, long_count, call_count)
        other = _Log(short, SHORT_COUNT, call_count)
        measured = partial(
            bench.alternate,
            size=f"{long_count:,} against {SHORT_COUNT:,} events",
            count=call_count,
        )
        return [
            await measured(APPEND, ours=ours.append, other=other.append),
            await measured(LOG_PAGE, ours=ours.read_log, other=other.read_log),
            await measured(STREAM_PAGE, ours=ours.read_stream, other=other.read_stream),
        ]


@asynccontextmanager
async def _filled(bench: Bench, event_count: int) -> AsyncGenerator[SQLiteStore]:
    path = Path(bench.folder, f"growth-{event_count}.db")
    async with SQLiteStore(path) as store:
        what = f"{event_count:,} events in streams of {_STREAM_SIZE:,}"
        start = time.perf_counter()
        async with bench.building(what, event_count):
            for number in range(event_count // _STREAM_SIZE):
                await fill(store, f"meter-{number}", _STREAM_SIZE)
                if number * _STREAM_SIZE == _TRIAL_COUNT:
                    bench.announce(_outlook(path, event_count, time.perf_counter() - start))
        bench.notes.append(f"{what} take {_size(path) / 1e6:,.0f} MB")
        yield store


_TRIAL_COUNT: Final = 100_000
"""Events after which it can be said how long it will take."""


def _size(path: Path) -> int:
    return path.stat().st_size


def _outlook(path: Path, event_count: int, seconds: float) -> str:
    times = event_count / _TRIAL_COUNT
    bytes_needed = _size(path) * times
    free = shutil.disk_usage(path).free
    return (
        f"building {event_count:,} events will take about {seconds * times / 60:,.0f} minutes and "
        f"{bytes_needed / 1e9:,.1f} GB of disk, of which {free / 1e9:,.0f} GB are free"
    )


GROUP: Final = Group("growth", (APPEND, LOG_PAGE, STREAM_PAGE), measure)
