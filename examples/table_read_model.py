"""A read model in tables of the store's own database, and one of those that come with Backstory.

Handlers say SQL, which is run in one transaction with the checkpoint, so each event takes effect
exactly once. Queries are coroutines, and read no more than they are asked for.

Output:
    spent most: ada 30, bob 5
    at position 1: ada 10
    after a restart: ada 30, bob 6
    read by any SQLite tool: [('ada', 30, 2), ('bob', 6, 2)]
    tasks, page by page: 0 1 2 | 3 4 5 | 6
    by status: {'completed': 1, 'created': 6}
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from msgspec import Struct

from backstory import Aggregate, Backstory, Event, RecordedEvent, TableProjection, on
from backstory_aggregates import Task
from backstory_projections import TaskTable


class MoneySpent(Event, type="purse:spent"):
    amount: int


class Purse(Aggregate, category="purse"):
    def spend(self, amount: int) -> None:
        self.emit(MoneySpent(amount=amount))


class PurseRow(Struct):
    id: str
    spent: int

    def __str__(self) -> str:
        return f"{self.id} {self.spent}"


class PurseTable(TableProjection, name="purse-table"):
    schema = (
        "CREATE TABLE {purses} (id TEXT NOT NULL PRIMARY KEY, spent BIGINT, times BIGINT)",
        "CREATE INDEX {purses}_spent ON {purses} (spent DESC, id)",
    )

    @on(MoneySpent)
    def _spent(self, event: MoneySpent, recorded: RecordedEvent) -> None:
        self.execute(
            "INSERT INTO {purses} (id, spent, times) VALUES ($1, $2, 1) "
            "ON CONFLICT (id) DO UPDATE SET "
            "spent = {purses}.spent + excluded.spent, times = {purses}.times + 1",
            *(recorded.id, event.amount),
        )

    async def most(self, limit: int = 10) -> list[PurseRow]:
        return await self.read(
            PurseRow, "SELECT id, spent FROM {purses} ORDER BY spent DESC, id LIMIT $1", limit
        )


def line(rows: list[PurseRow]) -> str:
    return ", ".join(map(str, rows))


async def spend(url: str) -> None:
    async with Backstory(url, projections=[PurseTable]) as story:
        for who, amount in [("ada", 10), ("bob", 5), ("ada", 20)]:
            await story.execute(Purse.spend, who, amount)
        purses = await story.read_model(PurseTable)  # waits until it has seen our last append
        print("spent most:", line(await purses.most()))
        past = await story.read_model(PurseTable, at_position=1)  # in tables of its own
        print("at position 1:", line(await past.most()))

    async with Backstory(url, projections=[PurseTable]) as story:  # nothing is folded again
        await story.execute(Purse.spend, "bob", 1)
        print("after a restart:", line(await (await story.read_model(PurseTable)).most()))


async def page_through_tasks(url: str) -> None:
    async with Backstory(url, projections=[TaskTable]) as story:
        for number in range(7):
            await story.execute(Task.create, str(number), title=f"Task {number}")
        await story.execute(Task.start, "3")
        await story.execute(Task.complete, "3")
        tasks = await story.read_model(TaskTable)

        pages: list[str] = []
        rows = await tasks.get_all_tasks(limit=3)
        while rows:
            pages.append(" ".join(row.id for row in rows))
            rows = await tasks.get_all_tasks(limit=3, after=rows[-1].id)
        print("tasks, page by page:", " | ".join(pages))
        print("by status:", await tasks.count_by_status())


with TemporaryDirectory() as folder:
    path = Path(folder, "story.db")
    anyio.run(spend, f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT id, spent, times FROM purse_table__purses ORDER BY id")
        print("read by any SQLite tool:", rows.fetchall())
    anyio.run(page_through_tasks, f"sqlite:///{path}")
