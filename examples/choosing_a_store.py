"""The same program on two stores: the URL is the only difference, and what survives.

Output:
    memory://
      an append survives: memory
      opened again, 0 events are there
    sqlite:///notes.db
      an append survives: fsync
      opened again, 2 events are there
    sqlite:///quick.db?durability=buffered
      an append survives: buffered
      opened again, 2 events are there
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from backstory import Aggregate, Backstory, Event

URLS = ["memory://", "sqlite:///notes.db", "sqlite:///quick.db?durability=buffered"]


class NoteWritten(Event, type="note:written"):
    text: str


class Note(Aggregate, category="note"):
    def write(self, text: str) -> None:
        self.emit(NoteWritten(text=text))


async def write_and_come_back(url: str) -> None:
    print(url)
    async with Backstory(url) as story:
        await story.execute(Note.write, "a", "hello")
        await story.execute(Note.write, "a", "world")
        print("  an append survives:", story.store.capabilities.durability.value)

    async with Backstory(url) as story:
        print(f"  opened again, {await story.store.head()} events are there")


async def main() -> None:
    for url in URLS:
        await write_and_come_back(url)


# sqlite:/// with three slashes is a path from the current folder; with four, a whole path.
here = Path.cwd()
with TemporaryDirectory() as folder:
    os.chdir(folder)
    anyio.run(main)
    os.chdir(here)
