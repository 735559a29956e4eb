"""Runs a projection in tables and one in memory, as one of several processes, until the end mark.

    taking_over.py URL

It writes a line whenever it begins or ceases to own one of them: `[in tables, in memory]`. At the
end mark it writes what both read models hold. Each notes which process has folded what.
"""

import json
import os
import sys

import anyio

from backstory import (
    Backstory,
    Event,
    Projection,
    RecordedEvent,
    TableProjection,
    on,
    where,
)

END = "mark-end"
LOOK_SECONDS = 0.01


class Taken(Event, type="walk:taken"):
    """Somebody made a step."""

    number: int


class InTables(TableProjection, name="counted"):
    """Counts the steps of each walk, and says of each step which process has counted it."""

    schema = (
        "CREATE TABLE {totals} (stream TEXT PRIMARY KEY, total BIGINT)",
        "CREATE TABLE {seen} (position BIGINT, process BIGINT)",  # no key: twice would be two rows
    )

    @on(Taken)
    def _taken(self, event: Taken, recorded: RecordedEvent) -> None:
        self.execute(
            "INSERT INTO {totals} AS t VALUES ($1, 1) "
            "ON CONFLICT (stream) DO UPDATE SET total = t.total + 1",
            recorded.stream_id,
        )
        self.execute("INSERT INTO {seen} VALUES ($1, $2)", recorded.position, os.getpid())


class InMemory(Projection, name="remembered"):
    """Keeps the positions of each walk, and which process has folded the last."""

    positions: dict[str, list[int]] = {}
    process: int = 0

    @on(Taken)
    def _taken(self, event: Taken, recorded: RecordedEvent) -> None:
        self.positions.setdefault(recorded.stream_id, []).append(recorded.position)
        self.process = os.getpid()


FORMS: tuple[type[Projection], ...] = (InTables, InMemory)


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def watch(story: Backstory) -> None:
    """Say what this process owns, whenever that has changed."""
    said: list[bool] = []
    while True:
        owned = [story.projections.status(form).is_owner for form in FORMS]
        if owned != said:
            say(owned)
            said = owned
        await anyio.sleep(LOOK_SECONDS)


async def watch_until_end(story: Backstory) -> None:
    """Say what this process owns, until the end mark is there."""
    head = await story.store.head()
    async with (
        story.store.subscribe(after_position=head, where=where(streams=[END])) as subscription,
        anyio.create_task_group() as watching,
    ):
        watching.start_soon(watch, story)
        await anext(subscription)
        watching.cancel_scope.cancel()


async def main(url: str) -> None:
    async with Backstory(url, projections=FORMS) as story:
        await watch_until_end(story)
        tables = await story.read_model(InTables, timeout_seconds=100)
        rows = await tables.read_rows("SELECT stream, total FROM {totals}")
        memory = await story.read_model(InMemory, timeout_seconds=100)
        say({"tables": dict(rows), "memory": memory.positions})


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
