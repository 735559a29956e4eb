"""Many actors, many senders, failures at random: every question is answered, in order."""

import asyncio
import gc
import random
import tracemalloc
from collections import Counter

import anyio
import anyio.lowlevel
import pytest

from backstory.actors import (
    Actor,
    ActorRef,
    ActorStoppedError,
    ActorSystem,
    Directive,
    MailboxFullError,
    SupervisionPolicy,
)

pytestmark = pytest.mark.anyio

SENDERS = 3
QUESTIONS = 10

POLICY = SupervisionPolicy(
    rules=(
        (ValueError, Directive.RESUME),
        (KeyError, Directive.RESTART),
        (Exception, Directive.STOP),
    ),
    restart_count_max=1_000,
    backoff_seconds=0.001,
)


class Worker(Actor):
    """Fails at random, in three ways; keeps what it was sent in a list that outlives it."""

    def __init__(self, seen: list[tuple[int, int]], chance: random.Random) -> None:
        self.seen = seen
        self.chance = chance

    async def work(self, sender: int, number: int) -> tuple[int, int]:
        self.seen.append((sender, number))
        for _ in range(self.chance.randrange(3)):
            await anyio.lowlevel.checkpoint()
        draw = self.chance.random()
        if draw < 0.001:
            raise RuntimeError
        if draw < 0.05:
            raise KeyError
        if draw < 0.1:
            raise ValueError
        return sender, number


@pytest.mark.parametrize(
    "actor_count", [20, pytest.param(1_000, marks=pytest.mark.slow)], ids="{} actors".format
)
async def test_every_question_is_answered_while_actors_crash(actor_count: int) -> None:
    chance = random.Random(actor_count)  # noqa: S311 - reproducible, and not for secrets
    seen: list[list[tuple[int, int]]] = [[] for _ in range(actor_count)]
    outcomes: Counter[str] = Counter()
    tasks = len(asyncio.all_tasks())

    async def send(ref: ActorRef[Worker], sender: int) -> None:
        for number in range(QUESTIONS):
            try:
                assert await ref.ask(Worker.work, sender, number) == (sender, number)
            except Exception as error:  # noqa: BLE001 - counted by what it is
                outcomes[type(error).__name__] += 1
            else:
                outcomes["answered"] += 1

    async with ActorSystem() as system:
        refs = [
            system.spawn(
                lambda book=book: Worker(book, chance),  # type: ignore[misc]  # mypy has no type for a default
                supervision=POLICY,
                mailbox_size=2,
            )
            for book in seen
        ]
        async with anyio.create_task_group() as senders:
            for ref in refs:
                for sender in range(SENDERS):
                    senders.start_soon(send, ref, sender)

    assert outcomes.total() == actor_count * SENDERS * QUESTIONS
    assert outcomes.keys() <= {
        *("answered", "KeyError", "ValueError", "RuntimeError"),
        "ActorStoppedError",
    }
    assert system.actors() == []
    assert len(asyncio.all_tasks()) == tasks
    for book in seen:
        for sender in range(SENDERS):
            numbers = [number for from_whom, number in book if from_whom == sender]
            assert numbers == list(range(len(numbers)))


class Slow(Actor):
    """Notes who has sent, and how much waited for it meanwhile."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    async def note(self, sender: int, number: int) -> None:
        self.seen.append((sender, number))
        if number % 10 == 0:
            await anyio.lowlevel.checkpoint()

    async def all_seen(self) -> list[tuple[int, int]]:
        return self.seen


@pytest.mark.parametrize(
    "count", [50, pytest.param(1_000, marks=pytest.mark.slow)], ids="100 senders of {}".format
)
async def test_slow_actor_slows_its_senders(count: int) -> None:
    depths: set[int] = set()

    async def send(ref: ActorRef[Slow], sender: int) -> None:
        for number in range(count):
            await ref.tell(Slow.note, sender, number)
            if number % 10 == 0:
                depths.add(system.actors()[0].mailbox_depth)

    async with ActorSystem() as system:
        ref = system.spawn(Slow, mailbox_size=10)
        async with anyio.create_task_group() as senders:
            for sender in range(100):
                senders.start_soon(send, ref, sender)
        seen = await ref.ask(Slow.all_seen)

    assert max(depths) <= 10
    assert len(seen) == 100 * count
    for sender in range(100):
        assert [n for from_whom, n in seen if from_whom == sender] == list(range(count))


async def test_what_is_refused_is_counted_and_what_is_taken_is_handled() -> None:
    refused = 0
    async with ActorSystem() as system:
        ref = system.spawn(Slow, mailbox_size=10)
        for number in range(5_000):
            try:
                ref.tell_nowait(Slow.note, 0, number)
            except MailboxFullError:
                refused += 1
            if number % 40 == 0:
                await anyio.lowlevel.checkpoint()
        seen = await ref.ask(Slow.all_seen)
        [status] = system.actors()

    assert 0 < refused < 5_000
    assert len(seen) + refused == 5_000
    assert status.refused_count == refused
    assert seen == sorted(seen)


async def test_idle_actor_is_small() -> None:
    async with ActorSystem() as system:
        refs = [system.spawn(Slow) for _ in range(10)]  # what is made once is made
        gc.collect()
        tracemalloc.start()
        try:
            refs += [system.spawn(Slow) for _ in range(500)]
            for ref in refs:
                await ref.ask(Slow.all_seen)
            gc.collect()
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert size / 500 < 2_000


class Account(Actor):
    """Has its balance from a shelf, and puts it back when it is dropped."""

    def __init__(self, shelf: dict[str, int]) -> None:
        self.shelf = shelf
        self.balance = 0

    async def started(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.balance = self.shelf.pop(self.context.name)

    async def stopped(self, error: Exception | None) -> None:
        await anyio.lowlevel.checkpoint()
        self.shelf[self.context.name] = self.balance

    async def pay_in(self, amount: int) -> int:
        if amount % 3 == 0:
            await anyio.lowlevel.checkpoint()
        self.balance += amount
        return self.balance


class Bank:
    """Finds or spawns the actor of an account, and drops those that are idle."""

    def __init__(self, system: ActorSystem, names: list[str], seed: int) -> None:
        self.system = system
        self.names = names
        self.chance = random.Random(seed)  # noqa: S311 - reproducible, and not for secrets
        self.shelf = dict.fromkeys(names, 0)
        self.living: dict[str, ActorRef[Account]] = {}
        self.paid: Counter[str] = Counter()
        self.drop_count = 0

    async def account(self, name: str) -> ActorRef[Account]:
        while name not in self.living:
            if (leaving := self.system.find(name)) is None:
                self.living[name] = self.system.spawn(lambda: Account(self.shelf), name=name)
            else:
                await leaving.wait_stopped()
        return self.living[name]

    async def pay_often(self) -> None:
        for _ in range(100):
            name, amount = self.chance.choice(self.names), self.chance.randrange(10)
            while not await self.pay(name, amount):
                pass
            self.paid[name] += amount

    async def pay(self, name: str, amount: int) -> bool:
        try:
            await (await self.account(name)).ask(Account.pay_in, amount)
        except ActorStoppedError as error:
            return error.outcome_unknown
        return True

    async def drop_often(self) -> None:
        while True:
            for name, ref in list(self.living.items()):
                if self.chance.random() < 0.5 and ref.stop_if_idle():
                    del self.living[name]
                    self.drop_count += 1
            await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("seed", range(5))
async def test_command_never_meets_an_actor_that_is_being_dropped(seed: int) -> None:
    names = [f"account-{number}" for number in range(5)]

    async with ActorSystem() as system:
        bank = Bank(system, names, seed)
        async with anyio.create_task_group() as dropping:
            dropping.start_soon(bank.drop_often)
            async with anyio.create_task_group() as payers:
                for _ in range(10):
                    payers.start_soon(bank.pay_often)
            dropping.cancel_scope.cancel()

    assert bank.drop_count > 20
    assert bank.shelf == {name: bank.paid[name] for name in names}
