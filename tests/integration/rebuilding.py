"""Runs a table projection until it is told to end, and has it built anew first.

    rebuilding.py URL

Writes `built` when the new read model has taken its place.
"""

import sys

import anyio

from backstory import Backstory, Event, RecordedEvent, TableProjection, on


class Placed(Event, type="rebuilding:placed"):
    """Something was put in its place."""

    number: int


class Places(TableProjection, name="places"):
    """Holds one row for each event: whole where there are as many as the last one's position."""

    schema = ("CREATE TABLE {places} (position INTEGER PRIMARY KEY, number INTEGER)",)

    @on(Placed)
    def _placed(self, event: Placed, recorded: RecordedEvent) -> None:
        self.execute("INSERT INTO {places} VALUES ($1, $2)", recorded.position, event.number)


async def main(url: str) -> None:
    async with Backstory(url, projections=[Places]) as story:
        await story.read_model(Places, timeout_seconds=300)
        if not (await story.projections.show(Places)).order_count:
            await story.projections.rebuild(Places, timeout_seconds=0)
        sys.stdout.write('"serves"\n')
        sys.stdout.flush()
        while (await story.projections.show(Places)).order_count:
            await story.read_model(Places, timeout_seconds=300)
            await anyio.sleep(0.01)
        sys.stdout.write('"built"\n')
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
