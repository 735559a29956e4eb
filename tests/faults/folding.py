"""Executes commands, folds them and builds a read model anew until it is told to end.

    folding.py PATH memory|tables killed|graceful

Each answer of an aggregate is a line. In the graceful way SIGTERM lets it leave its block.
"""

import itertools
import json
import signal
import sys
from typing import Any

import anyio
from anyio import CancelScope

from backstory import Aggregate, Backstory, Event, Projection, RecordedEvent, TableProjection, on

TABLE = "places__places"
HEARTS = ("a", "b", "c")


class Beaten(Event, type="fault:beaten-and-folded"):
    """A heart has beaten."""


class Heart(Aggregate, category="heart", snapshot_every=10):
    beats: int = 0

    def beat(self) -> int:
        self.emit(Beaten())
        return self.beats

    @on(Beaten)
    def _beaten(self, event: Beaten) -> None:
        self.beats += 1


class InMemory(Projection, name="places"):
    """Keeps the positions in memory."""

    positions: list[int] = []

    @on(Beaten)
    def _beaten(self, event: Beaten, recorded: RecordedEvent) -> None:
        self.positions.append(recorded.position)

    async def read_positions(self) -> list[int]:
        return self.positions


class InTables(TableProjection, name="places"):
    """Keeps the positions in a table."""

    schema = ("CREATE TABLE {places} (position BIGINT)",)

    @on(Beaten)
    def _beaten(self, event: Beaten, recorded: RecordedEvent) -> None:
        self.execute("INSERT INTO {places} (position) VALUES ($1)", recorded.position)

    async def read_positions(self) -> list[int]:
        rows = await self.read_rows("SELECT position FROM {places} ORDER BY position")
        return [int(str(position)) for (position,) in rows]


FORMS: dict[str, Any] = {"memory": InMemory, "tables": InTables}


async def beat(story: Backstory, heart: str) -> None:
    for _ in itertools.count():
        line = json.dumps([heart, await story.execute(Heart.beat, heart)])
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


async def rebuild(story: Backstory, projection: Any) -> None:
    await story.read_model(projection)
    for _ in itertools.count():
        await story.projections.rebuild(projection)


async def wait_for_signal(scope: CancelScope, way: str) -> None:
    if way == "graceful":
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                scope.cancel()
                return


async def main() -> None:
    _, path, form, way = sys.argv
    projection = FORMS[form]
    async with (
        Backstory(f"sqlite:///{path}", projections=[projection]) as story,
        anyio.create_task_group() as group,
    ):
        group.start_soon(wait_for_signal, group.cancel_scope, way)
        group.start_soon(rebuild, story, projection)
        for heart in HEARTS:
            group.start_soon(beat, story, heart)


if __name__ == "__main__":
    # A shell starts what it runs in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    anyio.run(main)
