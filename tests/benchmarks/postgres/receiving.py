"""A process with a live projection, which says when it has each event.

    python -m tests.benchmarks.postgres.receiving URL

It says the id of an event and when it had it, by a clock that all processes of a machine share.
"""

import sys
import time

import anyio
import anyio.to_thread
from tests.benchmarks.meter import Measured

from backstory import Backstory, Event, Projection, RecordedEvent, on


class _Arrived(Projection, name="arrived"):
    """Looks at a clock and writes, which a projection must not; this one is to be measured."""

    @on(Measured)
    def _measured(self, event: Event, recorded: RecordedEvent) -> None:
        _say(f"{recorded.event_id} {time.perf_counter()}")


async def receive(url: str) -> None:
    """Do it until standard input ends."""
    async with Backstory(url, projections=[_Arrived]) as story:
        await story.read_model(_Arrived)
        _say("ready")
        await anyio.to_thread.run_sync(sys.stdin.readline)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(receive, sys.argv[1])
