"""A seat is sold once, whoever buys it, in whatever stream the sale lies.

The buyers are decisions over several streams: each sale lies in the stream of its buyer, and only
the condition of the append keeps two sales apart.
"""

import random
import uuid
from pathlib import Path

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, STORES, drain, new_event

from backstory import (
    ANY,
    AppendCondition,
    ConditionConflictError,
    Decision,
    DomainError,
    Event,
    EventFilter,
    EventStore,
    Receipt,
    Repository,
    on,
    where,
)

pytestmark = pytest.mark.anyio

ROUND_COUNT = 200


class Sold(Event, type="buyers:sold"):
    seat: int
    buyer: str

    def event_tags(self) -> list[str]:
        return [f"seat:{self.seat}"]


class TakenError(DomainError):
    """The seat is sold."""


class Buy(Decision):
    seat: int
    buyer: str
    is_sold: bool = False

    def query(self) -> EventFilter:
        return where(types=[Sold], tags=[f"seat:{self.seat}"])

    @on(Sold)
    def _sold(self, event: Sold) -> None:
        self.is_sold = True

    def decide(self) -> None:
        if self.is_sold:
            raise TakenError(f"seat {self.seat} is sold")
        self.emit(Sold(seat=self.seat, buyer=self.buyer), stream_id=f"buyer-{self.buyer}")


async def sell(stores: list[EventStore], rounds: int) -> list[str]:
    """Let two buyers race for every seat, each through a store of the list; return who refused."""
    refused: list[str] = []
    repositories = [Repository(store) for store in stores]

    async def buy(repository: Repository, seat: int, buyer: str) -> None:
        try:
            await repository.decide(Buy(seat=seat, buyer=buyer))
        except TakenError:
            refused.append(buyer)

    with anyio.fail_after(3 * DEADLINE_SECONDS):
        for seat in range(rounds):
            async with anyio.create_task_group() as group:
                group.start_soon(buy, repositories[0], seat, "ada")
                group.start_soon(buy, repositories[-1], seat, "bob")
    return refused


async def test_two_buyers_never_both_have_the_seat(store: EventStore) -> None:
    refused = await sell([store], ROUND_COUNT)

    sales = await drain(store.read_log())
    assert len(refused) == len(sales) == ROUND_COUNT
    assert {sale.metadata.tags for sale in sales} == {(f"seat:{n}",) for n in range(ROUND_COUNT)}
    assert {sale.stream_id for sale in sales} <= {"buyer-ada", "buyer-bob"}


async def test_two_buyers_in_two_stores_on_one_file_never_both_have_the_seat(
    tmp_path: Path,
) -> None:
    make_store = STORES["sqlite"]
    async with make_store(tmp_path, None) as one, make_store(tmp_path, None) as other:
        refused = await sell([one, other], ROUND_COUNT)

        sales = await drain(one.read_log())
    assert len(refused) == ROUND_COUNT
    assert sorted(sale.metadata.tags for sale in sales) == sorted(
        (f"seat:{n}",) for n in range(ROUND_COUNT)
    )


async def test_many_buyers_share_one_row_of_seats(store: EventStore) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)  # noqa: S311 - which seats they want
    repository, sold = Repository(store, attempt_count_max=1_000), 0

    async def buy_some(buyer: str) -> None:
        nonlocal sold
        for seat in chance.sample(range(20), 20):
            try:
                await repository.decide(Buy(seat=seat, buyer=buyer))
                sold += 1
            except TakenError:
                pass

    with anyio.fail_after(3 * DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:
            for number in range(16):
                group.start_soon(buy_some, str(number))

    sales = await drain(store.read_log())
    assert sold == len(sales) == len({sale.metadata.tags for sale in sales}) == 20


async def test_retry_of_a_lost_answer_gives_the_first_receipt(store: EventStore) -> None:
    sale = new_event(Sold(seat=1, buyer="ada"), event_id=uuid.uuid4())
    condition = AppendCondition(where(tags=["seat:1"]), after_position=0)

    async def append() -> Receipt:
        return await store.append("buyer-ada", [sale], expected_version=ANY, condition=condition)

    first = await append()
    await store.append("buyer-ada", [new_event()], expected_version=ANY)

    assert await append() == first
    with pytest.raises(ConditionConflictError):
        await store.append("buyer-bob", [new_event()], expected_version=ANY, condition=condition)
