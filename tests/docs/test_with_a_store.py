"""The test that docs/how-to/test-an-aggregate.md shows, whole, as a program's own would be."""

import pytest

from backstory import Aggregate, Backstory, Event, StoreUnavailableError, on
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import FaultyStore, ManualClock


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class LampTaken(Event, type="docs-lamp:taken"):
    pass


class Shelf(Aggregate, category="docs_shelf"):
    taken: int = 0

    def take(self) -> None:
        self.emit(LampTaken())

    @on(LampTaken)
    def _taken(self, event: LampTaken) -> None:
        self.taken += 1


@pytest.mark.anyio
async def test_request_whose_answer_was_lost_takes_one_lamp() -> None:
    clock = ManualClock()
    store = FaultyStore(InMemoryStore(clock=clock))
    async with store, Backstory(store) as story:
        request = story.using(idempotency_key="request-7")
        store.lose_answer("commit")
        with pytest.raises(StoreUnavailableError) as caught:
            await request.execute(Shelf.take, "hall")
        assert caught.value.outcome_unknown

        clock.advance(60)
        await request.execute(Shelf.take, "hall")

        assert (await story.load(Shelf, "hall")).taken == 1
        recorded_at = [recorded.recorded_at async for recorded in story.read_log()]
        assert recorded_at == [ManualClock().now()]
