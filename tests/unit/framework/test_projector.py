"""Projectors: fold, keep a checkpoint, go on from it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, Noted, new_event, noted, unchecked
from tests.faults.account import faults

from backstory import (
    ANY,
    Checkpoint,
    EventStore,
    NewEvent,
    OnFailure,
    Projection,
    ProjectionBehindError,
    ProjectionFailedError,
    RawEvent,
    RecordedEvent,
    StoreClosedError,
    derive_event_id,
    fold_log,
    on,
)
from backstory._fingerprint import fingerprint_of
from backstory._projector import Projector
from backstory._registry import ProjectorState
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


class Totals(Projection):
    total: int = 0
    seen: list[int] = []

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.total += event.by
        self.seen.append(recorded.position)


class Fragile(Projection, on_failure=OnFailure.STOP, attempt_count_max=1):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += 100 // event.by


class Strict(Totals, on_failure=OnFailure.STOP, attempt_count_max=1):
    pass


class Whimsical(Projection):
    value: Any = None

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.value = (event.by,)


async def count(store: EventStore, *numbers: int, stream_id: str = "counter-1") -> int:
    events = [new_event(Counted(by=number)) for number in numbers]
    receipt = await store.append(stream_id, events, expected_version=ANY)
    return receipt.last_position


@asynccontextmanager
async def running(store: EventStore, cls: type[Any]) -> AsyncGenerator[Projector[Any]]:
    """Run a projector inside a block, and let it end with the block."""
    projector: Projector[Any] = Projector(store, cls)
    async with anyio.create_task_group() as group:
        group.start_soon(projector.run)
        yield projector
        projector.stop()


async def wait(projector: Projector[Any], position: int) -> Any:
    return await projector.wait_for(position, timeout_seconds=DEADLINE_SECONDS)


async def test_past_and_present_are_folded_in_order(store: EventStore) -> None:
    await count(store, 1, 2)

    async with running(store, Totals) as projector:
        model = await wait(projector, await store.head())
        assert model.total == 3
        model = await wait(projector, await count(store, 4))

    assert model.total == 7
    assert model.seen == sorted(set(model.seen))
    assert projector.state is ProjectorState.STOPPED


async def test_position_passes_over_what_does_not_match(store: EventStore) -> None:
    async with running(store, Totals) as projector:
        receipt = await store.append("note-1", noted("a"), expected_version=ANY)
        model = await wait(projector, receipt.last_position)

    assert (model.total, projector.position) == (0, receipt.last_position)


async def test_checkpoint_holds_position_and_model_together(store: EventStore) -> None:
    async with running(store, Totals) as projector:
        position = await count(store, 1, 2)
        model = await wait(projector, position)

    checkpoint = await store.load_checkpoint("Totals")
    assert checkpoint is not None
    assert checkpoint.position == position
    assert checkpoint.fingerprint == fingerprint_of(Totals)
    assert model == Totals(total=3, seen=[position - 1, position])
    assert b'"total":3' in checkpoint.model_json


async def test_next_projector_goes_on_from_the_checkpoint(store: EventStore) -> None:
    for number in (1, 2, 3):
        async with running(store, Totals) as projector:
            model = await wait(projector, await count(store, number))

    assert model.total == 6
    assert len(model.seen) == len(set(model.seen)) == 3


async def test_checkpoint_moves_over_events_that_do_not_match(store: EventStore) -> None:
    async with running(store, Totals) as projector:
        first = await count(store, 1)
        await wait(projector, first)
    for _ in range(11):
        await store.append("note-1", noted(*["a"] * 1_000), expected_version=ANY)

    async with running(store, Totals) as projector:
        await wait(projector, await store.head())

    checkpoint = await store.load_checkpoint("Totals")
    assert checkpoint is not None
    assert checkpoint.position - first == 11_000


@pytest.mark.parametrize(
    "unfit",
    [
        {"fingerprint": "another class"},
        {"position": 1_000},
        {"model_json": b"{"},
        {"model_json": b'{"total":"many"}'},
    ],
)
@pytest.mark.fault(5, "T14", without="the fingerprint of the code")
async def test_unfit_checkpoint_is_ignored(store: EventStore, unfit: dict[str, Any]) -> None:
    position = await count(store, 1, 2)
    kept: dict[str, Any] = {
        "projection": "Totals",
        "position": 1,
        "fingerprint": fingerprint_of(Totals),
        "model_json": b'{"total":70,"seen":[]}',
    }
    await store.save_checkpoint(Checkpoint(**(kept | unfit)))
    faults.count()

    async with running(store, Totals) as projector:
        model = await wait(projector, position)

    assert (model.total, len(model.seen)) == (3, 2)


async def test_fitting_checkpoint_is_used(store: EventStore) -> None:
    position = await count(store, 1, 2)
    model_json = b'{"total":70,"seen":[]}'
    await store.save_checkpoint(
        Checkpoint("Totals", position - 1, fingerprint_of(Totals), model_json)
    )

    async with running(store, Totals) as projector:
        model = await wait(projector, position)

    assert (model.total, model.seen) == (72, [position])


async def test_model_that_would_change_is_not_kept(store: EventStore) -> None:
    async with running(store, Whimsical) as projector:
        model = await wait(projector, await count(store, 3))

    assert model.value == (3,)
    assert await store.load_checkpoint("Whimsical") is None


async def test_handler_that_raises_stops_its_projector(store: EventStore) -> None:
    async with running(store, Totals) as other, running(store, Fragile) as projector:
        good = await count(store, 5)
        assert (await wait(projector, good)).total == 20
        bad = await count(store, 0)
        with pytest.raises(ProjectionFailedError, match="ZeroDivisionError") as caught:
            await wait(projector, bad)
        assert (await wait(other, await count(store, 1))).total == 6

    assert (caught.value.projection, caught.value.position) == ("Fragile", bad)
    assert caught.value.event_type == "test:counted"
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert projector.state is ProjectorState.FAILED
    assert other.state is ProjectorState.STOPPED


async def test_stopped_projection_has_kept_all_before_the_error(store: EventStore) -> None:
    async with running(store, Fragile) as projector:
        good = await count(store, 5)
        await wait(projector, good)

    async with running(store, Fragile) as projector:
        bad = await count(store, 4, 0)
        with pytest.raises(ProjectionFailedError):
            await wait(projector, bad)

    checkpoint = await store.load_checkpoint("Fragile")
    assert checkpoint is not None
    assert (checkpoint.position, checkpoint.model_json) == (bad - 1, b'{"total":45}')


async def test_failed_projection_says_so_to_everybody(store: EventStore) -> None:
    async with running(store, Fragile) as projector:
        bad = await count(store, 0)
        for _ in range(2):
            with pytest.raises(ProjectionFailedError):
                await wait(projector, bad)
        with pytest.raises(ProjectionFailedError):
            await wait(projector, 0)


async def test_damaged_event_is_a_poison_event(store: EventStore) -> None:
    event = unchecked(
        "0191d7a6-0000-7000-8000-000000000001", "test:counted", 1, b'{"by":"x"}', b"{}"
    )
    receipt = await store.append("counter-1", [event], expected_version=ANY)

    async with running(store, Strict) as projector:
        with pytest.raises(ProjectionFailedError, match="DecodeError"):
            await wait(projector, receipt.last_position)


async def test_unknown_event_is_passed_over(store: EventStore) -> None:
    future = NewEvent.raw("x.future", b"{}", event_id=derive_event_id("x"))
    receipt = await store.append("counter-1", [future], expected_version=ANY)

    async with running(store, Totals) as projector:
        model = await wait(projector, receipt.last_position)

    assert model == Totals()


async def test_wait_for_the_future_has_an_end(store: EventStore) -> None:
    async with running(store, Totals) as projector:
        position = await count(store, 1)
        await wait(projector, position)
        with pytest.raises(ProjectionBehindError) as caught:
            await projector.wait_for(position + 1, timeout_seconds=0)

        assert (caught.value.position, caught.value.wanted_position) == (position, position + 1)
        assert caught.value.projection == "Totals"


async def test_projector_that_was_stopped_first_does_nothing(store: EventStore) -> None:
    await count(store, 1)
    projector = Projector(store, Totals)

    projector.stop()
    await projector.run()

    assert projector.state is ProjectorState.STOPPED
    assert projector.model == Totals()


async def test_closed_store_fails_the_projector(store: EventStore) -> None:
    projector = Projector(store, Totals)
    async with anyio.create_task_group() as group:
        group.start_soon(projector.run)
        await wait(projector, await count(store, 1))
        await store.aclose()
        with pytest.raises(ProjectionFailedError, match="StoreClosedError") as caught:
            await wait(projector, 1_000)
        assert isinstance(caught.value.__cause__, StoreClosedError)

    assert projector.state is ProjectorState.FAILED


async def test_log_is_folded_up_to_a_position(store: EventStore) -> None:
    first = await count(store, 1)
    await count(store, 2)

    assert (await fold_log(store, Totals, until_position=first)).total == 1
    assert (await fold_log(store, Totals)).total == 3
    assert (await fold_log(store, Totals, until_position=0)).total == 0


async def test_error_while_folding_the_log_is_named(store: EventStore) -> None:
    bad = await count(store, 0)

    with pytest.raises(ProjectionFailedError) as caught:
        await fold_log(store, Fragile)

    assert caught.value.position == bad


class Many(Projection, on_failure=OnFailure.STOP, attempt_count_max=1):
    """Handles more types than a store reads by index."""

    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by

    @on(Noted)
    def _noted(self, event: Noted) -> None:
        self.total += len(event.text)


async def test_long_log_is_checkpointed_on_the_way(store: EventStore) -> None:
    for _ in range(11):
        await store.append("note-1", noted(*["a"] * 1_000), expected_version=ANY)
    bad = unchecked("0191d7a6-0000-7000-8000-000000000001", "test:counted", 1, b'{"by":"x"}', b"{}")
    receipt = await store.append("counter-1", [bad], expected_version=ANY)

    async with running(store, Many) as projector:
        with pytest.raises(ProjectionFailedError):
            await wait(projector, receipt.last_position)

    checkpoint = await store.load_checkpoint("Many")
    assert checkpoint is not None
    assert checkpoint.position >= 10_000
    assert checkpoint.model_json == b'{"total":%d}' % checkpoint.position


async def test_checkpoint_that_cannot_be_saved_stops_nobody(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        position = await count(store, 1, 2)

    async with SQLiteStore(tmp_path / "story.db", read_only=True) as store:
        async with running(store, Totals) as projector:
            assert (await wait(projector, position)).total == 3

        assert projector.state is ProjectorState.STOPPED
        assert projector.error is None


async def test_newer_schema_of_a_wanted_type_is_not_guessed_at(store: EventStore) -> None:
    newer = NewEvent.raw("test:counted", b"{}", event_id=derive_event_id("newer"), schema_version=2)
    await store.append("counter-1", [newer], expected_version=ANY)

    with pytest.raises(ProjectionFailedError, match="UnknownEventTypeError"):
        await fold_log(store, Totals)


async def test_stopped_projector_says_at_once_that_it_is_behind(store: EventStore) -> None:
    async with running(store, Totals) as projector:
        await wait(projector, 0)
    position = await count(store, 1)

    with anyio.fail_after(DEADLINE_SECONDS), pytest.raises(ProjectionBehindError):
        await projector.wait_for(position, timeout_seconds=3600)


class Patient(Projection):
    """Notes what is newer than it is."""

    total: int = 0
    newer: list[int] = []

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by

    @on(RawEvent)
    def _newer(self, event: RawEvent, recorded: RecordedEvent) -> None:
        self.newer.append(recorded.position)


async def test_newer_schema_goes_to_the_handler_of_raw_events(store: EventStore) -> None:
    newer = NewEvent.raw("test:counted", b"{}", event_id=derive_event_id("newer"), schema_version=2)
    other = NewEvent.raw("x.future", b"{}", event_id=derive_event_id("other"))
    await store.append("counter-1", [new_event(Counted()), newer, other], expected_version=ANY)

    model = await fold_log(store, Patient)

    assert (model.total, model.newer) == (1, [2])
