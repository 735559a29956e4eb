"""Follow the log: what is there, then what comes, each event once and in order.

A subscription hands out recorded events. `recorded.data` is the event itself, as its class, so that
`isinstance` tells what happened; the rest of it says where and when.

Output:
    1 note-a: hello
    2 note-a: world
    live after position 2
    3 note-b: again
    gone on after position 2: again
"""

import anyio

from backstory import Aggregate, Backstory, Event, where


class NoteWritten(Event, type="note:written"):
    text: str


class NoteBurned(Event, type="note:burned"):
    pass


class Note(Aggregate, category="note"):
    def write(self, text: str) -> None:
        self.emit(NoteWritten(text=text))

    def burn(self) -> None:
        self.emit(NoteBurned())


async def main() -> None:
    async with Backstory("memory://") as story:
        await story.execute(Note.write, "a", "hello")
        await story.execute(Note.write, "a", "world")

        # A filter leaves out what nobody asked for; a class stands for its type.
        async with story.subscribe(where=where(types=[NoteWritten])) as subscription:
            async for recorded in subscription:
                if isinstance(recorded.data, NoteWritten):
                    print(recorded.position, f"{recorded.stream_id}: {recorded.data.text}")
                if recorded.position == 2:
                    print("live after position", subscription.position)
                    await story.execute(Note.write, "b", "again")
                    await story.execute(Note.burn, "b")
                if recorded.position == 3:
                    break

        # A program that was stopped goes on from the position that it has kept.
        async with story.subscribe(after_position=2) as subscription:
            recorded = await anext(subscription)
            if isinstance(recorded.data, NoteWritten):
                print("gone on after position 2:", recorded.data.text)


anyio.run(main)
