"""Events outlive the classes that made them: renamed types, new fields, types nobody knows.

What is stored is never rewritten. The class of today says how it is read: `aliases` are the types
that it was stored under before, and a new field has a default for events that lack it.

Output:
    1 invoice:sent is read as InvoiceSent, channel 'letter'
    2 billing:invoice-sent is read as InvoiceSent, channel 'mail'
    3 invoice:dunned is nobody's class, content {'level': 2}
    what would not be read again is refused: data
"""

import anyio

from backstory import (
    ANY,
    Backstory,
    EncodeError,
    Event,
    EventStore,
    NewEvent,
    RawEvent,
    derive_event_id,
)


class InvoiceSent(Event, type="billing:invoice-sent", aliases=("invoice:sent",)):
    amount: int
    channel: str = "letter"


async def write_as_older_programs_did(store: EventStore) -> None:
    for number, (event_type, data) in enumerate(
        [
            ("invoice:sent", b'{"amount":10}'),
            ("billing:invoice-sent", b'{"amount":20,"channel":"mail"}'),
            ("invoice:dunned", b'{"level":2}'),
        ]
    ):
        event = NewEvent.raw(event_type, data, event_id=derive_event_id("old", number))
        await store.append("invoice-7", [event], expected_version=ANY)


async def main() -> None:
    async with Backstory("memory://") as story:
        await write_as_older_programs_did(story.store)

        async for recorded in story.replay():
            match recorded.data:
                case InvoiceSent(channel=channel):
                    reading = f"is read as InvoiceSent, channel {channel!r}"
                case RawEvent(content=content):
                    reading = f"is nobody's class, content {content}"
                case other:
                    reading = repr(other)
            print(recorded.position, recorded.type, reading)

        try:
            NewEvent.raw(
                "billing:invoice-sent", b'{"amount":"20"}', event_id=derive_event_id("new", 1)
            )
        except EncodeError as error:
            print("what would not be read again is refused:", error.field)


anyio.run(main)
