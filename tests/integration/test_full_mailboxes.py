"""A store that does not get on, and ever more commands: mailboxes stay bounded, all are answered.

The store is held at a commit until the test lets it go. Meanwhile more commands are sent to one
aggregate than its mailbox holds; those who send wait in line, or are told that there is no room.
"""

import gc
import tracemalloc
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted
from tests.faults.account import faults
from tests.integration.test_cancellation import Watched

from backstory import (
    Aggregate,
    Backstory,
    EventStore,
    StoreClosedError,
    StoreUnavailableError,
    on,
)
from backstory.actors import Actor, ActorRef, ActorSystem, MailboxFullError, Overflow
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio

CAPACITY = 1_000
"""How many messages a mailbox holds when nothing else is said."""
SENDERS = 2_500


class Till(Aggregate, category="till", snapshot_every=0):
    """Counts, and is the same size however often it has."""

    total: int = 0

    def count(self) -> int:
        self.emit(Counted())
        return self.total

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


def depths(story: Backstory) -> dict[str, int]:
    """Return how many commands wait in the mailbox of each live aggregate."""
    return {one.stream_id: one.mailbox_depth for one in story.live_aggregates()}


async def wait_held(held: FaultyStore, count: int) -> None:
    """Return when so many commits have begun, and nothing goes on any more."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while held.count("commit") < count:
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()


@pytest.mark.parametrize(
    "commands", [3_000, pytest.param(100_000, marks=pytest.mark.slow)], ids="{:,} commands".format
)
@pytest.mark.fault("T30", "T25", without="the bound of a mailbox, and the room that is passed on")
async def test_commands_at_a_store_that_is_held_wait_in_line_and_are_all_answered(
    store: EventStore, commands: int
) -> None:
    count = commands if isinstance(store, InMemoryStore) else max(commands // 10, SENDERS)
    held, seen, numbers = FaultyStore(store), Counter[str](), iter(range(count))
    answers: dict[str, list[int]] = {"till-hot": [], "till-cold": []}
    delay = held.delay("commit", times=2)  # the first one of each till

    async def send(story: Backstory) -> None:
        for number in numbers:
            id = "cold" if number % 50 == 1 else "hot"
            answers[f"till-{id}"].append(await story.execute(Till.count, id))
            seen.update(f"{one} is too deep" for one, d in depths(story).items() if d > CAPACITY)
            held.calls.clear()  # which would grow with the commands

    async with Backstory(held) as story, anyio.create_task_group() as group:
        for _ in range(SENDERS):
            group.start_soon(send, story)
        await wait_held(held, 2)
        assert depths(story) == {"till-hot": CAPACITY, "till-cold": SENDERS // 50 - 1}
        assert answers == {"till-hot": [], "till-cold": []}
        faults.count(count)
        delay.release()

    hot, cold = answers["till-hot"], answers["till-cold"]
    assert sorted(hot) == list(range(1, len(hot) + 1))
    assert sorted(cold) == list(range(1, len(cold) + 1))
    assert len(hot) + len(cold) == count == await store.head()
    assert seen == Counter()


class Clerk(Actor):
    """Counts at a till, one time for each message."""

    def __init__(self, story: Backstory) -> None:
        self.story = story

    async def count(self) -> None:
        await self.story.execute(Till.count, "1")


@pytest.mark.parametrize(
    "messages", [3_000, pytest.param(100_000, marks=pytest.mark.slow)], ids="{:,} messages".format
)
@pytest.mark.fault("T30", store="in_memory", without="the bound of a mailbox")
async def test_teller_waits_for_room_and_memory_does_not_grow(messages: int) -> None:
    told, refused, sizes = 0, 0, list[int]()
    store = FaultyStore(InMemoryStore())
    delay = store.delay("commit")

    async def tell(clerk: ActorRef[Clerk]) -> None:
        nonlocal told
        for _ in range(messages):
            await clerk.tell(Clerk.count)
            told += 1

    async with store, Backstory(store) as story, ActorSystem() as system:
        clerk: ActorRef[Clerk] = system.spawn(lambda: Clerk(story))
        async with anyio.create_task_group() as group:
            group.start_soon(tell, clerk)
            await delay.wait_reached()
            await anyio.wait_all_tasks_blocked()
            assert told == CAPACITY + 1  # one is being handled
            with traced(sizes):
                for _ in range(messages):
                    try:
                        clerk.tell_nowait(Clerk.count)
                    except MailboxFullError:
                        refused += 1
            (status,) = system.actors()
            assert (status.mailbox_depth, status.refused_count) == (CAPACITY, messages)
            faults.count(messages)
            delay.release()
        await clerk.stop()

        assert (told, refused) == (messages, messages)
        assert await store.head() == messages
        assert system.dead_letters.count == 0
    assert max(sizes) < 100_000


@contextmanager
def traced(sizes: list[int]) -> Generator[None]:
    """Note by how many bytes memory has grown in a block."""
    gc.collect()
    tracemalloc.start()
    try:
        yield
        gc.collect()
        sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()


@pytest.mark.fault("T30", store="in_memory", without="the count of those that were refused")
async def test_mailbox_that_refuses_says_so_to_each_and_counts_them() -> None:
    store = FaultyStore(InMemoryStore())
    delay = store.delay("commit")
    outcomes = Counter[str]()

    async def send(clerk: ActorRef[Clerk], number: int) -> None:
        try:
            await (clerk.tell(Clerk.count) if number % 2 else clerk.ask(Clerk.count))
        except MailboxFullError as error:
            outcomes[f"refused at {error.capacity}"] += 1
        else:
            outcomes["done"] += 1

    async with store, Backstory(store) as story, ActorSystem() as system:
        clerk: ActorRef[Clerk] = system.spawn(
            lambda: Clerk(story), mailbox_size=10, overflow=Overflow.REFUSE
        )
        async with anyio.create_task_group() as group:
            group.start_soon(send, clerk, 0)
            await delay.wait_reached()
            for number in range(1, 1_000):
                group.start_soon(send, clerk, number)
            await anyio.wait_all_tasks_blocked()
            (status,) = system.actors()
            faults.count(status.refused_count)
            assert status.refused_count == 989
            delay.release()

    assert outcomes == {"done": 11, "refused at 10": 989}
    assert store.count("commit") == 11


@pytest.mark.fault("T30", 29, without="the answer to those whose actor was cancelled")
async def test_block_that_is_cancelled_while_its_mailboxes_are_full_answers_everybody(
    store: EventStore,
) -> None:
    watched, held = Watched(), FaultyStore(store)
    held.delay("commit", times=None)
    story, outcomes = Backstory(held), Counter[str]()

    async def send() -> None:
        try:
            await story.execute(Till.count, "hot")
        except StoreClosedError:
            outcomes["not begun"] += 1
        except StoreUnavailableError as error:
            outcomes[f"unknown: {error.outcome_unknown}"] += 1

    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as outside:
            with anyio.CancelScope() as scope:
                async with story:
                    for _ in range(SENDERS):
                        outside.start_soon(send)
                    await wait_held(held, 1)
                    assert depths(story) == {"till-hot": CAPACITY}
                    faults.count(SENDERS)
                    scope.cancel()

    assert outcomes == {"not begun": SENDERS - 1, "unknown: True": 1}
    await watched.check()
    async with Backstory(store) as again:
        assert await again.execute(Till.count, "hot") == 1
