"""Two writers, one lamp: who comes second is refused, and decides again with the new facts.

`load` and `save` show the conflict; `execute` does the same in one call, and retries by itself. The
store below them judges every append by its expected version.

Output:
    ada took a lamp, 1 left
    bob was refused: stream 'shelf-lamps' is at version 2, expected 1; reload and decide again
    bob decided again, 0 left
    nobody overdraws: shelf lamps is empty
    25 writers at once: 25 stocked, version 25
    at the store: expected no stream, found version 3
"""

from uuid import uuid4

import anyio

from backstory import NO_STREAM, Aggregate, Backstory, DomainError, Event, EventStore, NewEvent, on
from backstory import VersionConflictError as Conflict


class LampsStocked(Event, type="shelf:stocked"):
    count: int


class LampTaken(Event, type="shelf:taken"):
    by: str


class Shelf(Aggregate, category="shelf"):
    left: int = 0

    def stock(self, count: int) -> None:
        self.emit(LampsStocked(count=count))

    def take(self, by: str) -> int:
        if not self.left:
            raise DomainError(f"shelf {self.id} is empty")
        self.emit(LampTaken(by=by))
        return self.left

    @on(LampsStocked)
    def _stocked(self, event: LampsStocked) -> None:
        self.left += event.count

    @on(LampTaken)
    def _taken(self, event: LampTaken) -> None:
        self.left -= 1


async def main() -> None:
    async with Backstory("memory://") as story:
        await story.execute(Shelf.stock, "lamps", 2)

        first, second = await story.load(Shelf, "lamps"), await story.load(Shelf, "lamps")
        left, _ = first.take("ada"), second.take("bob")
        await story.save(first)
        print(f"ada took a lamp, {left} left")
        try:
            await story.save(second)
        except Conflict as conflict:
            print("bob was refused:", conflict)  # nothing was written; `second` is to be dropped

        left = await story.execute(Shelf.take, "lamps", "bob")  # loads afresh, and would retry
        print(f"bob decided again, {left} left")
        try:
            await story.execute(Shelf.take, "lamps", "eve")
        except DomainError as refusal:
            print("nobody overdraws:", refusal)

        async with anyio.create_task_group() as writers:
            for _ in range(25):
                writers.start_soon(stock_a_chair, story)
        chairs = await story.load(Shelf, "chairs")
        print(f"25 writers at once: {chairs.left} stocked, version {chairs.version}")

        await append_without_aggregates(story.store)


async def stock_a_chair(story: Backstory) -> None:
    await story.execute(Shelf.stock, "chairs", 1)  # tries up to 25 times


async def append_without_aggregates(store: EventStore) -> None:
    taken = NewEvent.of(LampTaken(by="eve"), event_id=uuid4())
    try:
        await store.append("shelf-lamps", [taken], expected_version=NO_STREAM)
    except Conflict as conflict:
        found, expected = conflict.actual_version, conflict.expected_version
        print(f"at the store: expected {expected}, found version {found}")


anyio.run(main)
