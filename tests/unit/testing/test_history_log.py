"""The log that histories are held against finds what matches, however often it is asked."""

import random

import pytest
from tests.conftest import Counted, new_event, noted

from backstory import ANY, EventFilter, EventStore, where
from backstory.stores.in_memory import InMemoryStore
from backstory.testing._history_log import JudgedLog
from backstory.testing._history_verdict import Findings

pytestmark = pytest.mark.anyio

EVENT_COUNT = 400
FILTERS = [
    where(streams=["note-1"]),
    where(types=[Counted]),
    where(streams=["note-0", "counter-2"]) | where(types=["test:noted"], streams=["note-2"]),
    where(categories=["counter"]),
    where(streams=["nobody-1"]),
]


async def fill(store: EventStore) -> None:
    for number in range(EVENT_COUNT):
        category = "note" if number % 3 else "counter"
        event = noted("a")[0] if number % 3 else new_event(Counted(by=1))
        await store.append(f"{category}-{number % 5}", [event], expected_version=ANY)


@pytest.mark.parametrize("condition", FILTERS)
async def test_same_places_are_found_each_time(condition: EventFilter) -> None:
    log = JudgedLog(Findings())
    async with InMemoryStore() as store:
        await fill(store)
        async for recorded in store.read_log():
            log.see(recorded)
    chance = random.Random(7)  # noqa: S311 - the same ranges each time

    for _ in range(50):
        first = chance.randrange(EVENT_COUNT)
        places = range(first, chance.randrange(first, EVENT_COUNT + 1))

        assert list(log.matching(condition, places)) == [
            place for place in places if condition.matches(log.events[place])
        ]
