"""The clock goes back, jumps ahead or stands still: positions order, and time is data."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.conftest import STORES, drain, noted, texts_of
from tests.faults.account import faults

from backstory import ANY, EventStore, where
from backstory._ids import TimeOrderedIds
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import ManualClock

pytestmark = pytest.mark.anyio

STEPS = (60, -3_600, 0, 0, 10 * 365 * 86_400, -10 * 365 * 86_400, -0.000_001, 1)
"""By how many seconds the clock is moved before each append."""


@pytest.fixture
async def store(store_name: str, tmp_path: Path, clock: ManualClock) -> AsyncIterator[EventStore]:
    async with STORES[store_name](tmp_path, clock) as store:
        yield store


@pytest.mark.fault(9, without="the order by position")
async def test_positions_rise_whatever_the_clock_does(
    store: EventStore, clock: ManualClock
) -> None:
    moments: list[datetime] = []
    for number, step in enumerate(STEPS):
        clock.advance(step)
        faults.count(step <= 0)
        moments.append(clock.moment)
        receipt = await store.append("task-1", noted(str(number)), expected_version=number)
        assert receipt.first_position == receipt.first_version == number + 1

    log = await drain(store.read_log())

    assert texts_of(log) == [str(number) for number in range(len(STEPS))]
    assert [event.recorded_at for event in log] == moments
    assert texts_of(await drain(store.read_log(backward=True))) == texts_of(log)[::-1]


@pytest.mark.fault(9, without="the bound of a read by position")
async def test_subscriber_gets_what_is_recorded_before_what_it_has_seen(
    store: EventStore, clock: ManualClock
) -> None:
    async with store.subscribe() as subscription:
        for number in range(20):
            clock.advance(-86_400)
            faults.count()
            await store.append("task-1", noted(str(number)), expected_version=ANY)

            assert texts_of([await anext(subscription)]) == [str(number)]


@pytest.mark.fault(9, without="the order by position")
async def test_thousand_events_of_one_moment_keep_their_order(
    store: EventStore, clock: ManualClock
) -> None:
    texts = [str(number) for number in range(1_000)]
    for begin in range(0, 1_000, 50):
        await store.append("task-1", noted(*texts[begin : begin + 50]), expected_version=begin)
    faults.count(1_000)

    later = where(recorded_after=clock.moment)
    assert texts_of(await drain(store.read_log())) == texts
    assert await drain(store.read_log(where=later)) == []


@pytest.mark.fault(9, without="the exact conversion to microseconds")
@pytest.mark.parametrize("year", [1, 1969, 2038, 9999])
async def test_time_far_away_comes_back_as_it_was(
    store: EventStore, clock: ManualClock, year: int
) -> None:
    clock.moment = datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    faults.count()
    await store.append("task-1", noted("a"), expected_version=0)

    (recorded,) = await drain(store.read_log())

    assert recorded.recorded_at == clock.moment


@pytest.mark.fault(9, store="in_memory", without="ids that count up while the clock does not")
def test_ids_stay_unique_and_rise_while_the_clock_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids, now = TimeOrderedIds(), time.time_ns()
    seen: list[str] = []

    for hour in range(100):
        moment = now - hour * int(timedelta(hours=1).total_seconds() * 10**9)
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        faults.count(hour > 0)
        seen += [ids.new() for _ in range(10)]

    assert seen == sorted(set(seen))


@pytest.mark.fault(9, without="the monotonic clock of time limits")
async def test_clock_that_jumps_shortens_no_wait_for_the_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Time limits are counted by a clock that nobody sets: nobody looks at this one.
    looks: list[float] = []

    def jump() -> float:
        looks.append(len(looks) * 10**9)
        return looks[-1]

    async with SQLiteStore(tmp_path / "story.db") as one, SQLiteStore(tmp_path / "story.db") as two:
        monkeypatch.setattr(time, "time", jump)
        faults.count()
        for number in range(10):
            for store in (one, two):
                await store.append("task-1", noted(str(number)), expected_version=ANY)
        monkeypatch.undo()

        assert len(await drain(one.read_log())) == 20
        assert not looks
