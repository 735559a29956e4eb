"""A program with a control socket, which runs until its standard input ends.

    controlled.py PATH NAME

It counts once on the aggregate NAME, says so in a line, and waits.
"""

import json
import sys

import anyio
import anyio.to_thread

from backstory import Aggregate, Backstory, Event, on


class Ticked(Event, type="tick:ticked"):
    """Something ticked."""


class Tick(Aggregate, category="tick"):
    """Ticks."""

    count: int = 0

    def tick(self) -> None:
        """Tick once."""
        self.emit(Ticked())

    @on(Ticked)
    def _ticked(self, event: Ticked) -> None:
        self.count += 1


async def main() -> None:
    path, name = sys.argv[1:]
    async with Backstory(f"sqlite:///{path}", control=True) as story:
        await story.execute(Tick.tick, name)
        sys.stdout.write(json.dumps({"ticked": name}) + "\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.read)


if __name__ == "__main__":
    anyio.run(main)
