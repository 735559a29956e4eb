"""An event that a projection cannot handle waits with its stream; all others go on.

The handler has no rate for francs. It is tried a few times, then the stream of the first such event
is parked from there on. With the rate, what waits is tried again in its order. What can never be
handled is discarded: it stays in the log, and only this read model goes without it.

Output:
    served: ada 30; healthy: False
    parked: purse-bob 1, tried 3 times, KeyError: 'CHF'
    served: ada 50; parked: purse-bob, purse-eve
    purse-bob is tried again with the rate: nothing of it waits
    served: ada 50, bob 19; parked: purse-eve
    purse-eve is tried again: parked as before, KeyError: 'cowries'
    discarded, and the next one of the stream is folded
    served: ada 50, bob 19, eve 7; healthy: True
"""

import anyio

from backstory import Aggregate, Backstory, Event, Projection, RecordedEvent, on

RATES = {"EUR": 1.0}


class MoneySpent(Event, type="purse:spent"):
    amount: int
    currency: str


class Purse(Aggregate, category="purse"):
    def spend(self, amount: int, currency: str) -> None:
        self.emit(MoneySpent(amount=amount, currency=currency))


class Spending(Projection, name="spending"):
    amounts: dict[str, float] = {}

    def __str__(self) -> str:
        return ", ".join(f"{who} {amount:.0f}" for who, amount in sorted(self.amounts.items()))

    @on(MoneySpent)
    def _spent(self, event: MoneySpent, recorded: RecordedEvent) -> None:
        amount = event.amount * RATES[event.currency]
        self.amounts[recorded.id] = self.amounts.get(recorded.id, 0) + amount


async def print_served(story: Backstory) -> None:
    model = await story.read_model(Spending)
    parked = await story.projections.parked(Spending)
    streams = ", ".join(one.stream_id for one in parked)
    print(f"served: {model};", f"parked: {streams}" if parked else "healthy: True")


async def main() -> None:
    async with Backstory("memory://", projections=[Spending]) as story:
        await story.execute(Purse.spend, "ada", 30, "EUR")
        await story.execute(Purse.spend, "bob", 10, "CHF")
        model = await story.read_model(Spending)
        print(f"served: {model}; healthy: {story.projections.status(Spending).is_healthy}")

        [one] = await story.projections.parked(Spending)
        tried = f"tried {one.attempt_count} times"
        print(f"parked: {one.stream_id} {one.version}, {tried}, {one.reason}")

        await story.execute(Purse.spend, "bob", 10, "EUR")  # it waits behind the other
        await story.execute(Purse.spend, "ada", 20, "EUR")
        await story.execute(Purse.spend, "eve", 3, "cowries")
        await story.execute(Purse.spend, "eve", 7, "EUR")
        await print_served(story)

        RATES["CHF"] = 0.9
        await story.projections.retry(Spending, "purse-bob")
        print("purse-bob is tried again with the rate: nothing of it waits")
        await print_served(story)

        await story.projections.retry(Spending, "purse-eve")
        [one] = await story.projections.parked(Spending)
        print(f"purse-eve is tried again: parked as before, {one.reason}")
        await story.projections.discard(Spending, "purse-eve")
        print("discarded, and the next one of the stream is folded")
        model = await story.read_model(Spending)
        print(f"served: {model}; healthy: {story.projections.status(Spending).is_healthy}")


anyio.run(main)
