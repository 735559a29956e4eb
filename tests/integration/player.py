"""Plays ball with another process, over one file: one line for each hit.

    player.py PATH NAME OTHER HITS

A player looks whose turn it is, waits for the log to grow where it is the other's, and hits where
it is its own. Looking appends nothing: a player who looked at what it has kept, and not at what the
other has done since, would wait for ever.
"""

import json
import sys

import anyio

from backstory import Aggregate, Backstory, DomainError, Event, on


class Hit(Event, type="ball:hit"):
    """Somebody hit the ball."""

    by: str


class Ball(Aggregate, category="ball", snapshot_every=0):
    last: str = ""

    def is_turn_of(self, name: str, other: str) -> bool:
        return self.last == other or (not self.last and name < other)

    def hit(self, name: str) -> int:
        if self.last == name:
            raise DomainError(f"{name} was the last to hit")
        self.emit(Hit(by=name))
        return self.version

    @on(Hit)
    def _hit(self, event: Hit) -> None:
        self.last = event.by


async def main(path: str, name: str, other: str, hit_count: str) -> None:
    async with Backstory(f"sqlite:///{path}") as story:
        for _ in range(int(hit_count)):
            head = await story.store.head()
            while not await story.execute(Ball.is_turn_of, "1", name, other):
                await story.store.wait_beyond(head)
                head = await story.store.head()
            version = await story.execute(Ball.hit, "1", name)
            sys.stdout.write(json.dumps(version) + "\n")


_, path, name, other, hit_count = sys.argv
anyio.run(main, path, name, other, hit_count)
