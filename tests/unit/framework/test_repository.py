"""The repository: load, decide, append, and on conflict once more."""

from collections.abc import Sequence
from typing import Any, cast

import anyio
import pytest
from tests.conftest import Counted, Counter, Noted, TooMuchError, drain, new_event

from backstory import (
    ANY,
    Aggregate,
    ConfigurationError,
    DomainError,
    DuplicateEventError,
    EncodeError,
    EventStore,
    ExpectedVersion,
    InvalidInputError,
    Metadata,
    NewEvent,
    Receipt,
    Repository,
    StoreClosedError,
    UnknownEventTypeError,
    VersionConflictError,
    derive_event_id,
)

pytestmark = pytest.mark.anyio


class CountedIds:
    """Ids that can be foretold."""

    def __init__(self) -> None:
        self.number = 0

    def new(self) -> str:
        self.number += 1
        return f"0191d7a6-0000-7000-8000-{self.number:012}"


@pytest.fixture
def repository(store: EventStore) -> Repository:
    return Repository(store)


async def versions(repository: Repository, stream_id: str = "counter-1") -> list[int]:
    return [event.version for event in await drain(repository.store.read_stream(stream_id))]


async def test_command_is_appended_and_answers(repository: Repository) -> None:
    assert await repository.execute(Counter.count, "1", 2) == 2
    assert await repository.execute(Counter.count, "1", by=3) == 5

    assert await versions(repository) == [1, 2]
    assert (await repository.load(Counter, "1")).steps == [2, 3]


async def test_events_of_one_command_are_one_append(repository: Repository) -> None:
    assert await repository.execute(Counter.count_each, "1", [1, 2, 3]) == 6

    assert await versions(repository) == [1, 2, 3]


async def test_command_that_decides_nothing_appends_nothing(repository: Repository) -> None:
    assert await repository.execute(Counter.look, "1") == 0

    assert await repository.store.head() == 0


async def test_refused_command_appends_nothing(repository: Repository) -> None:
    await repository.execute(Counter.count, "1", 1_000_000)

    with pytest.raises(TooMuchError):
        await repository.execute(Counter.count, "1")

    assert (await repository.load(Counter, "1")).total == 1_000_000
    assert await versions(repository) == [1]


async def test_event_that_cannot_be_stored_appends_nothing(repository: Repository) -> None:
    with pytest.raises(EncodeError, match="by"):
        await repository.execute(Counter.count, "1", cast("int", 0.5))

    assert await repository.store.head() == 0


async def test_command_of_too_many_events_appends_nothing(repository: Repository) -> None:
    with pytest.raises(InvalidInputError, match="1,001 events"):
        await repository.execute(Counter.count_each, "1", [1] * 1_001)

    assert await repository.store.head() == 0


def free(self: Any) -> None: ...


@pytest.mark.parametrize("command", [free, Counter, Aggregate.emit, print, Counter.blank])
async def test_what_is_no_command_is_refused(repository: Repository, command: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no command"):
        await repository.execute(command, "1")


@pytest.mark.parametrize("id", ["", None, 7, "\ud800", "a\0", "x" * 1_020])
async def test_what_is_no_id_is_refused(repository: Repository, id: Any) -> None:
    for call in (
        lambda: repository.execute(Counter.count, id),
        lambda: repository.using(actor="ada").execute(Counter.count, id),
        lambda: repository.load(Counter, id),
    ):
        with pytest.raises(InvalidInputError):
            await call()

    assert await repository.store.head() == 0


async def test_unknown_event_is_not_decided_upon(repository: Repository) -> None:
    await repository.execute(Counter.count, "1")
    future = NewEvent.raw("x.future", b"{}", event_id=derive_event_id("x"))
    await repository.store.append("counter-1", [future], expected_version=ANY)

    with pytest.raises(UnknownEventTypeError):
        await repository.execute(Counter.count, "1")

    assert await versions(repository) == [1, 2]


def overtake(monkeypatch: pytest.MonkeyPatch, store: EventStore, *, times: int) -> list[int]:
    """Let another writer be first before each append, some times; return what it has counted."""
    append, counted = store.append, list[int]()

    async def overtaken(
        stream_id: str, events: Sequence[NewEvent], *, expected_version: int | ExpectedVersion
    ) -> Receipt:
        if len(counted) < times:
            counted.append(10 ** (len(counted) + 1))
            rival = new_event(Counted(by=counted[-1]))
            await append(stream_id, [rival], expected_version=ANY)
        return await append(stream_id, events, expected_version=expected_version)

    monkeypatch.setattr(store, "append", overtaken)
    return counted


async def test_conflict_decides_again_on_the_new_state(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtake(monkeypatch, repository.store, times=3)

    total = await repository.execute(Counter.count, "1", 1)

    assert total == 1_111
    assert (await repository.load(Counter, "1")).steps == [10, 100, 1_000, 1]


async def test_conflict_reaches_the_caller_in_the_end(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = overtake(monkeypatch, store, times=99)

    with pytest.raises(VersionConflictError):
        await Repository(store, attempt_count_max=4).execute(Counter.count, "1", 1)

    assert (await Repository(store).load(Counter, "1")).steps == counted == [10, 100, 1_000, 10_000]


async def test_refusal_after_a_conflict_is_the_last_word(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    await repository.execute(Counter.count, "1", 999_990)
    overtake(monkeypatch, repository.store, times=1)

    with pytest.raises(TooMuchError):
        await repository.execute(Counter.count, "1", 1)

    assert (await repository.load(Counter, "1")).steps == [999_990, 10]


@pytest.mark.parametrize("attempt_count_max", [0, -1, True, 1.5])
def test_count_of_attempts_is_a_number_from_one(attempt_count_max: Any) -> None:
    with pytest.raises(InvalidInputError, match="attempt_count_max"):
        Repository(cast("EventStore", None), attempt_count_max=attempt_count_max)


async def test_loaded_aggregate_is_saved_after_its_commands(repository: Repository) -> None:
    counter = await repository.load(Counter, "1")
    counter.count(2)
    counter.count(3)

    receipt = await repository.save(counter)

    assert receipt is not None
    assert (receipt.first_version, receipt.last_version) == (1, 2)
    assert await repository.save(counter) is None
    counter.count(4)
    assert await repository.save(counter) is not None
    assert (await repository.load(Counter, "1")).steps == [2, 3, 4]


async def test_save_of_an_outdated_aggregate_is_a_conflict(repository: Repository) -> None:
    one, other = await repository.load(Counter, "1"), await repository.load(Counter, "1")
    one.count(1)
    other.count(2)
    await repository.save(one)

    for _ in range(2):
        with pytest.raises(VersionConflictError):
            await repository.save(other)

    assert (await repository.load(Counter, "1")).steps == [1]


async def test_ids_come_from_the_source_that_was_given(store: EventStore) -> None:
    repository = Repository(store, ids=CountedIds())

    await repository.execute(Counter.count_each, "1", [1, 2])

    ids = [event.event_id for event in await drain(store.read_log())]
    assert ids == [f"0191d7a6-0000-7000-8000-{number:012}" for number in (2, 3)]
    # The first id was the command's own.
    (first, _) = await drain(store.read_log())
    assert first.metadata.correlation_id == "0191d7a6-0000-7000-8000-000000000001"


async def metadata_of(repository: Repository) -> list[Metadata]:
    return [event.metadata for event in await drain(repository.store.read_log())]


async def test_context_of_one_command_is_with_its_events(repository: Repository) -> None:
    await repository.using(actor="ada", correlation_id="c1", tags=["urgent"], ticket=[7]).execute(
        Counter.count_each, "1", [1, 2]
    )
    await repository.execute(Counter.count, "1")

    first, second, third = await metadata_of(repository)
    assert first == second
    assert (first.actor, first.correlation_id, first.tags) == ("ada", "c1", ("urgent",))
    assert (first.free, third.actor, third.tags) == ({"ticket": [7]}, None, ())
    assert third.correlation_id == third.causation_id
    assert first.causation_id != third.causation_id


async def test_context_of_a_block_is_with_all_inside(repository: Repository) -> None:
    async def child() -> None:
        await repository.execute(Counter.count, "2")

    with repository.using(actor="ada"), repository.using(tags=["a"], correlation_id="c1"):
        await repository.execute(Counter.count, "1")
        async with anyio.create_task_group() as group:
            group.start_soon(child)
        counter = await repository.load(Counter, "3")
        counter.count()
        await repository.save(counter)
        await repository.using(actor="bob").execute(Counter.count, "4")
    await repository.execute(Counter.count, "5")

    inside, outside = (await metadata_of(repository))[:4], (await metadata_of(repository))[4]
    assert [said.actor for said in inside] == ["ada", "ada", "ada", "bob"]
    assert {(said.correlation_id, said.tags) for said in inside} == {("c1", ("a",))}
    assert (outside.actor, outside.tags) == (None, ())


async def test_cause_leads_from_event_to_event(repository: Repository) -> None:
    await repository.using(correlation_id="c1").execute(Counter.count, "1")
    (cause,) = await drain(repository.store.read_log())

    await repository.using(caused_by=cause).execute(Counter.count, "2")

    _, effect = await metadata_of(repository)
    assert (effect.correlation_id, effect.causation_id) == ("c1", cause.event_id)


async def test_one_context_can_be_entered_twice(repository: Repository) -> None:
    ada = repository.using(actor="ada")

    with ada:
        with ada:
            await repository.execute(Counter.count, "1")
        await repository.execute(Counter.count, "1")
    await repository.execute(Counter.count, "1")

    assert [said.actor for said in await metadata_of(repository)] == ["ada", "ada", None]


async def test_one_context_can_be_entered_by_many_at_once(repository: Repository) -> None:
    ada, inside = repository.using(actor="ada"), anyio.Event()

    async def first() -> None:
        with ada:
            await inside.wait()
        await repository.execute(Counter.count, "1")

    async def second() -> None:
        with ada:
            inside.set()
            await repository.execute(Counter.count, "2")

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        group.start_soon(second)

    said = {event.stream_id: event.metadata for event in await drain(repository.store.read_log())}
    assert (said["counter-1"].actor, said["counter-2"].actor) == (None, "ada")


@pytest.mark.parametrize(
    "unfit",
    [
        {"tags": "urgent"},
        {"tags": [7]},
        {"tags": ["x" * 257]},
        {"actor": 7},
        {"actor": ""},
        {"correlation_id": "\0"},
        {"idempotency_key": ""},
        {"idempotency_key": "\ud800"},
        {"idempotency_key": 7},
        {"idempotency_key": "x" * 1_000_000},
    ],
)
async def test_unfit_context_is_refused(repository: Repository, unfit: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        await repository.using(**unfit).execute(Counter.count, "1")

    assert await repository.store.head() == 0


async def test_key_is_for_one_command_and_no_block(repository: Repository) -> None:
    scope = repository.using(idempotency_key="k")

    with pytest.raises(ConfigurationError, match="for one command"):
        scope.__enter__()


async def test_closed_store_is_told_to_the_caller(store: EventStore) -> None:
    repository = Repository(store)
    await store.aclose()

    with pytest.raises(StoreClosedError):
        await repository.execute(Counter.count, "1")


async def test_attempt_of_one_still_gives_the_answer_of_a_key(store: EventStore) -> None:
    repository = Repository(store, attempt_count_max=1)

    for _ in range(2):
        scope = repository.using(idempotency_key="k")
        assert await scope.execute(Counter.count, "1", 2) == 2

    assert await versions(repository) == [1]


async def test_duplicate_id_without_a_key_reaches_the_caller(store: EventStore) -> None:
    class SameId:
        def new(self) -> str:
            return "0191d7a6-0000-7000-8000-000000000001"

    await store.append(
        "counter-2", [new_event(Counted(), event_id=SameId().new())], expected_version=0
    )

    with pytest.raises(DuplicateEventError):
        await Repository(store, ids=SameId()).execute(Counter.count, "1")


async def test_error_in_a_command_is_the_caller_s_own(repository: Repository) -> None:
    class Odd(Aggregate, category="odd"):
        def fail(self) -> None:
            self.emit(Noted())
            raise ZeroDivisionError

        def refuse(self) -> None:
            self.emit(Noted())
            raise DomainError("no")

    with pytest.raises(ZeroDivisionError):
        await repository.execute(Odd.fail, "1")
    with pytest.raises(DomainError, match="no"):
        await repository.execute(Odd.refuse, "1")

    assert await repository.store.head() == 0
