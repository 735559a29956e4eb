"""Appends to a store until a signal ends it, and says what was acknowledged, a line for each.

    interrupted.py PATH async|blocking

In the first way an event loop runs in the program, in the second one `backstory.open` has it.
"""

import itertools
import json
import signal
import sys

import anyio

import backstory
from backstory import Aggregate, Backstory, Event, on


class Beaten(Event, type="fault:beaten"):
    """A heart has beaten."""


class Heart(Aggregate, category="heart", snapshot_every=10):
    beats: int = 0

    def beat(self) -> int:
        self.emit(Beaten())
        return self.beats

    @on(Beaten)
    def _beaten(self, event: Beaten) -> None:
        self.beats += 1


def say(beats: int) -> None:
    sys.stdout.write(json.dumps(beats) + "\n")
    sys.stdout.flush()


async def run(path: str) -> None:
    async with Backstory(f"sqlite:///{path}") as story:
        for _ in itertools.count():
            say(await story.execute(Heart.beat, "1"))


def run_blocking(path: str) -> None:
    with backstory.open(f"sqlite:///{path}") as story:
        for _ in itertools.count():
            say(story.execute(Heart.beat, "1"))


if __name__ == "__main__":
    # A shell starts what it runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, path, way = sys.argv
    if way == "async":
        anyio.run(run, path)
    else:
        run_blocking(path)
