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
from tests.benchmarks.row import Result, Row, Target, at_most, percentile

from backstory import ANY, Backstory, Event, EventStore, Projection, RecordedEvent, on
from backstory.stores.sqlite import SQLiteStore

RATE: Final = 500
"""Appends a second, where they do not wait for each other."""
_LIMIT_SECONDS: Final = 30

Round = Callable[[EventStore, int], Awaitable[None]]


def rows(name: str, tail_target: Target) -> tuple[Row, Row]:
    """Return the rows of one way to append: how long it takes half of the time, and nearly ever."""
    return (
        Row(f"{name}, half of them", "ms", against=""),
        Row(f"{name}, 99 %", "ms", against="", target=tail_target),
    )


ALONE: Final = rows("acknowledged to projected, one at a time", at_most(5))
STEADY: Final = rows(f"acknowledged to projected, at {RATE} a second", at_most(5))


class Arrivals:
    """When each event was acknowledged, and when the projection had it."""

    def __init__(self) -> None:
        """Nothing was appended yet."""
        self._acknowledged: dict[str, float] = {}
        self._projected: dict[str, float] = {}
        self._moved = anyio.Event()

    def came(self, event_id: str, when: float) -> None:
        """Note when the projection had an event."""
        self._projected[event_id] = when
        self._moved.set()

    def take(self) -> list[float]:
        """Return the milliseconds from the one to the other of each event, and begin anew."""
        delays = [
            max(self._projected[id] - when, 0) * 1_000 for id, when in self._acknowledged.items()
        ]
        self._acknowledged.clear()
        self._projected.clear()
        return delays

    async def one_at_a_time(self, store: EventStore, append_count: int) -> None:
        """Append, and wait until the projection has it, so many times."""
        for _ in range(append_count):
            await self._wait_for(await self._append(store))

    async def steadily(self, store: EventStore, append_count: int) -> None:
        """Append so many times, each when its time has come; and wait until all have arrived."""
        start = time.perf_counter()
        async with anyio.create_task_group() as appends:
            for number in range(append_count):
                await anyio.sleep(max(start + number / RATE - time.perf_counter(), 0))
                appends.start_soon(self._append, store)
        for event_id in self._acknowledged:
            await self._wait_for(event_id)

    async def _append(self, store: EventStore) -> str:
        event = new_event()
        await store.append("meter-live", [event], expected_version=ANY)
        self._acknowledged[event.event_id] = time.perf_counter()
        return event.event_id

    async def _wait_for(self, event_id: str) -> None:
        while event_id not in self._projected:
            self._moved = anyio.Event()
            await self._moved.wait()


_arrivals: Final = Arrivals()


class _Arrived(Projection, name="arrived"):
    """Looks at a clock, which a projection must not; this one is to be measured."""

    @on(Measured)
    def _measured(self, event: Event, recorded: RecordedEvent) -> None:
        _arrivals.came(recorded.event_id, time.perf_counter())


async def measure(bench: Bench) -> list[Result]:
    """Measure both."""
    async with (
        SQLiteStore(bench.folder / "delivery.db") as store,
        Backstory(store, projections=[_Arrived]) as story,
    ):
        await story.read_model(_Arrived)
        return [
            *await delays(bench, ALONE, _arrivals, _arrivals.one_at_a_time, store),
            *await delays(bench, STEADY, _arrivals, _arrivals.steadily, store),
        ]


async def delays(
    bench: Bench, of: tuple[Row, Row], arrivals: Arrivals, run: Round, store: EventStore
) -> list[Result]:
    """Measure the rows of one way to append.

    Args:
        bench: The bench.
        of: What `rows` has made.
        arrivals: Where the projection notes what it has.
        run: That way.
        store: Where to append.
    """
    append_count = bench.scale.delivery_count
    halves: list[float] = []
    tails: list[float] = []
    for number in range(bench.pair_count):
        bench.say(of[0].name, f"round {number + 1} of {bench.pair_count}")
        with anyio.fail_after(_LIMIT_SECONDS + append_count / RATE):
            await run(store, append_count)
        taken = arrivals.take()
        halves.append(percentile(taken, 0.5))
        tails.append(percentile(taken, 0.99))
    size = f"{append_count:,} appends a round"
    return [Result(of[0], size, halves), Result(of[1], size, tails)]


GROUP: Final = Group("delivery", (*ALONE, *STEADY), measure)
