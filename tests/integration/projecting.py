"""A program that runs a projection, whose handler fails on one event until a file exists.

    projecting.py PATH MENDED memory|tables

It takes steps down by stream, and cannot handle the thirteenth as long as the file MENDED is not
there. It writes a line with what it does and serves whenever that has changed, and ends when it
sees the end mark.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from backstory import (
    Backstory,
    Event,
    Projection,
    ProjectionBehindError,
    RecordedEvent,
    TableProjection,
    on,
    where,
)
from backstory.stores.sqlite import SQLiteStore

END = "mark-end"
LOOK_SECONDS = 0.01


class Stepped(Event, type="walk:stepped"):
    """Somebody made a step."""

    number: int


class Ended(Event, type="walk:ended"):
    """Nothing more comes."""


def handle(number: int) -> None:
    """Fail on the thirteenth step, until that is mended."""
    # By the environment: what a handler reads there is no part of its fingerprint.
    if number == 13 and not Path(os.environ["MENDED"]).exists():
        raise ZeroDivisionError("13 is not handled")


class InMemory(Projection, name="steps"):
    """Keeps the steps in memory."""

    steps: dict[str, list[int]] = {}

    @on(Stepped)
    def _stepped(self, event: Stepped, recorded: RecordedEvent) -> None:
        self.steps.setdefault(recorded.stream_id, []).append(event.number)
        handle(event.number)

    async def read_steps(self) -> dict[str, list[int]]:
        return self.steps


class InTables(TableProjection, name="steps"):
    """Keeps the steps in a table."""

    schema = ("CREATE TABLE {steps} (place INTEGER PRIMARY KEY, stream TEXT, number INTEGER)",)

    @on(Stepped)
    def _stepped(self, event: Stepped, recorded: RecordedEvent) -> None:
        self.execute(
            "INSERT INTO {steps} VALUES ((SELECT count(*) FROM {steps}), $1, $2)",
            *(recorded.stream_id, event.number),
        )
        handle(event.number)

    async def read_steps(self) -> dict[str, list[int]]:
        steps: dict[str, list[int]] = {}
        for stream, number in await self.read_rows(
            "SELECT stream, number FROM {steps} ORDER BY place"
        ):
            steps.setdefault(stream, []).append(number)
        return steps


FORMS: dict[str, Any] = {"memory": InMemory, "tables": InTables}


async def watch(story: Backstory, projection: Any) -> None:
    """Say how the projection is doing, whenever that has changed."""
    model, said = await story.read_model(projection), ""
    while True:
        with suppress(ProjectionBehindError):  # paused, it is still read as it was
            model = await story.read_model(projection, timeout_seconds=LOOK_SECONDS)
        state = story.projections.status(projection).state.value
        saying = json.dumps({"state": state, "steps": await model.read_steps()})
        if saying != said:
            sys.stdout.write(saying + "\n")
            sys.stdout.flush()
            said = saying
        await anyio.sleep(LOOK_SECONDS)


async def main() -> None:
    path, os.environ["MENDED"], form = sys.argv[1:]
    async with (
        SQLiteStore(path) as store,
        Backstory(store, projections=[FORMS[form]]) as story,
        store.subscribe(
            after_position=await store.head(), where=where(streams=[END])
        ) as subscription,
        anyio.create_task_group() as watching,
    ):
        watching.start_soon(watch, story, FORMS[form])
        await anext(subscription)
        watching.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
