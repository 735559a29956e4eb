"""The same thing asked for again happens once, and is answered the same."""

import random
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.conftest import Counted, Noted, drain, new_event
from tests.faults.account import faults

from backstory import (
    ANY,
    Aggregate,
    Backstory,
    Decision,
    DomainError,
    DuplicateEventError,
    Event,
    EventFilter,
    EventStore,
    NewEvent,
    Repository,
    StoreUnavailableError,
    derive_event_id,
    on,
    where,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio


class Account(Aggregate, category="account", snapshot_every=1):
    """Takes a snapshot after each command, so that a wrong one would be found at once."""

    balance: int = 0

    def deposit(self, amount: int) -> int:
        self.emit(Counted(by=amount))
        return self.balance

    def deposit_twice(self, amount: int) -> int:
        self.emit(Counted(by=amount))
        self.emit(Counted(by=amount))
        return self.balance

    def remark(self, text: str) -> str:
        self.emit(Noted(text=text))
        return text

    def look(self) -> int:
        return self.balance

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.balance += event.by


async def deposit(repository: Repository, key: str, amount: int = 1) -> int:
    return await repository.using(idempotency_key=key).execute(Account.deposit, "1", amount)


async def versions(repository: Repository) -> list[int]:
    return [event.version for event in await drain(repository.store.read_stream("account-1"))]


async def test_command_with_a_key_takes_effect_once(store: EventStore) -> None:
    repository = Repository(store)

    assert [await deposit(repository, "k", 5) for _ in range(3)] == [5, 5, 5]

    assert await versions(repository) == [1]


async def test_first_answer_is_given_after_the_state_moved_on(store: EventStore) -> None:
    repository = Repository(store)
    assert await deposit(repository, "k", 5) == 5
    assert await deposit(repository, "l", 7) == 12

    assert await deposit(repository, "k", 5) == 5

    assert (await repository.load(Account, "1")).balance == 12


async def test_same_key_on_another_aggregate_is_another_request(store: EventStore) -> None:
    repository = Repository(store)
    scope = repository.using(idempotency_key="k")

    assert await scope.execute(Account.deposit, "1", 5) == 5
    assert await scope.execute(Account.deposit, "2", 6) == 6


@pytest.mark.fault("T12", without="the look for what a key has recorded")
async def test_lost_answer_is_had_by_asking_again(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, append = Repository(store), store.append
    with monkeypatch.context() as lossy:

        async def lose(*arguments: object, **keywords: object) -> None:
            faults.count()
            await append(*arguments, **keywords)  # type: ignore[arg-type]  # passed on as it came
            raise StoreUnavailableError(
                store="any", attempted="append", reason="gone", outcome_unknown=True
            )

        lossy.setattr(store, "append", lose)
        with pytest.raises(StoreUnavailableError):
            await deposit(repository, "k", 5)

    assert await deposit(repository, "k", 5) == 5
    assert await versions(repository) == [1]


@pytest.mark.parametrize("later", [0, 1, 2])
async def test_key_used_for_another_command_is_refused(store: EventStore, later: int) -> None:
    repository = Repository(store)
    scope = repository.using(idempotency_key="k")
    await scope.execute(Account.deposit, "1", 5)
    for _ in range(later):
        # Looks like the second event of the command that comes below.
        await repository.execute(Account.deposit, "1", 5)
    before = await versions(repository)

    for call in (
        lambda: scope.execute(Account.deposit, "1", 6),
        lambda: scope.execute(Account.remark, "1", "a"),
        lambda: scope.execute(Account.deposit_twice, "1", 5),
        lambda: scope.execute(Account.look, "1"),
    ):
        with pytest.raises(DuplicateEventError, match="'k' was used for another command"):
            await call()

    assert await versions(repository) == before


async def test_key_of_a_longer_command_is_refused_for_a_shorter(store: EventStore) -> None:
    repository = Repository(store)
    scope = repository.using(idempotency_key="k")
    await scope.execute(Account.deposit_twice, "1", 5)

    with pytest.raises(DuplicateEventError):
        await scope.execute(Account.deposit, "1", 5)

    assert await scope.execute(Account.deposit_twice, "1", 5) == 10


async def test_command_that_decided_nothing_runs_again(store: EventStore) -> None:
    repository = Repository(store)
    scope = repository.using(idempotency_key="k")
    assert await scope.execute(Account.look, "1") == 0
    await deposit(repository, "l", 5)

    assert await scope.execute(Account.look, "1") == 5


async def test_same_request_by_another_actor_is_the_same(store: EventStore) -> None:
    repository = Repository(store)

    for actor in ("ada", "bob"):
        scope = repository.using(idempotency_key="k", actor=actor)
        assert await scope.execute(Account.deposit, "1", 5) == 5

    (event,) = await drain(store.read_log())
    assert event.metadata.actor == "ada"


@pytest.mark.parametrize("delay", range(12))
@pytest.mark.parametrize("rivals", [0, 2])
@pytest.mark.fault("T12", without="the look whether a receipt is a repetition's")
async def test_same_key_at_once_takes_effect_once(
    store: EventStore, delay: int, rivals: int
) -> None:
    repository = Repository(store, attempt_count_max=100)
    answers: list[int] = []

    async def ask(turns: int) -> None:
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        answers.append(await deposit(repository, "k", 5))

    async with anyio.create_task_group() as group:
        group.start_soon(ask, 0)
        for number in range(rivals):
            group.start_soon(deposit, repository, f"rival {number}", 100)
        group.start_soon(ask, delay)
        faults.count()

    first, again = answers
    assert first == again
    assert (await repository.load(Account, "1")).balance == 5 + 100 * rivals
    # And the aggregate goes on: no snapshot is of a state that never was.
    assert await deposit(repository, "next", 1) == 6 + 100 * rivals


class Shop(Aggregate, category="shop"):
    """Opens once, so that its second opening is refused."""

    is_open: bool = False

    def start(self) -> str:
        if self.is_open:
            raise DomainError(f"shop {self.id} is open already")
        self.emit(Noted(text="open"))
        return "open"

    @on(Noted)
    def _noted(self, _event: Noted) -> None:
        self.is_open = True


class OpenFirstShop(Decision):
    """Opens a shop where there is none; says how many things were counted before."""

    count: int = 0
    is_open: bool = False

    def query(self) -> EventFilter:
        return where(types=[Noted, Counted])

    @on(Noted)
    def _noted(self, _event: Noted) -> None:
        self.is_open = True

    @on(Counted)
    def _counted(self, _event: Counted) -> None:
        self.count += 1

    def decide(self) -> int:
        if self.is_open:
            raise DomainError("there is a shop")
        self.emit(Noted(text="open"), stream_id="shop-1")
        return self.count


@pytest.mark.parametrize("verb", ["read_stream_page", "find_event", "commit"])
async def test_repetition_while_the_first_command_is_under_way_has_its_answer(
    store: EventStore, verb: Any
) -> None:
    faulty = FaultyStore(store)
    repository = Repository(faulty)
    held_up = faulty.delay(verb)
    answers: list[str] = []

    async def ask() -> None:
        answers.append(
            await repository.using(idempotency_key="k", correlation_id="c").execute(Shop.start, "1")
        )

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await held_up.wait_reached()
        await ask()
        held_up.release()

    assert answers == ["open", "open"]
    assert await store.head() == 1


@pytest.mark.parametrize("verb", ["read_page", "find_event", "commit"])
async def test_repetition_while_the_first_decision_is_under_way_has_its_answer(
    store: EventStore, verb: Any
) -> None:
    faulty = FaultyStore(store)
    repository = Repository(faulty)
    held_up = faulty.delay(verb)
    answers: list[int] = []

    async def ask() -> None:
        scope = repository.using(idempotency_key="k", correlation_id="c")
        answers.append(await scope.decide(OpenFirstShop()))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await held_up.wait_reached()
        # What the one that is held up has not folded, and the other one has.
        await store.append("x-1", [new_event(Counted())], expected_version=ANY)
        await ask()
        held_up.release()

    assert answers == [1, 1]
    assert await store.head() == 2


async def test_same_key_for_two_commands_at_once_has_one_winner() -> None:
    for delay in range(8):
        async with InMemoryStore() as store:
            repository = Repository(store)
            outcomes: list[str] = []

            async def ask(
                turns: int,
                amount: int,
                repository: Repository = repository,
                outcomes: list[str] = outcomes,
            ) -> None:
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                try:
                    await deposit(repository, "k", amount)
                except DuplicateEventError:
                    outcomes.append("refused")
                else:
                    outcomes.append("done")

            async with anyio.create_task_group() as group:
                group.start_soon(ask, 0, 5)
                group.start_soon(ask, delay, 7)

            assert sorted(outcomes) == ["done", "refused"]
            assert await versions(repository) == [1]


@pytest.mark.parametrize("requests", [100, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.fault("T12", store="in_memory", without="the look for what a key has recorded")
async def test_shuffled_requests_take_effect_once_each(requests: int) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed: {seed}")  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)  # noqa: S311 - printed, to be repeated
    keys = [key for key in range(requests) for _ in range(chance.randint(1, 3))]
    chance.shuffle(keys)
    faults.count(len(keys) - requests)

    async with Backstory("memory://") as story:
        for key in keys:
            scope = story.using(idempotency_key=str(key))
            await scope.execute(Account.deposit, str(key % 10), 1)

        assert len(await drain(story.read_log())) == requests
        balances = [(await story.load(Account, str(number))).balance for number in range(10)]
    assert sum(balances) == requests


def _in_cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"cents": data["units"] * 100}


class Paid(Event, type="idempotency:paid", schema_version=2, upcasters={1: _in_cents}):
    cents: int
    purpose: str = ""


class Purse(Aggregate, category="purse"):
    cents: int = 0

    def pay(self, cents: int) -> int:
        self.emit(Paid(cents=cents))
        return self.cents

    @on(Paid)
    def _paid(self, event: Paid) -> None:
        self.cents += event.cents


@pytest.mark.parametrize(
    ("data_json", "schema_version"), [(b'{"cents":500}', 2), (b'{"units":5}', 1)]
)
async def test_request_is_known_after_its_event_has_changed_its_shape(
    store: EventStore, data_json: bytes, schema_version: int
) -> None:
    # As an earlier program has stored it, before `purpose` was there, or counted in units.
    event_id = derive_event_id("idempotency-key", "k", "purse-1", 0)
    event = NewEvent.raw(
        "idempotency:paid", data_json, event_id=event_id, schema_version=schema_version
    )
    await store.append("purse-1", [event], expected_version=0)
    repository = Repository(store)

    assert await repository.using(idempotency_key="k").execute(Purse.pay, "1", 500) == 500
    with pytest.raises(DuplicateEventError, match="was used for another command"):
        await repository.using(idempotency_key="k").execute(Purse.pay, "1", 501)

    assert (await repository.load(Purse, "1")).version == 1
