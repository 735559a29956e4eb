"""Sends commands to shared aggregates through live ones, as one of two processes.

    commanding.py URL NAME TASKS COMMANDS

Each task sends so many commands. Every fourth has a key that the other process uses too, and takes
effect once; the others count by themselves. When all is answered, one line says what was answered
to each command, how often another process was faster, and how the live aggregates were.
"""

import json
import random
import sys
from functools import partial
from typing import Any

import anyio

from backstory import Aggregate, Backstory, Event, on, store_of
from backstory.testing import FaultyStore

AGGREGATES = 10
SHARED_EVERY = 4


class Told(Event, type="commanding:told"):
    """Somebody has told something."""

    key: str


class Hearer(Aggregate, category="hearer", snapshot_every=0):
    keys: list[str] = []

    def tell(self, key: str) -> int:
        """Hear a key, and return how many were heard."""
        self.emit(Told(key=key))
        return len(self.keys)

    def count(self) -> int:
        return len(self.keys)

    @on(Told)
    def _told(self, event: Told) -> None:
        self.keys.append(event.key)


async def main(url: str, name: str, task_count: str, command_count: str) -> None:
    chance = random.Random(name)  # noqa: S311 - a sample that is the same each time
    answers: dict[str, int] = {}
    late = 0

    async def send(story: Backstory, task: int) -> None:
        nonlocal late
        for number in range(int(command_count)):
            is_shared = number % SHARED_EVERY == 0
            key = f"{'both' if is_shared else name} {task} {number}"
            id = str((task + number) % AGGREGATES)
            answers[key] = await story.using(idempotency_key=key).execute(Hearer.tell, id, key)
            if chance.random() < 0.1:
                # Deciding nothing, it would answer from the past if what is kept were not current.
                head = await count_of_stream(story, id)
                late += await story.execute(Hearer.count, id) < head

    async with store_of(url) as store:
        counted = FaultyStore(store)
        async with (
            Backstory(counted, attempt_count_max=1_000) as story,
            anyio.create_task_group() as group,
        ):
            for task in range(int(task_count)):
                group.start_soon(send, story, task)
        said: dict[str, Any] = {
            "answers": answers,
            "late": late,
            "commits": counted.count("commit"),
        }
    sys.stdout.write(json.dumps(said) + "\n")


async def count_of_stream(story: Backstory, id: str) -> int:
    async for last in story.store.read_stream(f"hearer-{id}", backward=True, limit=1):
        return last.version
    return 0


if __name__ == "__main__":
    anyio.run(partial(main, *sys.argv[1:]))
