"""A bench: runs ours and the other in turn, in a folder of its own, and says how far it is."""

import gc
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from msgspec import Struct
from tests.benchmarks.row import Result, Row

_WORTH_SAYING_SECONDS: Final = 1

Action = Callable[[], Awaitable[object]]


class Scale(Struct, frozen=True):
    """How much of everything."""

    single_count: int
    """Appends one after the other, in a round."""
    append_count_per_task: int
    batch_count: int
    load_count: int
    """Events of the aggregate that is loaded without a snapshot."""
    long_count: int
    """Events of what is long."""
    projected_count: int
    replayed_count: int
    """Events that a server has to hand over."""
    row_count: int
    """Events of which each becomes a row in a table of a server."""
    delivery_count: int
    """Appends of which each is followed into a projection, in a round."""
    visit_count: int
    """Loads and page reads in a round."""


FULL: Final = Scale(
    single_count=500,
    append_count_per_task=100,
    batch_count=10,
    load_count=10_000,
    long_count=1_000_000,
    projected_count=100_000,
    replayed_count=200_000,
    row_count=10_000,
    delivery_count=1_000,
    visit_count=300,
)
QUICK: Final = Scale(
    single_count=100,
    append_count_per_task=20,
    batch_count=2,
    load_count=10_000,
    long_count=100_000,
    projected_count=20_000,
    replayed_count=20_000,
    row_count=2_000,
    delivery_count=100,
    visit_count=50,
)


class Bench:
    """What a group of rows is given to measure with."""

    def __init__(self, folder: Path, *, scale: Scale, pair_count: int) -> None:
        self.folder = folder
        """Where files are made; gone afterwards."""
        self.scale = scale
        self.pair_count = pair_count
        self.notes: list[str] = []
        """What else is to be said of the run."""
        self._said = ""

    async def alternate(
        self, row: Row, *, size: str, count: int, ours: Action, other: Action | Callable[[], None]
    ) -> Result:
        """Run both in turn, A B A B, and return what each reached.

        Args:
            row: What is measured.
            size: Of what size it is.
            count: What each of them does so many times in a round.
            ours: Ours.
            other: What it is held against; raw is a plain function.
        """
        result = Result(row, size, [], [])
        for number in range(self.pair_count):
            self.say(row.name, f"pair {number + 1} of {self.pair_count}")
            result.ours.append(row.value(count, await timed(ours)))
            result.other.append(row.value(count, await timed(other)))
        return result

    @asynccontextmanager
    async def building(self, what: str, event_count: int) -> AsyncGenerator[None]:
        """Note how long it takes to build something."""
        self.say(f"building {what}")
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        if seconds >= _WORTH_SAYING_SECONDS:
            self.notes.append(
                f"building {what}: {seconds:,.0f} s, {event_count / seconds:,.0f} events/s"
            )

    def announce(self, what: str) -> None:
        """Say something that stays on the terminal."""
        self.say("")
        sys.stderr.write(f"{what}\n")

    def say(self, what: str, how_far: str = "") -> None:
        """Show what is being done: in one line on a terminal, else in a line for each thing."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{what}{', ' * bool(how_far)}{how_far}")
        elif what not in (self._said, ""):
            sys.stderr.write(f"{what}\n")
        self._said = what
        sys.stderr.flush()


async def timed(action: Action | Callable[[], None]) -> float:
    """Return the seconds that something takes, with the garbage of before out of the way."""
    gc.collect()
    start = time.perf_counter()
    answer = action()
    if answer is not None:
        await answer
    return time.perf_counter() - start
