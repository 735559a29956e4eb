"""Pages of the log for a user interface, with cursors that new events do not move.

Output:
    newest first: 7 6 5
    next page: 4 3 2
    last page: 1
    of tag urgent: 2 4 6
    all of them, page by page: 1 2 3 4 5 6 7 8
"""

import anyio

from backstory import Aggregate, Backstory, Event, EventFilter, EventPage, EventStore, where


class LineSaid(Event, type="chat:line-said"):
    text: str


class Chat(Aggregate, category="chat"):
    def say(self, text: str) -> None:
        self.emit(LineSaid(text=text))


def numbers(page: EventPage) -> str:
    return " ".join(str(recorded.position) for recorded in page.events)


async def read_all(store: EventStore, where: EventFilter) -> list[int]:
    positions: list[int] = []
    page = await store.read_log_page(limit=3, where=where)
    positions += [recorded.position for recorded in page.events]
    while page.cursor is not None:
        page = await store.read_log_page(cursor=page.cursor, limit=3, where=where)
        positions += [recorded.position for recorded in page.events]
    return positions


async def main() -> None:
    async with Backstory("memory://") as story:
        for number in range(1, 8):
            tags = [] if number % 2 else ["urgent"]
            await story.using(tags=tags).execute(Chat.say, "room", f"line {number}")
        store = story.store

        page = await store.read_log_page(limit=3, backward=True)
        print("newest first:", numbers(page))
        await story.execute(Chat.say, "room", "line 8")  # does not move the pages below
        page = await store.read_log_page(cursor=page.cursor, limit=3, backward=True)
        print("next page:", numbers(page))
        page = await store.read_log_page(cursor=page.cursor, limit=3, backward=True)
        print("last page:", numbers(page))

        urgent = await store.read_log_page(limit=3, where=where(tags=["urgent"]))
        print("of tag urgent:", numbers(urgent))
        print("all of them, page by page:", *await read_all(store, where()))


anyio.run(main)
