"""What a projector notes of how it is doing, and what others make of that."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace
from tests.conftest import DEADLINE_SECONDS, Counted, new_event

from backstory import (
    ANY,
    Backstory,
    EventStore,
    OrderKind,
    Projection,
    Projections,
    ProjectionStatus,
    ProjectorState,
    on,
)
from backstory._orders import Order, give_order, set_paused
from backstory._progress import Note
from backstory._projector import Projector
from backstory._registry import STALE_SECONDS, register, tell, told
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import FaultyStore, ManualClock

pytestmark = pytest.mark.anyio

PAGE_EVENT_COUNT = 1_000


class Totals(Projection, name="totals"):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


LIVE = ProjectionStatus(
    name="totals",
    state=ProjectorState.LIVE,
    position=2,
    kept_position=2,
    building_position=None,
    is_owner=True,
    parked_count=0,
    error=None,
    owner="engine-room:7",
)


@pytest.fixture
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let projectors look, and tell, as often as they can."""
    monkeypatch.setattr("backstory._projector._LOOK_SECONDS", 0.0)
    monkeypatch.setattr("backstory._projector.TELL_SECONDS", 0.0)


@asynccontextmanager
async def running(
    store: EventStore, *, clock: ManualClock | None = None
) -> AsyncGenerator[Projector[Totals]]:
    """Run a projector inside a block, and let it end with the block."""
    projector = Projector(store, Totals, owner="engine-room:7", clock=clock)
    async with anyio.create_task_group() as group:
        group.start_soon(projector.run)
        yield projector
        projector.stop()


async def count(store: EventStore, event_count: int) -> None:
    events = [new_event(Counted()) for _ in range(event_count)]
    await store.append("counter-1", events, expected_version=ANY)


async def fill(store: EventStore, page_count: int) -> None:
    for _ in range(page_count):
        await count(store, PAGE_EVENT_COUNT)


async def wait_told(store: EventStore, **wanted: object) -> ProjectionStatus:
    """Return what is noted once it says what is wanted."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while True:
            noted = (await told(store)).get("totals")
            if noted and all(getattr(noted, name) == value for name, value in wanted.items()):
                return noted
            await anyio.lowlevel.checkpoint()


async def test_projector_that_is_not_heard_of_is_stale_and_not_healthy(store: EventStore) -> None:
    clock = ManualClock()
    await register(store, Totals)
    await tell(store, LIVE, now=clock.now())
    known = Projections(store, clock=clock)

    clock.advance(STALE_SECONDS)
    fresh = await known.show(Totals)
    clock.advance(1)
    stale = await known.show(Totals)

    assert (fresh.is_stale, fresh.is_healthy, fresh.owner) == (False, True, "engine-room:7")
    assert (stale.is_stale, stale.is_healthy, stale.lag) == (True, False, 0)
    assert stale.noted_at == ManualClock().now()
    assert stale.state is ProjectorState.LIVE


@pytest.mark.parametrize("state", [ProjectorState.STOPPED, ProjectorState.FAILED])
async def test_projector_that_has_said_its_last_is_not_stale(
    store: EventStore, state: ProjectorState
) -> None:
    clock = ManualClock()
    await register(store, Totals)
    await tell(store, replace(LIVE, state=state), now=clock.now())

    clock.advance(1_000_000)

    assert not (await Projections(store, clock=clock).show(Totals)).is_stale


async def test_projector_that_never_said_anything_is_stale(store: EventStore) -> None:
    await register(store, Totals)

    info = await Projections(store).show(Totals)

    assert (info.is_stale, info.state, info.owner, info.noted_at) == (True, None, None, None)


async def test_note_from_before_notes_were_dated_is_stale(store: EventStore) -> None:
    before = (
        b'{"name":"totals","state":"live","position":2,"kept_position":2,'
        b'"building_position":null,"is_owner":true,"parked_count":0,"error":null}'
    )
    await register(store, Totals)
    await store.save_notes(Note("projection-status", "totals", before))

    assert (await Projections(store).show(Totals)).is_stale


async def test_what_this_process_runs_is_never_stale(store: EventStore) -> None:
    clock = ManualClock()
    async with running(store, clock=clock) as projector:
        await wait_told(store, state=ProjectorState.LIVE)
        clock.advance(1_000_000)

        here = await Projections(store, {"totals": projector}, clock=clock).show(Totals)
        elsewhere = await Projections(store, clock=clock).show(Totals)

    assert (here.is_stale, here.noted_at, here.owner) == (False, None, "engine-room:7")
    assert elsewhere.is_stale


@pytest.mark.usefixtures("_eager")
async def test_projector_with_nothing_to_do_is_heard_of_all_the_same(store: EventStore) -> None:
    clock = ManualClock()
    async with running(store, clock=clock) as projector:
        await wait_told(store, state=ProjectorState.LIVE, noted_at=clock.now())
        clock.advance(60)
        projector.look()

        noted = await wait_told(store, noted_at=clock.now())

    assert (noted.state, noted.owner) == (ProjectorState.LIVE, "engine-room:7")


@pytest.mark.usefixtures("_eager")
async def test_projector_that_has_always_more_to_fold_is_heard_of() -> None:
    store = InMemoryStore()
    async with FaultyStore(store) as slow:
        await fill(store, 3)
        third = slow.delay("read_page", at=3)
        async with running(slow):
            await third.wait_reached()
            noted = await wait_told(store)
            third.release()

    assert noted.state is ProjectorState.CATCHING_UP
    assert noted.position == 2 * PAGE_EVENT_COUNT


@pytest.mark.usefixtures("_eager")
async def test_order_reaches_a_projector_that_has_always_more_to_fold() -> None:
    store = InMemoryStore()
    async with FaultyStore(store) as slow:
        await fill(store, 4)
        second = slow.delay("read_page", at=2)
        async with running(slow) as projector:
            await second.wait_reached()
            await set_paused(store, "totals", is_paused=True)
            second.release()

            await wait_told(store, state=ProjectorState.PAUSED)
            assert projector.position == 2 * PAGE_EVENT_COUNT


async def test_rebuild_in_another_process_is_seen_with_its_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # How it is doing is told at each look while it builds, though nothing else would be yet.
    monkeypatch.setattr("backstory._projector._LOOK_SECONDS", 0.0)
    store = InMemoryStore()
    async with FaultyStore(store) as slow:
        await fill(store, 5)
        async with running(slow):
            await wait_told(store, state=ProjectorState.LIVE)
            await give_order(store, "totals", Order(kind=OrderKind.REBUILD))
            held = slow.delay("read_page", at=8)  # a page of what serves, a page of the build
            await held.wait_reached()

            info = await Projections(store).show(Totals)
            (order,) = await Projections(store).waiting_orders(Totals)
            held.release()
            await wait_told(store, state=ProjectorState.LIVE, building_position=None)

            assert info.building_position in (2 * PAGE_EVENT_COUNT, 3 * PAGE_EVENT_COUNT)
            assert (info.position, info.order_count) == (5 * PAGE_EVENT_COUNT, 1)
            assert order.kind is OrderKind.REBUILD
            assert await Projections(store).waiting_orders(Totals) == []


@pytest.mark.usefixtures("_eager")
async def test_store_that_keeps_no_notes_stops_no_read_model() -> None:
    async with FaultyStore(InMemoryStore()) as store, running(store) as projector:
        await wait_told(store, state=ProjectorState.LIVE)
        store.fail("put_notes", times=None)
        await count(store, 3)

        model = await projector.wait_for(3, timeout_seconds=DEADLINE_SECONDS)

        assert (model.total, projector.status().error) == (3, None)


async def test_projector_that_waits_for_its_store_is_not_healthy_elsewhere() -> None:
    store = InMemoryStore()
    async with FaultyStore(store) as broken, running(broken) as projector:
        await wait_told(store, state=ProjectorState.LIVE)
        broken.fail("read_page", times=None)
        await count(store, 3)
        projector.look()

        noted = await wait_told(store, state=ProjectorState.WAITING)
        info = await Projections(store).show(Totals)

        assert "read_page" in (noted.error or "")
        assert not info.is_healthy
        broken.heal()
        await projector.wait_for(3, timeout_seconds=DEADLINE_SECONDS)
        await wait_told(store, state=ProjectorState.LIVE)
        assert (await Projections(store).show(Totals)).is_healthy


async def test_owner_is_named_by_machine_and_process(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path) as store, Backstory(store, projections=[Totals]) as story:
        await story.read_model(Totals, timeout_seconds=DEADLINE_SECONDS)
        owner: Any = story.projections.status(Totals).owner

        host, _, process = owner.rpartition(":")

        assert host
        assert process.isdecimal()
