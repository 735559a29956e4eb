"""Events that a projection cannot handle: tried, parked with their stream, retried, discarded."""

import sqlite3
from contextlib import AsyncExitStack, closing
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, new_event
from tests.faults.account import faults

from backstory import (
    ANY,
    Backstory,
    EventStore,
    InvalidInputError,
    OrderKind,
    Projection,
    Projections,
    ProjectorState,
    RecordedEvent,
    TableProjection,
    fold_log,
    on,
)
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.sqlite._migrate import migrate

pytestmark = pytest.mark.anyio

# In context variables, whose values are no part of a fingerprint: what is mended here is not seen.
_broken: ContextVar[set[int]] = ContextVar("broken")
_tried: ContextVar[list[int]] = ContextVar("tried")
BROKEN: set[int] = set()
"""What the handlers below cannot handle at the moment: a bug that is mended, or comes back."""
TRIED: list[int] = []
_broken.set(BROKEN)
_tried.set(TRIED)


@pytest.fixture(autouse=True)
def _mended() -> None:
    BROKEN.clear()
    TRIED.clear()


def handle(by: int) -> None:
    _tried.get().append(by)
    if by in _broken.get():
        raise ZeroDivisionError(f"{by} is not handled")


class InMemory(Projection, name="steps"):
    steps: dict[str, list[int]] = {}

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.steps.setdefault(recorded.stream_id, []).append(event.by)
        handle(event.by)

    async def all(self) -> dict[str, list[int]]:
        return self.steps


class InTables(TableProjection, name="steps"):
    schema = ("CREATE TABLE {steps} (number BIGINT PRIMARY KEY, stream TEXT, by BIGINT)",)

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.execute(
            "INSERT INTO {steps} VALUES ($1, $2, $3)",
            *(recorded.position, recorded.stream_id, event.by),
        )
        handle(event.by)

    async def all(self) -> dict[str, list[int]]:
        steps: dict[str, list[int]] = {}
        for stream, by in await self.read_rows("SELECT stream, by FROM {steps} ORDER BY number"):
            steps.setdefault(stream, []).append(by)
        return steps


@pytest.fixture(params=[InMemory, InTables], ids=["in_memory", "in_tables"])
def steps(request: pytest.FixtureRequest) -> Any:
    """Return a projection that notes the steps of each counter, in both forms."""
    return request.param


async def count(store: EventStore, stream_id: str, *steps: int) -> int:
    # Not where the handler raises: what it looks at is part of a fingerprint.
    faults.count(sum(by in BROKEN for by in steps))
    events = [new_event(Counted(by=by)) for by in steps]
    return (await store.append(stream_id, events, expected_version=ANY)).last_position


async def read(story: Backstory, projection: Any) -> dict[str, list[int]]:
    model = await story.read_model(projection, timeout_seconds=DEADLINE_SECONDS)
    found: dict[str, list[int]] = await model.all()
    return found


@pytest.mark.fault(18, "T19", without="the parking of the events behind")
async def test_event_that_fails_is_parked_with_the_later_ones_of_its_stream(
    store: EventStore, steps: Any
) -> None:
    BROKEN.add(13)
    async with Backstory(store, projections=[steps]) as story:
        bad = await count(store, "counter-1", 1, 13, 2)
        await count(store, "counter-2", 5)
        await count(store, "counter-1", 3)

        assert await read(story, steps) == {"counter-1": [1], "counter-2": [5]}
        (parked,) = await story.projections.parked(steps)
        assert (parked.stream_id, parked.position, parked.version) == ("counter-1", bad - 1, 2)
        assert (parked.event_type, parked.attempt_count) == ("test:counted", 3)
        assert parked.reason == "ZeroDivisionError: 13 is not handled"
        assert TRIED.count(13) == 3
        status = story.projections.status(steps)
        assert (status.parked_count, status.is_healthy) == (1, False)


async def test_parked_stream_waits_after_a_restart(store: EventStore, steps: Any) -> None:
    BROKEN.add(13)
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 13)
        await read(story, steps)
    TRIED.clear()

    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 2)
        await count(store, "counter-2", 3)

        assert await read(story, steps) == {"counter-2": [3]}
        assert TRIED == [3]
        assert len(await story.projections.parked(steps)) == 1


@pytest.mark.fault(18, "T19", without="the note that is forgotten")
async def test_retry_folds_what_waits_in_its_order(store: EventStore, steps: Any) -> None:
    BROKEN.add(13)
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 1, 13, 2)
        await count(store, "counter-2", 5)
        await count(store, "counter-1", 3)
        await read(story, steps)
        BROKEN.clear()

        assert await story.projections.retry(steps, "counter-1")

        assert await read(story, steps) == {"counter-1": [1, 13, 2, 3], "counter-2": [5]}
        assert await story.projections.parked(steps) == []
        assert (await story.projections.show(steps)).order_count == 0
        await count(store, "counter-1", 4)
        assert (await read(story, steps))["counter-1"] == [1, 13, 2, 3, 4]
    async with Backstory(store, projections=[steps]) as story:
        assert (await read(story, steps))["counter-1"] == [1, 13, 2, 3, 4]


async def test_retry_that_fails_keeps_what_came_before(store: EventStore, steps: Any) -> None:
    BROKEN.update({13, 17})
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 13, 2)
        last = await count(store, "counter-1", 17, 3)
        await read(story, steps)
        BROKEN.remove(13)

        assert await story.projections.retry(steps, "counter-1")

        assert await read(story, steps) == {"counter-1": [13, 2]}
        (parked,) = await story.projections.parked(steps)
        assert (parked.position, parked.attempt_count) == (last - 1, 1)
        await story.projections.retry(steps, "counter-1")
        (parked,) = await story.projections.parked(steps)
        assert (parked.position, parked.attempt_count) == (last - 1, 2)
        assert await read(story, steps) == {"counter-1": [13, 2]}


async def test_discarded_event_is_left_out_for_good(store: EventStore, steps: Any) -> None:
    BROKEN.add(13)
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 1, 13, 2)
        await read(story, steps)

        assert await story.projections.discard(steps, "counter-1")

        assert await read(story, steps) == {"counter-1": [1, 2]}
        assert await story.projections.parked(steps) == []
    async with Backstory(store, projections=[steps]) as story:
        assert await read(story, steps) == {"counter-1": [1, 2]}


async def test_event_is_discarded_by_its_position_and_no_other(
    store: EventStore, steps: Any
) -> None:
    BROKEN.update({13, 17})
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 1, 13, 2, 17, 3)
        await read(story, steps)

        for position in (1, 3, 4):
            with pytest.raises(InvalidInputError, match="at position 2: test:counted; nothing"):
                await story.projections.discard(steps, "counter-1", position=position)
        assert await story.projections.waiting_orders(steps) == []
        assert await story.projections.discard(steps, "counter-1", position=2)

        assert await read(story, steps) == {"counter-1": [1, 2]}
        (parked,) = await story.projections.parked(steps)
        assert parked.position == 4
        assert await story.projections.discard(steps, "counter-1", position=4)
        assert await read(story, steps) == {"counter-1": [1, 2, 3]}


async def test_discard_that_comes_late_leaves_nothing_else_out(
    store: EventStore, steps: Any
) -> None:
    BROKEN.update({13, 17})
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 13, 17)
        await read(story, steps)
        await story.projections.pause(steps)

        for _ in range(2):
            await story.projections.discard(steps, "counter-1", timeout_seconds=0)
        waiting = await story.projections.waiting_orders(steps)
        await story.projections.resume(steps)
        await story.projections.retry(steps, "counter-1")

        assert [(one.kind, one.position) for one in waiting] == [(OrderKind.DISCARD, 1)] * 2
        (parked,) = await story.projections.parked(steps)
        assert parked.position == 2


async def test_what_is_not_parked_cannot_be_retried(store: EventStore, steps: Any) -> None:
    async with Backstory(store, projections=[steps]) as story:
        await read(story, steps)

        with pytest.raises(InvalidInputError, match="nothing of it is parked"):
            await story.projections.retry(steps, "counter-1")
        with pytest.raises(InvalidInputError, match="known are steps"):
            await story.projections.retry("others", "counter-1")


@pytest.mark.fault(18, "T19", without="the way back to what is kept")
async def test_many_poison_events_harm_nobody_else(store: EventStore, steps: Any) -> None:
    BROKEN.update({7, 11})
    async with Backstory(store, projections=[steps]) as story:
        for number in range(12):
            await count(store, f"counter-{number}", *range(number, number + 3))

        found = await read(story, steps)
        parked = await story.projections.parked(steps)

    expected: dict[str, list[int]] = {}
    for number in range(12):
        kept = list(range(number, number + 3))
        while set(kept) & BROKEN:
            kept.pop()
        if kept:
            expected[f"counter-{number}"] = kept
    assert found == expected
    assert len(parked) == sum(
        bool({number, number + 1, number + 2} & BROKEN) for number in range(12)
    )


async def test_reset_forgets_what_is_parked(store: EventStore, steps: Any) -> None:
    BROKEN.add(13)
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 13, 2)
        await read(story, steps)
        BROKEN.clear()

        assert await story.projections.reset(steps)

        assert await read(story, steps) == {"counter-1": [13, 2]}
        assert await story.projections.parked(steps) == []


async def test_paused_projection_stands_still(store: EventStore, steps: Any) -> None:
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 1)
        await read(story, steps)
        await story.projections.pause(steps)
        await count(store, "counter-1", 2)
        assert (await story.projections.show(steps)).is_paused
        with pytest.raises(TimeoutError):
            await story.read_model(steps, timeout_seconds=0.05)
    async with Backstory(store, projections=[steps]) as story:
        with pytest.raises(TimeoutError):
            await story.read_model(steps, timeout_seconds=0.05)

        await story.projections.resume(steps)

        assert await read(story, steps) == {"counter-1": [1, 2]}


async def test_rebuild_takes_the_place_of_what_served(store: EventStore, steps: Any) -> None:
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 1, 2)
        await read(story, steps)
        TRIED.clear()

        assert await story.projections.rebuild(steps)

        assert TRIED == [1, 2]
        assert await read(story, steps) == {"counter-1": [1, 2]}
        await count(store, "counter-1", 3)
        assert await read(story, steps) == {"counter-1": [1, 2, 3]}
        status = story.projections.status(steps)
        assert (status.building_position, status.is_healthy) == (None, True)
    assert (await fold_log(store, InMemory)).steps == {"counter-1": [1, 2, 3]}


async def test_lag_is_told_in_positions_and_seconds(store: EventStore, steps: Any) -> None:
    async with Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 1)
        await read(story, steps)
        (info,) = await story.projections.list_all()
        assert (info.name, info.lag, info.lag_seconds, info.is_healthy) == ("steps", 0, 0.0, True)
        await story.projections.pause(steps)
        await count(store, "counter-1", 2, 3)

        info = await story.projections.show("steps")

        assert info.lag == 2
        assert info.lag_seconds > 0


@pytest.mark.fault(20, without="the second look for an owner")
async def test_next_owner_goes_on_where_the_last_one_ended(tmp_path: Path, steps: Any) -> None:
    path = tmp_path / "story.db"
    BROKEN.add(13)
    async with SQLiteStore(path) as one, SQLiteStore(path) as two, AsyncExitStack() as ending:
        first = await ending.enter_async_context(Backstory(one, projections=[steps]))
        await count(one, "counter-1", 1, 13)
        await read(first, steps)
        second = await ending.enter_async_context(Backstory(two, projections=[steps]))
        await count(two, "counter-2", 2)
        await read(second, steps)
        await one.aclose()
        BROKEN.clear()

        await second.projections.resume(steps)  # it looks at once
        assert await second.projections.retry(steps, "counter-1")
        assert await second.projections.rebuild(steps)

        assert await read(second, steps) == {"counter-1": [1, 13], "counter-2": [2]}
        assert second.projections.status(steps).is_owner


async def test_other_programs_see_how_it_is_doing(tmp_path: Path, steps: Any) -> None:
    path = tmp_path / "story.db"
    BROKEN.add(13)
    async with SQLiteStore(path) as store, Backstory(store, projections=[steps]) as story:
        await count(store, "counter-1", 1, 13)
        await read(story, steps)
        async with SQLiteStore(path, read_only=True) as other:
            info = await Projections(other).show("steps")
            assert (info.parked_count, info.is_healthy, info.error) == (1, False, None)
    async with SQLiteStore(path, read_only=True) as other:
        info = await Projections(other).show("steps")
        assert info.state is ProjectorState.STOPPED
        assert (info.position, info.lag) == (2, 0)


async def test_older_file_that_is_only_read_has_no_notes(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db, "old", until=3)
    async with SQLiteStore(path, read_only=True) as store:
        assert await Projections(store).list_all() == []
        async with Backstory(store, projections=[InMemory]) as story:
            assert await read(story, InMemory) == {}


async def test_changed_class_meets_what_was_parked_in_its_place(store: EventStore) -> None:
    BROKEN.add(13)
    async with Backstory(store, projections=[InMemory]) as story:
        await count(store, "counter-1", 1, 13, 2)
        await read(story, InMemory)

    class Mended(Projection, name="steps", revision=2):
        steps: dict[str, list[int]] = {}

        @on(Counted)
        def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
            self.steps.setdefault(recorded.stream_id, []).append(event.by)

    async with Backstory(store, projections=[Mended]) as story:
        model = await story.read_model(Mended, timeout_seconds=DEADLINE_SECONDS)

        assert model.steps == {"counter-1": [1, 13, 2]}
        assert await story.projections.parked(Mended) == []
