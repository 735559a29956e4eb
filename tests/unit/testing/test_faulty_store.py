"""A faulty store fails where it is told to and nowhere else; what our protections are worth."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast, get_args

import anyio
import pytest
from tests.conftest import (
    DEADLINE_SECONDS,
    STORES,
    Counted,
    Counter,
    Noted,
    drain,
    noted,
    texts_of,
)

from backstory import (
    ANY,
    Aggregate,
    Backstory,
    EventStore,
    InvalidInputError,
    Projection,
    Receipt,
    StoreClosedError,
    StoreUnavailableError,
    VersionConflictError,
    on,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import FaultyStore, Verb

pytestmark = pytest.mark.anyio


async def append(store: EventStore, text: str = "a") -> Receipt:
    return await store.append("note-1", noted(text), expected_version=ANY)


async def answers_of(count: int, call: Callable[[], Awaitable[object]]) -> str:
    """Return a letter for each of several calls: `.` where it was done, `F` where it failed."""
    letters = ""
    for _ in range(count):
        try:
            await call()
        except StoreUnavailableError:
            letters += "F"
        else:
            letters += "."
    return letters


def test_every_method_that_a_store_supplies_can_be_struck() -> None:
    supplied = cast("set[str]", EventStore.__abstractmethods__) - {"open", "aclose"}

    assert set(get_args(Verb)) == supplied


async def test_next_call_fails_with_nothing_done() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.fail("commit")

        with pytest.raises(StoreUnavailableError, match="could not commit") as caught:
            await append(store)

        assert not caught.value.outcome_unknown
        assert await store.head() == 0
        assert (await append(store)).last_version == 1


@pytest.mark.parametrize(
    ("fault", "answers"),
    [
        ({}, "F....."),
        ({"at": 3}, "..F..."),
        ({"times": 2}, "FF...."),
        ({"at": 2, "times": 3}, ".FFF.."),
        ({"times": None}, "FFFFFF"),
        ({"at": 5, "times": None}, "....FF"),
    ],
)
async def test_fault_strikes_the_calls_that_it_names(fault: dict[str, Any], answers: str) -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.fail("head", **fault)

        assert await answers_of(6, store.head) == answers
        assert store.count("head") == 6
        assert await answers_of(1, lambda: append(store)) == "."


async def test_faults_of_one_verb_are_counted_apart() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.fail("head")
        store.fail("head", at=2)
        store.fail("head", at=4)

        assert await answers_of(6, store.head) == "FF.F.."


async def test_probability_is_drawn_from_the_seed() -> None:
    async def answers(seed: int) -> str:
        async with FaultyStore(InMemoryStore(), seed=seed) as store:
            store.fail("head", times=None, probability=0.5)
            return await answers_of(40, store.head)

    assert await answers(1) == await answers(1)
    assert await answers(1) != await answers(2)
    assert 5 < (await answers(1)).count("F") < 35


async def test_healed_store_fails_no_more() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.fail("head", times=None)
        store.lose_answer("commit", at=2)

        store.heal()

        assert await answers_of(3, store.head) == "..."
        assert await answers_of(3, lambda: append(store)) == "..."


async def test_calls_are_recorded_with_their_arguments() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.fail("commit")
        await answers_of(1, lambda: append(store))
        await store.wait_beyond(-1)

        assert [call.verb for call in store.calls] == ["commit", "wait_beyond"]
        assert store.calls[1].arguments == (-1,)


async def test_lost_answer_is_of_a_call_that_was_done() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.lose_answer("commit")
        store.lose_answer("head")

        with pytest.raises(StoreUnavailableError) as caught:
            await append(store)
        with pytest.raises(StoreUnavailableError) as of_a_read:
            await store.head()

        assert caught.value.outcome_unknown
        assert not of_a_read.value.outcome_unknown
        assert await store.head() == 1


async def test_refusal_is_not_lost_with_the_answer() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.lose_answer("commit")

        with pytest.raises(VersionConflictError):
            await store.append("note-1", noted("a"), expected_version=7)


async def test_delayed_call_waits_to_be_released() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        delay = store.delay("commit")
        done: list[Receipt] = []

        async def append_late() -> None:
            done.append(await append(store, "late"))

        with anyio.fail_after(DEADLINE_SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(append_late)
                await delay.wait_reached()
                await append(store, "early")
                assert not done
                delay.release()

        assert texts_of(await drain(store.read_log())) == ["early", "late"]


async def test_crashed_store_is_down_until_it_is_opened() -> None:
    store = FaultyStore(InMemoryStore())
    async with store:
        await append(store)

        store.crash()

        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="down until it is opened"):
                await drain(store.read_log())
        await store.open()
        assert texts_of(await drain(store.read_log())) == ["a"]
    with pytest.raises(StoreClosedError):
        await store.head()


@pytest.mark.parametrize(("is_done", "head"), [(False, 0), (True, 1)])
async def test_crash_in_a_commit_leaves_its_outcome_unknown(*, is_done: bool, head: int) -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.crash_at("commit", is_done=is_done)

        with pytest.raises(StoreUnavailableError) as caught:
            await append(store)

        assert caught.value.outcome_unknown
        with pytest.raises(StoreUnavailableError):
            await store.head()
        await store.open()
        assert await store.head() == head


async def test_crash_ends_what_is_under_way() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        delay = store.delay("commit")
        errors: list[StoreUnavailableError] = []

        async def expect_failure(call: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(StoreUnavailableError) as caught:
                await call()
            errors.append(caught.value)

        with anyio.fail_after(DEADLINE_SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(expect_failure, lambda: store.wait_beyond(0))
                group.start_soon(expect_failure, lambda: append(store))
                await delay.wait_reached()
                await anyio.wait_all_tasks_blocked()
                store.crash()

        assert sorted(error.outcome_unknown for error in errors) == [False, True]


@pytest.mark.parametrize(
    "fault", [{"verb": "append"}, {"at": 0}, {"at": True}, {"times": 0}, {"times": -1}]
)
async def test_fault_that_could_never_strike_is_refused(fault: dict[str, Any]) -> None:
    store = FaultyStore(InMemoryStore())

    with pytest.raises(InvalidInputError):
        store.fail(fault.pop("verb", "commit"), **fault)


# What our protections are worth, shown with it.


async def test_repeated_append_whose_answer_was_lost_gets_the_first_receipt(
    tmp_path: Path, store_name: str
) -> None:
    async with FaultyStore(STORES[store_name](tmp_path, None)) as store:
        events = noted("a", "b")
        store.lose_answer("commit", times=2)

        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await store.append("note-1", events, expected_version=0)
        receipt = await store.append("note-1", events, expected_version=0)

        assert (receipt.first_version, receipt.last_version) == (1, 2)
        assert texts_of(await drain(store.read_log())) == ["a", "b"]


async def test_repeated_command_whose_answer_was_lost_happens_once() -> None:
    async with FaultyStore(InMemoryStore()) as store, Backstory(store) as story:
        store.lose_answer("commit")
        request = story.using(idempotency_key="order 7")

        with pytest.raises(StoreUnavailableError):
            await request.execute(Counter.count, "c", by=5)
        total = await request.execute(Counter.count, "c", by=5)

        assert total == 5
        assert [event.data for event in await drain(story.replay())] == [Counted(by=5)]


@pytest.mark.parametrize("is_done", [False, True])
async def test_command_repeated_after_a_crash_happens_once(
    tmp_path: Path, *, is_done: bool
) -> None:
    async with FaultyStore(STORES["sqlite"](tmp_path, None)) as store:
        async with Backstory(store) as story:
            store.crash_at("commit", is_done=is_done)
            with pytest.raises(StoreUnavailableError):
                await story.using(idempotency_key="k").execute(Counter.count, "c", by=5)

        await store.open()
        async with Backstory(store) as story:
            assert await story.using(idempotency_key="k").execute(Counter.count, "c", by=5) == 5
            assert (await story.load(Counter, "c")).total == 5


class Notes(Projection):
    """The texts that were noted."""

    texts: list[str] = []

    @on(Noted)
    def _noted(self, event: Noted) -> None:
        self.texts.append(event.text)


async def test_checkpoint_that_cannot_be_saved_costs_time_and_no_event() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.fail("put_progress", times=None)
        async with Backstory(store, projections=[Notes]) as story:
            await append(store, "a")
            assert (await story.read_model(Notes)).texts == ["a"]
        assert store.count("put_progress") == 1

        async with Backstory(store, projections=[Notes]) as story:
            await append(store, "b")
            assert (await story.read_model(Notes)).texts == ["a", "b"]


class Remembered(Aggregate, category="remembered", snapshot_every=1):
    """Takes a snapshot after every event."""

    count: int = 0

    def note(self) -> int:
        self.emit(Noted())
        return self.count

    @on(Noted)
    def _noted(self, event: Noted) -> None:
        self.count += 1


async def test_snapshot_that_cannot_be_saved_costs_time_and_no_event() -> None:
    async with FaultyStore(InMemoryStore()) as store:
        store.fail("put_snapshot", times=None)

        for expected in (1, 2, 3):
            async with Backstory(store) as story:
                assert await story.execute(Remembered.note, "r") == expected

        assert store.count("put_snapshot") == 3
