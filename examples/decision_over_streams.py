"""A rule that no single stream can keep: a seat is sold once, whoever buys it.

Each buyer has a stream, and the rule is about the seat. A decision reads the events that its query
means, wherever they lie, and what it emits is appended only if no further event matches: else it is
decided again on what has come.

Output:
    ada booked 12A
    bob was refused: seat 12A is taken
    two at once for 14C: 1 booked, 1 refused
    bob has: 12B
    the events of seat 12A: buyer-ada
"""

from collections.abc import Sequence

import anyio

from backstory import Backstory, Decision, DomainError, Event, EventFilter, on, stream_id_of, where


class SeatBooked(Event, type="seat:booked"):
    seat: str

    def event_tags(self) -> Sequence[str]:
        return [f"seat:{self.seat}"]  # found by its seat, in whatever stream it lies


class BookSeat(Decision):
    seat: str
    buyer: str
    is_taken: bool = False

    def query(self) -> EventFilter:
        return where(types=[SeatBooked], tags=[f"seat:{self.seat}"])

    @on(SeatBooked)
    def _booked(self, event: SeatBooked) -> None:
        self.is_taken = True

    def decide(self) -> str:
        if self.is_taken:
            raise DomainError(f"seat {self.seat} is taken")
        self.emit(SeatBooked(seat=self.seat), stream_id=stream_id_of("buyer", self.buyer))
        return f"{self.buyer} booked {self.seat}"


async def try_to_book(story: Backstory, buyer: str, answers: list[str]) -> None:
    try:
        await story.decide(BookSeat(seat="14C", buyer=buyer))
    except DomainError:
        answers.append("refused")
    else:
        answers.append("booked")


async def main() -> None:
    async with Backstory("memory://") as story:
        print(await story.decide(BookSeat(seat="12A", buyer="ada")))
        try:
            await story.decide(BookSeat(seat="12A", buyer="bob"))
        except DomainError as refusal:
            print("bob was refused:", refusal)

        answers: list[str] = []
        async with anyio.create_task_group() as buyers:
            for buyer in ("eve", "kim"):
                buyers.start_soon(try_to_book, story, buyer, answers)
        booked, refused = answers.count("booked"), answers.count("refused")
        print(f"two at once for 14C: {booked} booked, {refused} refused")

        await story.decide(BookSeat(seat="12B", buyer="bob"))
        async for recorded in story.read_stream("buyer-bob"):
            if isinstance(recorded.data, SeatBooked):
                print("bob has:", recorded.data.seat)
        found = story.read_log(where=where(tags=["seat:12A"]))
        print("the events of seat 12A:", *[recorded.stream_id async for recorded in found])


anyio.run(main)
