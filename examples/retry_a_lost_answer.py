"""The answer got lost: ask again, and it has happened once.

A caller without an answer cannot know whether its append happened. It keeps the new events, ids and
all, and appends them again: if they are recorded the first receipt comes back, if not they are
recorded now. An idempotency key does the same for a command.

Output:
    first answer: versions 1 to 2
    asked again: the same True, events in the log 2
    the same id for something else: the append has it with other data
    charged 30, asked again: charged 30
    the key for another amount: idempotency key 'order-7' was used for another command
    events in the log: 3
"""

import anyio

from backstory import (
    NO_STREAM,
    Aggregate,
    Backstory,
    DuplicateEventError,
    Event,
    EventStore,
    NewEvent,
    derive_event_id,
    on,
)


class CardCharged(Event, type="card:charged"):
    amount: int


class Card(Aggregate, category="card"):
    charged: int = 0

    def charge(self, amount: int) -> str:
        self.emit(CardCharged(amount=amount))
        return f"charged {self.charged}"

    @on(CardCharged)
    def _charged(self, event: CardCharged) -> None:
        self.charged += event.amount


async def append_twice(store: EventStore) -> None:
    # Ids derived from what is imported are the same when it is imported again.
    events = [
        NewEvent.of(CardCharged(amount=amount), event_id=derive_event_id("statement", amount))
        for amount in (10, 20)
    ]
    first = await store.append("card-1", events, expected_version=NO_STREAM)
    print(f"first answer: versions {first.first_version} to {first.last_version}")
    again = await store.append("card-1", events, expected_version=NO_STREAM)
    print(f"asked again: the same {again == first}, events in the log {await store.head()}")

    other = NewEvent.of(CardCharged(amount=99), event_id=derive_event_id("statement", 10))
    try:
        await store.append("card-1", [other], expected_version=2)
    except DuplicateEventError as error:
        print("the same id for something else:", error.reason)


async def execute_twice(story: Backstory) -> None:
    request = story.using(idempotency_key="order-7")
    first = await request.execute(Card.charge, "2", 30)
    again = await request.execute(Card.charge, "2", 30)
    print(f"{first}, asked again: {again}")
    try:
        await request.execute(Card.charge, "2", 31)
    except DuplicateEventError as error:
        print("the key for another amount:", error.reason)


async def main() -> None:
    async with Backstory("memory://") as story:
        await append_twice(story.store)
        await execute_twice(story)
        print("events in the log:", await story.store.head())


anyio.run(main)
