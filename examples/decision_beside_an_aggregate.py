"""A decision and an aggregate that share a fold: what a seat's events mean is said once.

A seat is sold by a decision, because the hall has a say too, and is freed by its aggregate. The
aggregate has no command that sells: the rule holds for what goes through the decision only.

Output:
    seat 1 is ada's
    bob was refused: seat 1 is ada's
    freed by its aggregate, and sold to bob
    eve was refused: the hall is closed
"""

import anyio

from backstory import (
    Aggregate,
    Backstory,
    Decision,
    DomainError,
    Event,
    EventFilter,
    on,
    stream_id_of,
    where,
)


class SeatSold(Event, type="seat:sold"):
    buyer: str


class SeatFreed(Event, type="seat:freed"):
    pass


class HallClosed(Event, type="hall:closed"):
    pass


class SeatFold:
    buyer: str

    @on(SeatSold)
    def _sold(self, event: SeatSold) -> None:
        self.buyer = event.buyer

    @on(SeatFreed)
    def _freed(self, event: SeatFreed) -> None:
        self.buyer = ""


class Seat(SeatFold, Aggregate, category="seat"):
    buyer: str = ""

    def free(self) -> None:
        if not self.buyer:
            raise DomainError(f"seat {self.id} is free")
        self.emit(SeatFreed())


class SellSeat(SeatFold, Decision):
    seat: str
    to: str
    buyer: str = ""
    is_closed: bool = False

    def query(self) -> EventFilter:
        seat = stream_id_of("seat", self.seat)
        return where(types=[SeatSold, SeatFreed], streams=[seat]) | where(types=[HallClosed])

    @on(HallClosed)
    def _closed(self, event: HallClosed) -> None:
        self.is_closed = True

    def decide(self) -> None:
        if self.is_closed:
            raise DomainError("the hall is closed")
        if self.buyer:
            raise DomainError(f"seat {self.seat} is {self.buyer}'s")
        self.emit(SeatSold(buyer=self.to), stream_id=stream_id_of("seat", self.seat))


class Hall(Aggregate, category="hall"):
    def close(self) -> None:
        self.emit(HallClosed())


async def try_to_sell(story: Backstory, seat: str, to: str) -> None:
    try:
        await story.decide(SellSeat(seat=seat, to=to))
    except DomainError as refusal:
        print(f"{to} was refused:", refusal)


async def main() -> None:
    async with Backstory("memory://") as story:
        await try_to_sell(story, "1", to="ada")
        print(f"seat 1 is {(await story.load(Seat, '1')).buyer}'s")
        await try_to_sell(story, "1", to="bob")

        await story.execute(Seat.free, "1")
        await try_to_sell(story, "1", to="bob")
        print("freed by its aggregate, and sold to", (await story.load(Seat, "1")).buyer)

        await story.execute(Hall.close, "big")
        await try_to_sell(story, "2", to="eve")


anyio.run(main)
