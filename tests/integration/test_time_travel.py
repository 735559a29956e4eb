"""The past, by version, by position and by time, is a fold of the beginning."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import STORES, Counted, Counter, drain, new_event

from backstory import (
    ANY,
    Aggregate,
    Backstory,
    EventStore,
    InvalidInputError,
    Repository,
    on,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import ManualClock

pytestmark = pytest.mark.anyio


class Remembered(Aggregate, category="remembered", snapshot_every=3):
    steps: list[int] = []

    def count(self, by: int) -> None:
        self.emit(Counted(by=by))

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.steps.append(event.by)


async def test_every_moment_of_the_past_can_be_loaded(
    tmp_path: Path, clock: ManualClock, store_name: str
) -> None:
    async with STORES[store_name](tmp_path, clock) as store:
        repository = Repository(store)
        moments: list[datetime] = []
        for number in range(10):
            clock.advance(1)
            await repository.execute(Remembered.count, "1", number)
            await repository.execute(Remembered.count, "2", -number)
            moments.append(clock.moment)
        events = await drain(store.read_stream("remembered-1"))

        for number, (recorded, moment) in enumerate(zip(events, moments, strict=True), 1):
            expected = list(range(number))
            for at in (
                {"at_version": number},
                {"at_position": recorded.position},
                {"at_position": recorded.position + 1},
                {"at_time": moment},
                {"at_time": moment + timedelta(microseconds=999_999)},
            ):
                await check(repository, at, expected)
        for at in ({"at_version": 0}, {"at_position": 0}, {"at_time": moments[0] - timedelta(1)}):
            await check(repository, at, [])


async def check(repository: Repository, at: dict[str, Any], expected: list[int]) -> None:
    past = await repository.load(Remembered, "1", **at)
    assert (past.steps, past.version) == (expected, len(expected)), at


async def test_clock_that_steps_back_cuts_at_the_first_later_event(clock: ManualClock) -> None:
    async with InMemoryStore(clock=clock) as store:
        repository = Repository(store)
        start = clock.moment
        for seconds in (0, 60, -59):
            clock.advance(seconds)
            await repository.execute(Counter.count, "1")

        past = await repository.load(Counter, "1", at_time=start + timedelta(seconds=5))

        # The third event bears an earlier time than the second, and came after it.
        assert past.version == 1


@pytest.mark.parametrize(
    "at",
    [
        {"at_version": 3},
        {"at_version": -1},
        {"at_version": True},
        {"at_version": 2**63},
        {"at_position": -1},
        {"at_time": datetime(2026, 1, 7)},  # noqa: DTZ001 - the mistake under test
        {"at_version": 1, "at_position": 1},
    ],
)
async def test_moment_that_never_was_is_refused(store: EventStore, at: dict[str, Any]) -> None:
    repository = Repository(store)
    await repository.execute(Counter.count_each, "1", [1, 2])

    with pytest.raises(InvalidInputError):
        await repository.load(Counter, "1", **at)


async def test_past_does_not_move_when_the_present_does(store: EventStore) -> None:
    async with Backstory(store) as story:
        await story.execute(Counter.count, "1")
        past = await story.load(Counter, "1", at_version=1)

        await story.execute(Counter.count, "1")

        assert past == await story.load(Counter, "1", at_version=1)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(1, 2), st.lists(st.integers(0, 9), min_size=1, max_size=3))))
async def test_stream_at_a_position_is_its_beginning(
    anyio_backend: str, batches: list[tuple[int, list[int]]]
) -> None:
    assert anyio_backend == "asyncio"
    async with InMemoryStore() as store:
        for number, steps in batches:
            events = [new_event(Counted(by=by)) for by in steps]
            await store.append(f"counter-{number}", events, expected_version=ANY)
        log = await drain(store.read_log())
        repository = Repository(store)

        for position in range(len(log) + 1):
            past = await repository.load(Counter, "1", at_position=position)
            before = [event.data for event in log[:position] if event.stream_id == "counter-1"]
            assert past.steps == [event.by for event in before if isinstance(event, Counted)]
