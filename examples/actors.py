"""Actors: private state, one message at a time; failures judged by a table; an end in good order.

A reader goes through three pages, and tells a tally. One page cannot be read: the reader is
restarted for it, and everything else goes on.

Output:
    page 1 has 3 words
    page 2 cannot be read
    page 3 has 2 words
    tally: 5 words on 2 pages
    reader was restarted 1 time
    reader has left, with nothing left over
"""

import anyio

from backstory.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Directive,
    SupervisionPolicy,
    Termination,
)

PAGES = {1: ["every", "agent", "has"], 2: None, 3: ["a", "backstory"]}


class Tally(Actor):
    def __init__(self) -> None:
        self.words: list[int] = []

    async def add(self, words: int) -> None:
        self.words.append(words)

    async def follow(self, reader: "ActorRef[Reader]") -> None:
        self.context.watch(reader, Tally.reader_left)

    async def reader_left(self, termination: Termination) -> None:
        print(f"{termination.name} has left, with nothing left over")

    async def summary(self) -> str:
        return f"{sum(self.words)} words on {len(self.words)} pages"


class Reader(Actor):
    def __init__(self, tally: ActorRef[Tally]) -> None:
        self.tally = tally

    async def read(self, number: int) -> int:
        words = PAGES[number]
        if words is None:
            raise OSError(f"page {number} cannot be read")
        await self.tally.tell(Tally.add, len(words))
        return len(words)


async def main() -> None:
    async with ActorSystem() as system:
        tally = system.spawn(Tally, name="tally")
        reader = system.spawn(
            lambda: Reader(tally),
            name="reader",
            supervision=SupervisionPolicy(
                rules=((KeyError, Directive.RESUME), (OSError, Directive.RESTART)),
                backoff_seconds=0.01,
            ),
        )
        await tally.ask(Tally.follow, reader)

        for number in PAGES:
            try:
                print(f"page {number} has {await reader.ask(Reader.read, number)} words")
            except OSError as error:
                print(error)

        print("tally:", await tally.ask(Tally.summary))
        restarts = {status.name: status.restart_count for status in system.actors()}
        print(f"reader was restarted {restarts['reader']} time")
        # Leaving the block stops the reader first, since it came last; then the tally.


anyio.run(main)
