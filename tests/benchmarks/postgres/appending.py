"""A process that appends from 64 tasks to 64 streams of its own, as often as it is told.

    python -m tests.benchmarks.postgres.appending URL NUMBER

A line on standard input says how many events each task appends; `done` is the answer.
The number is one that no other process has: its streams and event ids are counted from it.
"""

import sys
from itertools import count
from typing import Final

import anyio
import anyio.to_thread
from tests.benchmarks import meter
from tests.benchmarks.appends import append_from_tasks

from backstory.stores.postgres import PostgresStore

_EVENT_COUNT_MAX: Final = 1_000_000_000


async def append(url: str, number: int) -> None:
    """Do it until standard input ends."""
    meter.numbers = count(number * _EVENT_COUNT_MAX)
    category = f"meter{number}"
    async with PostgresStore(url) as store:
        await append_from_tasks(store, 1, category=category)
        _say("ready")
        while line := await anyio.to_thread.run_sync(sys.stdin.readline):
            await append_from_tasks(store, int(line), category=category)
            _say("done")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(append, sys.argv[1], int(sys.argv[2]))
