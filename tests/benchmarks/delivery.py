"""How long a live projection takes to have what was acknowledged.

The clock starts when `append` has returned, and stops when the handler is given the event. The
projection may be first, which counts as zero. "One at a time" appends, waits until the projection
has it, and appends again. "At 500 a second" appends when the time has come, whatever has become of
the appends before.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from tests.benchmarks.bench import Bench
from tests.benchmarks.group import Group
from tests.benchmarks.meter import Measured, new_event
from tests.benchmarks.row import Result, Row, at_most, percentile

from backstory import ANY, Backstory, Event, EventStore, Projection, RecordedEvent, on
from backstory.stores.sqlite import SQLiteStore

_RATE: Final = 500
_LIMIT_SECONDS: Final = 30

_ALONE: Final = "acknowledged to projected, one at a time"
_STEADY: Final = f"acknowledged to projected, at {_RATE} a second"

Round = Callable[[EventStore, int], Awaitable[None]]


def _rows(name: str) -> tuple[Row, Row]:
    return (
        Row(f"{name}, half of them", "ms", against=""),
        Row(f"{name}, 99 %", "ms", against="", target=at_most(5)),
    )


class _Arrivals:
    """When each event was acknowledged, and when the projection had it."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, float] = {}
        self.projected: dict[str, float] = {}
        self.moved = anyio.Event()

    def take(self) -> list[float]:
        """Return the milliseconds from the one to the other of each event, and begin anew."""
        delays = [
            max(self.projected[id] - when, 0) * 1_000 for id, when in self.acknowledged.items()
        ]
        self.acknowledged.clear()
        self.projected.clear()
        return delays

    async def wait_for(self, event_id: str) -> None:
        """Return when the projection has an event."""
        while event_id not in self.projected:
            self.moved = anyio.Event()
            await self.moved.wait()


_arrivals = _Arrivals()


class _Arrived(Projection, name="arrived"):
    """Looks at a clock, which a projection must not; this one is to be measured."""

    @on(Measured)
    def _measured(self, event: Event, recorded: RecordedEvent) -> None:
        _arrivals.projected[recorded.event_id] = time.perf_counter()
        _arrivals.moved.set()


async def _append(store: EventStore) -> str:
    event = new_event()
    await store.append("meter-live", [event], expected_version=ANY)
    _arrivals.acknowledged[event.event_id] = time.perf_counter()
    return event.event_id


async def _one_at_a_time(store: EventStore, append_count: int) -> None:
    for _ in range(append_count):
        await _arrivals.wait_for(await _append(store))


async def _steadily(store: EventStore, append_count: int) -> None:
    start = time.perf_counter()
    async with anyio.create_task_group() as appends:
        for number in range(append_count):
            await anyio.sleep(max(start + number / _RATE - time.perf_counter(), 0))
            appends.start_soon(_append, store)
    for event_id in _arrivals.acknowledged:
        await _arrivals.wait_for(event_id)


async def measure(bench: Bench) -> list[Result]:
    """Measure both."""
    results: list[Result] = []
    async with (
        SQLiteStore(bench.folder / "delivery.db") as store,
        Backstory(store, projections=[_Arrived]) as story,
    ):
        await story.read_model(_Arrived)
        for name, run in ((_ALONE, _one_at_a_time), (_STEADY, _steadily)):
            results += await _delays(bench, story.store, name, run)
    return results


async def _delays(bench: Bench, store: EventStore, name: str, run: Round) -> list[Result]:
    append_count = bench.scale.delivery_count
    halves: list[float] = []
    tails: list[float] = []
    for number in range(bench.pair_count):
        bench.say(name, f"round {number + 1} of {bench.pair_count}")
        with anyio.fail_after(_LIMIT_SECONDS + append_count / _RATE):
            await run(store, append_count)
        delays = _arrivals.take()
        halves.append(percentile(delays, 0.5))
        tails.append(percentile(delays, 0.99))
    half, tail = _rows(name)
    size = f"{append_count:,} appends a round"
    return [Result(half, size, halves), Result(tail, size, tails)]


GROUP: Final = Group("delivery", (*_rows(_ALONE), *_rows(_STEADY)), measure)
