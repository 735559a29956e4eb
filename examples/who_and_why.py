"""Who did it, because of what, and not twice.

`using(...)` says who acts; `caused_by=` takes the event that is reacted to, and correlation and
causation follow from it. With `idempotency_key=` the same request can be repeated safely: it
happens once, and is answered the same each time.

Output:
    order:placed by ada
    order:shipped by warehouse, because of order:placed
    one correlation: True
    shipped as parcel 1, asked again: parcel 1
    refused: order o-7 is shipped
    by bob with {'tenant': 'acme'}
"""

import anyio

from backstory import Aggregate, Backstory, DomainError, Event, on, where


class OrderPlaced(Event, type="order:placed"):
    item: str


class OrderShipped(Event, type="order:shipped"):
    parcel: int


class Order(Aggregate, category="order"):
    status: str = "new"

    def place(self, item: str) -> None:
        self.emit(OrderPlaced(item=item))

    def ship(self, parcel: int) -> str:
        if self.status != "placed":
            raise DomainError(f"order {self.id} is {self.status}")
        self.emit(OrderShipped(parcel=parcel))
        return f"parcel {parcel}"

    @on(OrderPlaced)
    def _placed(self, event: OrderPlaced) -> None:
        self.status = "placed"

    @on(OrderShipped)
    def _shipped(self, event: OrderShipped) -> None:
        self.status = "shipped"


async def main() -> None:
    async with Backstory("memory://") as story:
        await story.using(actor="ada").execute(Order.place, "o-7", item="lamp")
        [placed] = [event async for event in story.replay()]

        warehouse = story.using(actor="warehouse", caused_by=placed, idempotency_key="pick-42")
        first = await warehouse.execute(Order.ship, "o-7", parcel=1)
        again = await warehouse.execute(Order.ship, "o-7", parcel=1)

        [placed, shipped] = [event async for event in story.replay()]
        cause = {placed.event_id: placed.type}[shipped.metadata.causation_id or ""]
        print(placed.type, "by", placed.metadata.actor)
        print(f"{shipped.type} by {shipped.metadata.actor}, because of {cause}")
        print("one correlation:", placed.metadata.correlation_id == shipped.metadata.correlation_id)
        print(f"shipped as {first}, asked again: {again}")

        try:
            await story.execute(Order.ship, "o-7", parcel=2)
        except DomainError as refusal:
            print("refused:", refusal)

        # As a block, it holds for every command inside, and for the child tasks started there.
        with story.using(actor="bob", correlation_id="request-7", tags=["urgent"], tenant="acme"):
            await story.execute(Order.place, "o-8", item="desk")
        [recorded] = [event async for event in story.read_log(where=where(tags=["urgent"]))]
        print("by", recorded.metadata.actor, "with", recorded.metadata.free)


anyio.run(main)
