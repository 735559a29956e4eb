"""A backup of an SQLite store while it is in use: SQLite's own backup, and never a copied file.

A copy of the file alone misses what still lies in the `-wal` file beside it, and may catch the file
between two writes. The backup is taken of one moment, whoever appends meanwhile.

Output:
    events when the backup began: 3
    the backup is whole: ok
    events in the store now: 4
    events in the backup: 3
    work goes on from the backup: 4
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread

from backstory import Aggregate, Backstory, Event


class PageWritten(Event, type="book:page-written"):
    page: int


class Book(Aggregate, category="book"):
    def write(self, page: int) -> None:
        self.emit(PageWritten(page=page))


def back_up(source: Path, target: Path) -> None:
    # Read-only, so that closing it does not checkpoint under the program that writes.
    reading = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
    target.touch(mode=0o600)  # what is in it is nobody else's business either
    with closing(reading), closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
        [[verdict]] = writing.execute("PRAGMA integrity_check")
    print("the backup is whole:", verdict)


async def main(folder: Path) -> None:
    file, copy = folder / "book.db", folder / "backup.db"
    async with Backstory(f"sqlite:///{file}") as story:
        for page in (1, 2, 3):
            await story.execute(Book.write, "mine", page)
        print("events when the backup began:", await story.store.head())
        await anyio.to_thread.run_sync(back_up, file, copy)
        await story.execute(Book.write, "mine", 4)
        print("events in the store now:", await story.store.head())

    async with Backstory(f"sqlite:///{copy}") as story:
        print("events in the backup:", await story.store.head())
        await story.execute(Book.write, "mine", 4)
        print("work goes on from the backup:", await story.store.head())


with TemporaryDirectory() as place:
    anyio.run(main, Path(place))
