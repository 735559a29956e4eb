"""`Backstory`: the parts wired together, and taken apart again in order."""

import threading
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, Counter, Noted, drain, noted, unchecked

from backstory import (
    ANY,
    Aggregate,
    Backstory,
    ConfigurationError,
    DecodeError,
    EventStore,
    InvalidInputError,
    NewEvent,
    OnFailure,
    Projection,
    ProjectionFailedError,
    RawEvent,
    StoreClosedError,
    derive_event_id,
    on,
    where,
)
from backstory._fingerprint import fingerprint_of
from backstory.stores.in_memory import InMemoryStore

pytestmark = pytest.mark.anyio


class Totals(Projection):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


class Fragile(Projection, on_failure=OnFailure.STOP, attempt_count_max=1):
    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += 100 // event.by


class Often(Aggregate, category="often", snapshot_every=2):
    total: int = 0

    def count(self) -> int:
        self.emit(Counted())
        return self.total

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


async def test_read_model_has_seen_our_own_last_append(store: EventStore) -> None:
    async with Backstory(store, projections=[Totals]) as story:
        for number in range(1, 20):
            await story.execute(Counter.count, "1")
            assert (await story.read_model(Totals)).total == number


async def test_read_model_is_shown_as_it_was(store: EventStore) -> None:
    async with Backstory(store) as story:
        for _ in range(3):
            await story.execute(Counter.count, "1")
        positions = [recorded.position async for recorded in story.read_log()]

        for number, position in enumerate(positions, 1):
            assert (await story.read_model(Totals, at_position=position)).total == number
        assert (await story.read_model(Totals, at_position=0)).total == 0


async def test_projection_that_is_not_registered_is_refused(store: EventStore) -> None:
    async with Backstory(store) as story:
        with pytest.raises(ConfigurationError, match=r"projections=\[Totals\]"):
            await story.read_model(Totals)


async def test_two_projections_of_one_name_are_refused(store: EventStore) -> None:
    class Other(Projection, name="Totals"):
        pass

    with pytest.raises(ConfigurationError, match="two projections are called 'Totals'"):
        Backstory(store, projections=[Totals, Other])


async def test_failed_projection_fails_its_readers_only(store: EventStore) -> None:
    async with Backstory(store, projections=[Fragile, Totals]) as story:
        await story.execute(Counter.count, "1", 0)

        with pytest.raises(ProjectionFailedError):
            await story.read_model(Fragile)
        await story.execute(Counter.count, "1", 5)
        assert (await story.read_model(Totals)).total == 5


async def test_levels_below_are_reached_through_it(store: EventStore) -> None:
    async with Backstory(store) as story:
        counter = await story.load(Counter, "1")
        counter.count(2)
        receipt = await story.save(counter)
        with story.using(actor="ada"):
            await story.execute(Counter.count, "1")
        past = await story.load(Counter, "1", at_version=1)
        stream = await drain(story.read_stream("counter-1", where=where(actor="ada")))

        assert receipt is not None
        assert (past.total, len(stream)) == (2, 1)
        assert story.store is store
        assert story.repository.store is store
        async with story.subscribe(after_position=receipt.last_position) as subscription:
            with anyio.fail_after(DEADLINE_SECONDS):
                assert (await anext(subscription)).metadata.actor == "ada"


async def test_replay_decodes_before_it_hands_out(store: EventStore) -> None:
    future = NewEvent.raw("x.future", b'{"a":1}', event_id=derive_event_id("x"))
    damaged = unchecked(derive_event_id("y"), "test:counted", 1, b'{"by":"x"}', b"{}")
    for event in (*noted("a"), future, damaged):
        await store.append("note-1", [event], expected_version=ANY)

    async with Backstory(store) as story:
        events = story.replay()
        assert (await anext(events)).data == Noted(text="a")
        assert (await anext(events)).data == RawEvent(content={"a": 1})
        with pytest.raises(DecodeError, match="version 3 of stream 'note-1'"):
            await anext(events)
        backward = await drain(story.replay(backward=True, until_position=2, limit=1))
        assert [recorded.position for recorded in backward] == [2]
        assert len(await drain(story.read_log())) == 3


async def test_snapshots_are_saved_before_the_block_is_left(store: EventStore) -> None:
    async with Backstory(store) as story:
        for _ in range(5):
            await story.execute(Often.count, "1")

    snapshot = await store.load_snapshot("often-1", fingerprint=fingerprint_of(Often))
    assert snapshot is not None
    assert snapshot.version >= 4


async def test_checkpoints_are_saved_when_the_block_is_left(store: EventStore) -> None:
    async with Backstory(store, projections=[Totals]) as story:
        await story.execute(Counter.count, "1")
        await story.read_model(Totals)

    checkpoint = await store.load_checkpoint("Totals")
    assert checkpoint is not None
    assert checkpoint.position == await store.head()


async def test_store_that_was_open_stays_open(store: EventStore) -> None:
    async with Backstory(store):
        pass

    assert await store.head() == 0


async def test_store_that_is_not_open_is_refused_at_the_door() -> None:
    with pytest.raises(ConfigurationError, match="async with store, Backstory"):
        async with Backstory(InMemoryStore()):
            raise AssertionError("the block was entered")


async def test_read_only_story_reads_and_creates_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/story.db"
    with pytest.raises(ConfigurationError, match="there is no store"):
        await Backstory(url, read_only=True).__aenter__()
    async with Backstory(url) as story:
        await story.execute(Counter.count, "1", 5)

    async with Backstory(url, read_only=True, projections=[Totals]) as story:
        assert (await story.load(Counter, "1")).total == 5
        assert (await story.read_model(Totals)).total == 5
        with pytest.raises(ConfigurationError, match="read-only"):
            await story.execute(Counter.count, "1", 5)


async def test_store_of_a_url_is_closed_with_the_block(tmp_path: Path) -> None:
    threads = threading.active_count()

    async with Backstory(f"sqlite:///{tmp_path}/story.db", projections=[Totals]) as story:
        await story.execute(Counter.count, "1")

    with pytest.raises(StoreClosedError):
        await story.store.head()
    assert threading.active_count() == threads


async def test_block_can_be_entered_again_after_it_was_left(tmp_path: Path) -> None:
    story = Backstory(f"sqlite:///{tmp_path}/story.db", projections=[Totals])

    for number in (1, 2, 3):
        async with story:
            await story.execute(Counter.count, "1")
            assert (await story.read_model(Totals)).total == number


async def test_block_cannot_be_entered_twice_at_a_time() -> None:
    story = Backstory("memory://")

    async with story:
        with pytest.raises(ConfigurationError, match="open already"):
            async with story:
                pass
        assert await story.store.head() == 0


async def test_outside_of_the_block_nothing_works() -> None:
    story = Backstory("memory://", projections=[Totals])

    for call in (
        lambda: story.execute(Counter.count, "1"),
        lambda: story.load(Counter, "1"),
        lambda: story.read_model(Totals),
    ):
        with pytest.raises(StoreClosedError):
            await call()


async def test_error_in_the_block_leaves_it_unwrapped(tmp_path: Path) -> None:
    threads = threading.active_count()

    with pytest.raises(ZeroDivisionError):
        async with Backstory(f"sqlite:///{tmp_path}/story.db", projections=[Totals]):
            raise ZeroDivisionError

    assert threading.active_count() == threads


async def test_cancelled_block_closes_its_store(tmp_path: Path) -> None:
    threads = threading.active_count()
    story = Backstory(f"sqlite:///{tmp_path}/story.db", projections=[Totals])

    with anyio.CancelScope() as limit:
        async with story:
            await story.execute(Counter.count, "1")
            limit.cancel()
            await anyio.sleep_forever()

    assert limit.cancelled_caught
    with pytest.raises(StoreClosedError):
        await story.store.head()
    assert threading.active_count() == threads


@pytest.mark.parametrize("attempt_count_max", [0, True, 1.5])
async def test_unfit_setting_is_refused_before_anything_opens(
    tmp_path: Path, attempt_count_max: Any
) -> None:
    with pytest.raises(InvalidInputError):
        Backstory(f"sqlite:///{tmp_path}/story.db", attempt_count_max=attempt_count_max)

    assert not (tmp_path / "story.db").exists()


async def test_store_that_cannot_open_is_told_at_the_door(tmp_path: Path) -> None:
    (tmp_path / "story.db").write_bytes(b"this is no database" * 100)
    threads = threading.active_count()

    with pytest.raises(Exception, match="story"):
        async with Backstory(f"sqlite:///{tmp_path}/story.db", projections=[Totals]):
            pass

    assert threading.active_count() == threads


async def test_projectors_end_with_the_block() -> None:
    store = InMemoryStore()
    async with store:
        async with Backstory(store, projections=[Totals]) as story:
            await story.read_model(Totals)
        async with Backstory(store, projections=[Totals]) as story:
            await story.execute(Counter.count, "1")
            assert (await story.read_model(Totals)).total == 1
