"""Aggregates that stay loaded: under many callers, other writers, failures and cancellation."""

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.benchmarks.row import percentile
from tests.conftest import (
    DEADLINE_SECONDS,
    STORES,
    Counted,
    Counter,
    TooMuchError,
    drain,
    new_event,
)
from tests.faults.account import faults
from tests.integration.commanding import SHARED_EVERY, Told
from tests.integration.process import finish, start
from tests.integration.test_cancellation import STEPS, WAITS_MAX

from backstory import (
    ANY,
    Backstory,
    EventStore,
    Repository,
    Scope,
    StoreUnavailableError,
    store_of,
    where,
)
from backstory._aggregate_actor import AggregateActor
from backstory.actors import ActorRef
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio


def scaled(store: EventStore, count: int) -> int:
    """Return how many of something a test has time for: fewer where each append is synced."""
    return count if isinstance(store, InMemoryStore) else count // 10


@pytest.mark.slow
@pytest.mark.fault(10, "T25", without="the actor between the writers and the stream")
async def test_many_writers_of_one_stream_wait_in_turn_and_none_conflicts(
    store: EventStore,
) -> None:
    counted = FaultyStore(store)
    each = scaled(store, 50)
    overtaken: list[int] = []

    async def write(story: Backstory) -> None:
        for _ in range(each):
            before = len(overtaken)
            await story.execute(Counter.count, "hot")
            overtaken.append(len(overtaken) - before)

    async with Backstory(counted) as story, anyio.create_task_group() as group:
        faults.count(200)
        for _ in range(200):
            group.start_soon(write, story)

    assert (await Repository(store).load(Counter, "hot")).total == 200 * each
    assert counted.count("commit") == 200 * each
    # How many others were answered while one waited: nobody waits much longer than most.
    assert percentile(overtaken, 0.99) < 10 * percentile(overtaken, 0.5)


def worth(number: int) -> int:
    """Return what a command counts by; few of them the same."""
    return number % 997 + 1


@pytest.mark.slow
@pytest.mark.fault("T13", without="the look for the key")
async def test_commands_that_come_again_take_effect_once(store: EventStore) -> None:
    command_count = scaled(store, 10_000)
    chance = random.Random(13)  # noqa: S311 - reproducible, and not for secrets
    commands = [number for number in range(command_count) for _ in range(chance.randint(1, 3))]
    chance.shuffle(commands)
    faults.count(len(commands) - command_count)
    answers: dict[int, set[int]] = {number: set() for number in range(command_count)}
    waiting = iter(commands)

    async def send(story: Backstory) -> None:
        for number in waiting:
            scope = story.using(idempotency_key=f"command {number}")
            answers[number].add(await scope.execute(Counter.count, str(number % 50), worth(number)))

    async with Backstory(store) as story, anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(send, story)

    for id in range(50):
        own = range(id, command_count, 50)
        counter = await Repository(store).load(Counter, str(id))
        assert sorted(counter.steps) == sorted(map(worth, own))
        assert all(len(answers[number]) == 1 for number in own)


def stop_some(story: Backstory, chance: random.Random) -> None:
    """Stop an actor by its name, whatever it is doing."""
    loaded = story.live_aggregates()
    actor = story._live._system.find(chance.choice(loaded).stream_id) if loaded else None  # pyright: ignore[reportPrivateUsage]  # nobody can from outside
    if actor is not None:
        actor.stop_nowait()


async def insist(scope: Scope, id: str, expected: int) -> None:
    """Send a command until it is answered, and hold the answer to what it is to be."""
    while True:
        try:
            assert await scope.execute(Counter.count, id) == expected
        except StoreUnavailableError:
            faults.count()
        else:
            return


def left_over(*classes: type) -> list[object]:
    """Return the objects of some classes that are still there."""
    gc.collect()
    return [one for one in gc.get_objects() if type(one) in classes]


@pytest.mark.fault("T28", "T29", store="in_memory", without="the drop of what failed")
@pytest.mark.slow
async def test_every_command_is_answered_and_none_applied_twice_while_everything_fails() -> None:
    aggregate_count, command_count = 1_000, 100
    store = FaultyStore(InMemoryStore())
    store.fail("commit", times=None, probability=0.02)
    store.lose_answer("commit", times=None, probability=0.02)
    store.fail("read_stream_page", times=None, probability=0.01)
    chance = random.Random(29)  # noqa: S311 - as above
    tasks = asyncio.all_tasks()

    ids = iter(range(aggregate_count))
    faults.count(aggregate_count)  # each meets some of them

    async def command(story: Backstory) -> None:
        for id in ids:
            for number in range(1, command_count + 1):
                await insist(story.using(idempotency_key=str(number)), str(id), number)
                if chance.random() < 0.01:
                    stop_some(story, chance)
                    store.calls.clear()

    async with store:
        # Those that are done leave while others are at work.
        async with (
            Backstory(store, live_aggregates_max=200, idle_seconds=0.05) as story,
            anyio.create_task_group() as group,
        ):
            for _ in range(120):
                group.start_soon(command, story)
        store.heal()
        assert await store.head() == aggregate_count * command_count

    assert faults.injected > 1_000
    assert asyncio.all_tasks() == tasks
    assert left_over(AggregateActor, Counter, ActorRef) == []


@pytest.mark.slow
async def test_ten_thousand_idle_aggregates_are_small_and_leave_nothing() -> None:
    async def look(story: Backstory, first: int) -> None:
        for number in range(first, first + 10_000):
            await story.execute(Counter.look, str(number))

    async with InMemoryStore() as store:
        async with Backstory(store) as story:
            await look(story, 0)
        state_bytes = await anyio.to_thread.run_sync(bytes_of_states, 10_000)
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            async with Backstory(store) as story:
                await look(story, 10_000)
                gc.collect()
                live, _ = tracemalloc.get_traced_memory()
                assert len(story.live_aggregates()) == 10_000
            del story
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert (live - before - state_bytes) / 10_000 < 4_000
    assert after - before < 100_000


def bytes_of_states(count: int) -> int:
    """Return how much so many aggregates take by themselves."""
    tracemalloc.start()
    try:
        states = [Counter.blank(str(number)) for number in range(count)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(states) == count
    return taken


@pytest.mark.fault(28, "T31", without="the look for what a key has recorded")
@pytest.mark.parametrize("way", STEPS)
async def test_command_that_is_cancelled_anywhere_takes_effect_once_or_not(
    store: EventStore, way: str
) -> None:
    expected = 0
    async with Backstory(store) as story:
        for at in range(1, WAITS_MAX):
            scope = story.using(idempotency_key=f"key {at}")
            is_cancelled = await STEPS[way](partial(scope.execute, Counter.count, "1"), at)

            expected += 1
            with anyio.fail_after(DEADLINE_SECONDS):
                assert await story.execute(Counter.look, "1") in (expected - 1, expected)
                assert await scope.execute(Counter.count, "1") == expected
                assert await story.execute(Counter.look, "1") == expected
            if not is_cancelled:
                break
        else:
            pytest.fail("it never ended undisturbed")

    events = await drain(store.read_stream("counter-1"))
    assert [event.version for event in events] == list(range(1, expected + 1))


async def test_two_programs_never_answer_from_the_past(store_name: str, tmp_path: Path) -> None:
    make_store = STORES[store_name]
    async with make_store(tmp_path, None) as store:
        # Two handles to one log, or the same store twice.
        twin = store if store_name == "in_memory" else make_store(tmp_path, None)
        async with Backstory(store) as ours:
            if twin is not store:
                await twin.open()
            async with Backstory(twin) as theirs:
                await interleave(ours, theirs)
            if twin is not store:
                await twin.aclose()


async def interleave(ours: Backstory, theirs: Backstory) -> None:
    """Let two programs do this and that on three aggregates, and hold each answer to a model."""
    chance = random.Random(5)  # noqa: S311 - as above
    totals = {"a": 0, "b": 0, "c": 0}
    for _ in range(300):
        story, id = chance.choice([ours, theirs]), chance.choice("abc")
        match chance.choice(["count", "look", "refuse", "append", "load"]):
            case "count":
                totals[id] += 1
                assert await story.execute(Counter.count, id) == totals[id]
            case "look":
                assert await story.execute(Counter.look, id) == totals[id]
            case "refuse":
                with pytest.raises(TooMuchError, match=f"is at {totals[id]}$"):
                    await story.execute(Counter.count, id, 2_000_000)
            case "append":
                totals[id] += 5
                event = new_event(Counted(by=5))
                await story.store.append(f"counter-{id}", [event], expected_version=ANY)
            case _:
                assert (await story.load(Counter, id)).total == totals[id]


async def test_two_processes_never_decide_on_the_past(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    players = [start("player.py", path, *names, 20) for names in (("ada", "bob"), ("bob", "ada"))]
    versions: list[list[int]] = []

    async def wait(player: Any) -> None:
        versions.append(await anyio.to_thread.run_sync(finish, player))

    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:
            for player in players:
                group.start_soon(wait, player)

    assert sorted(versions) == [list(range(1, 41, 2)), list(range(2, 41, 2))]


@pytest.mark.slow
@pytest.mark.fault(10, "T13", without="the look for what the other process has appended")
async def test_two_processes_with_shared_aggregates_answer_every_command_once(
    url_of: Callable[[str], str],
) -> None:
    url, task_count, command_count = url_of("story"), 50, 20
    async with store_of(url):
        pass  # there is something to share before they begin
    said: list[Any] = []

    async def wait(process: Any) -> None:
        said.extend(await anyio.to_thread.run_sync(finish, process))

    async with anyio.create_task_group() as group:
        for name in ("ada", "bob"):
            group.start_soon(wait, start("commanding.py", url, name, task_count, command_count))

    ada, bob = said
    faults.count(ada["commits"] + bob["commits"])
    async with store_of(url, read_only=True) as store:
        heard = {
            recorded.data.key: recorded.version
            async for recorded in store.read_log(where=where(types=[Told]))
            if isinstance(recorded.data, Told)
        }
        head = await store.head()
    assert len(ada["answers"]) == len(bob["answers"]) == task_count * command_count
    assert ada["answers"] | bob["answers"] == bob["answers"] | ada["answers"] == heard
    assert len(heard) == head == task_count * (2 * command_count - command_count // SHARED_EVERY)
    assert ada["late"] == bob["late"] == 0
    assert ada["commits"] + bob["commits"] > head  # some were overtaken, and decided again
