"""A projection, its read model, and three ways to have it folded again.

The read model is the projection's fields; queries are plain methods. It has seen the caller's own
appends when `read_model` returns it, and is kept with its checkpoint when the program ends.

Output:
    spent: ada 30, bob 5
    the most: ada
    kept with its checkpoint at position 3
    started again, from the checkpoint: ada 30, bob 5
    as it was at position 1: ada 10
    folded without being registered: ada 30, bob 5
    without a checkpoint, folded from the first event: ada 30, bob 5
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from backstory import Aggregate, Backstory, Event, Projection, RecordedEvent, fold_log, on


class MoneySpent(Event, type="purse:spent"):
    amount: int


class Purse(Aggregate, category="purse"):
    def spend(self, amount: int) -> None:
        self.emit(MoneySpent(amount=amount))


class Spending(Projection, name="spending"):
    amounts: dict[str, int] = {}

    def most(self) -> str:
        return max(self.amounts, key=lambda who: self.amounts[who])

    def __str__(self) -> str:
        return ", ".join(f"{who} {amount}" for who, amount in self.amounts.items())

    @on(MoneySpent)
    def _spent(self, event: MoneySpent, recorded: RecordedEvent) -> None:
        self.amounts[recorded.id] = self.amounts.get(recorded.id, 0) + event.amount


async def main(url: str) -> None:
    async with Backstory(url, projections=[Spending]) as story:
        for who, amount in [("ada", 10), ("bob", 5), ("ada", 20)]:
            await story.execute(Purse.spend, who, amount)
        model = await story.read_model(Spending)  # waits until it has seen our last append
        print("spent:", model)
        print("the most:", model.most())

    async with Backstory(url, projections=[Spending]) as story:
        checkpoint = await story.store.load_checkpoint("spending")
        print("kept with its checkpoint at position", checkpoint and checkpoint.position)
        print("started again, from the checkpoint:", await story.read_model(Spending))
        print("as it was at position 1:", await story.read_model(Spending, at_position=1))
        print("folded without being registered:", await fold_log(story.store, Spending))
        await story.store.delete_checkpoint("spending")

    async with Backstory(url, projections=[Spending]) as story:
        model = await story.read_model(Spending)
        print("without a checkpoint, folded from the first event:", model)


with TemporaryDirectory() as folder:
    anyio.run(main, f"sqlite:///{Path(folder, 'purses.db')}")
