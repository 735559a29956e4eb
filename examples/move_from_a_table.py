"""A table of current states moves into a store, while the old program goes on writing.

Each row becomes the first event of a stream: what is known of it, as a fact of today. The event ids
are derived from the rows, so the import can be run again, after a crash or to take in newer rows,
and adds only what is new.

Output:
    imported 2 of 2 rows
    imported 0 of 2 rows
    imported 1 of 3 rows
    the read model agrees with the table: True
"""

import sqlite3
from contextlib import closing

import anyio

from backstory import (
    ANY,
    Backstory,
    Event,
    NewEvent,
    Projection,
    RecordedEvent,
    derive_event_id,
    on,
    stream_id_of,
)


class CustomerMovedIn(Event, type="customer:moved-in"):
    name: str


class Names(Projection):
    names: dict[str, str] = {}

    @on(CustomerMovedIn)
    def _moved_in(self, event: CustomerMovedIn, recorded: RecordedEvent) -> None:
        self.names[recorded.id] = event.name


async def move(story: Backstory, old: sqlite3.Connection) -> None:
    rows = old.execute("SELECT id, name FROM customers ORDER BY id").fetchall()
    before = await story.store.head()
    for id, name in rows:
        event_id = derive_event_id("customers", id)
        event = NewEvent.of(CustomerMovedIn(name=name), event_id=event_id)
        await story.store.append(stream_id_of("customer", id), [event], expected_version=ANY)
    print(f"imported {await story.store.head() - before} of {len(rows)} rows")


async def main(old: sqlite3.Connection) -> None:
    old.execute("CREATE TABLE customers (id TEXT PRIMARY KEY, name TEXT)")
    old.executemany("INSERT INTO customers VALUES (?, ?)", [("c-1", "Ada"), ("c-2", "Bob")])
    async with Backstory("memory://", projections=[Names]) as story:
        await move(story, old)
        await move(story, old)
        old.execute("INSERT INTO customers VALUES ('c-3', 'Eve')")
        await move(story, old)

        model = await story.read_model(Names)
        table = dict(old.execute("SELECT id, name FROM customers").fetchall())
        print("the read model agrees with the table:", model.names == table)


with closing(sqlite3.connect(":memory:")) as connection:
    anyio.run(main, connection)
