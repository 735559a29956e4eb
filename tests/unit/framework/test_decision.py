"""Decisions over several streams: what they see, what they append, and when they decide again."""

from collections.abc import Sequence
from typing import Any, cast

import pytest
from tests.conftest import Counted, Counter, Noted, drain, new_event

from backstory import (
    ANY,
    Backstory,
    Batch,
    ConditionConflictError,
    ConfigurationError,
    Decision,
    DomainError,
    DuplicateEventError,
    EncodeError,
    Event,
    EventFilter,
    EventStore,
    InvalidInputError,
    Receipt,
    RecordedEvent,
    Repository,
    StreamAppend,
    on,
    where,
)

pytestmark = pytest.mark.anyio


class SeatBooked(Event, type="decision:seat-booked"):
    seat: str
    buyer: str

    def event_tags(self) -> list[str]:
        return [f"seat:{self.seat}"]


class SeatReleased(Event, type="decision:seat-released"):
    seat: str

    def event_tags(self) -> list[str]:
        return [f"seat:{self.seat}"]


class SeatTakenError(DomainError):
    """Somebody has the seat."""


class BookSeat(Decision):
    """Books a seat that nobody has."""

    seat: str
    buyer: str
    owners: list[str] = []

    def query(self) -> EventFilter:
        return where(types=[SeatBooked, SeatReleased], tags=[f"seat:{self.seat}"])

    @on(SeatBooked)
    def _booked(self, event: SeatBooked) -> None:
        self.owners.append(event.buyer)

    @on(SeatReleased)
    def _released(self, event: SeatReleased) -> None:
        self.owners.pop()

    def decide(self) -> str:
        if self.owners:
            raise SeatTakenError(f"seat {self.seat} belongs to {self.owners[-1]}")
        self.emit(SeatBooked(seat=self.seat, buyer=self.buyer), stream_id=f"buyer-{self.buyer}")
        return f"{self.seat} for {self.buyer}"


async def test_decision_sees_what_its_query_means_in_any_stream(store: EventStore) -> None:
    repository = Repository(store)
    assert await repository.decide(BookSeat(seat="1", buyer="ada")) == "1 for ada"
    assert await repository.decide(BookSeat(seat="2", buyer="bob")) == "2 for bob"

    with pytest.raises(SeatTakenError, match="belongs to ada"):
        await repository.decide(BookSeat(seat="1", buyer="bob"))

    events = await drain(store.read_log())
    assert [(event.stream_id, event.version) for event in events] == [
        ("buyer-ada", 1),
        ("buyer-bob", 1),
    ]
    assert [event.metadata.tags for event in events] == [("seat:1",), ("seat:2",)]


async def test_given_decision_stays_as_it_is(store: EventStore) -> None:
    repository, decision = Repository(store), BookSeat(seat="1", buyer="ada")

    await repository.decide(decision)
    with pytest.raises(SeatTakenError):
        await repository.decide(decision)

    assert decision == BookSeat(seat="1", buyer="ada")


def overtake(store: EventStore, rivals: Sequence[Event | None]) -> None:
    """Let a rival's event be appended right before each commit to come, where there is one."""
    commit, waiting = store.commit, list(rivals)

    async def overtaken(batch: Batch) -> tuple[Receipt, ...]:
        rival = waiting.pop(0) if waiting else None
        if rival is not None:
            rivals_own = StreamAppend("buyer-eve", [new_event(rival)], ANY)
            await commit(Batch([rivals_own]))
        return await commit(batch)

    cast("Any", store).commit = overtaken


async def test_overtaken_decision_decides_again(store: EventStore) -> None:
    overtake(store, [SeatBooked(seat="1", buyer="eve")])

    with pytest.raises(SeatTakenError, match="belongs to eve"):
        await Repository(store).decide(BookSeat(seat="1", buyer="ada"))

    assert len(await drain(store.read_log())) == 1


class Forgiving(BookSeat):
    """Lets a seat be released that nobody has."""

    @on(SeatReleased)
    def _released(self, event: SeatReleased) -> None:
        self.owners.clear()


async def test_conflict_reaches_the_caller_after_the_last_attempt(store: EventStore) -> None:
    overtake(store, [SeatReleased(seat="1")] * 3)

    with pytest.raises(ConditionConflictError) as caught:
        await Repository(store, attempt_count_max=3).decide(Forgiving(seat="1", buyer="ada"))

    assert (caught.value.after_position, caught.value.position) == (2, 3)
    assert {event.stream_id for event in await drain(store.read_log())} == {"buyer-eve"}


async def test_event_that_does_not_match_is_in_nobodys_way(store: EventStore) -> None:
    overtake(store, [SeatBooked(seat="2", buyer="eve"), SeatReleased(seat="1")])

    await Repository(store).decide(BookSeat(seat="1", buyer="ada"))

    events = await drain(store.read_log())
    assert [event.stream_id for event in events] == ["buyer-eve", "buyer-ada"]


class MoveHouse(Decision):
    """Emits into several streams, by what aggregates have emitted."""

    limit: int
    total: int = 0
    positions: list[int] = []

    def query(self) -> EventFilter:
        return where(types=[Counted], categories=["counter"]) | where(types=[Noted])

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.total += event.by
        self.positions.append(recorded.position)

    def decide(self) -> list[int]:
        if self.total > self.limit:
            self.emit(Noted(text="too much"), stream_id="house-1")
            self.emit(Noted(text="as well"), stream_id="house-1")
            self.emit(Counted(by=-self.total), stream_id="counter-1")
        return self.positions


async def test_decision_on_aggregates_emits_into_several_streams(store: EventStore) -> None:
    repository = Repository(store)
    await repository.execute(Counter.count, "1", 5)
    await repository.execute(Counter.count, "2", 7)

    assert await repository.decide(MoveHouse(limit=10)) == [1, 2]

    assert (await repository.load(Counter, "1")).total == -7
    assert [e.version for e in await drain(store.read_stream("house-1"))] == [1, 2]
    metadata = [event.metadata for event in await drain(store.read_log(after_position=2))]
    assert len({(m.correlation_id, m.causation_id) for m in metadata}) == 1


async def test_decision_that_emits_nothing_appends_nothing(store: EventStore) -> None:
    assert await Repository(store).decide(MoveHouse(limit=10)) == []

    assert await store.head() == 0


async def test_key_takes_effect_once_and_answers_the_same(store: EventStore) -> None:
    repository = Repository(store)
    booking = BookSeat(seat="1", buyer="ada")
    first = await repository.using(idempotency_key="k1", actor="ada").decide(booking)
    await store.append("x-1", [new_event(SeatReleased(seat="1"))], expected_version=ANY)

    again = await repository.using(idempotency_key="k1", actor="ada").decide(booking)

    assert again == first == "1 for ada"
    assert len(await drain(store.read_log(where=where(types=[SeatBooked])))) == 1


async def test_key_of_another_decision_is_refused(store: EventStore) -> None:
    repository = Repository(store)
    await repository.using(idempotency_key="k1").decide(BookSeat(seat="1", buyer="ada"))

    with pytest.raises(DuplicateEventError, match="'k1' was used for another command"):
        await repository.using(idempotency_key="k1").decide(BookSeat(seat="2", buyer="ada"))

    assert await store.head() == 1


class Greet(Decision):
    """Says the same into a stream that may be another."""

    whom: str

    def query(self) -> EventFilter:
        return where(types=[Noted])

    def decide(self) -> None:
        self.emit(Noted(text="hello"), stream_id=f"guest-{self.whom}")


async def test_key_of_a_decision_for_another_stream_is_refused(store: EventStore) -> None:
    repository = Repository(store)
    await repository.using(idempotency_key="k1").decide(Greet(whom="ada"))

    with pytest.raises(DuplicateEventError, match="'k1' was used for another command"):
        await repository.using(idempotency_key="k1").decide(Greet(whom="bob"))

    assert [event.stream_id for event in await drain(store.read_log())] == ["guest-ada"]


async def test_context_flows_into_what_is_decided() -> None:
    async with Backstory("memory://") as story:
        await story.using(actor="ada", tags=["vip"]).decide(BookSeat(seat="1", buyer="ada"))
        (recorded,) = await drain(story.read_log())

        with story.using(caused_by=recorded):
            await story.decide(BookSeat(seat="2", buyer="ada"))

        (_, effect) = await drain(story.read_log())
    assert (recorded.metadata.actor, recorded.metadata.tags) == ("ada", ("vip", "seat:1"))
    assert effect.metadata.causation_id == recorded.event_id


class Careless(Decision):
    """Emits what cannot be stored, or where nothing can lie."""

    stream_id: str = "a-1"
    by: Any = 1

    def query(self) -> EventFilter:
        return where(types=[Counted])

    def decide(self) -> None:
        self.emit(Counted(by=self.by), stream_id=self.stream_id)


async def test_bad_value_is_refused_before_anything_is_written(store: EventStore) -> None:
    with pytest.raises(EncodeError, match="by"):
        await Repository(store).decide(Careless(by="one"))
    with pytest.raises(InvalidInputError, match="stream id"):
        await Repository(store).decide(Careless(stream_id="nowhere"))

    assert await store.head() == 0


async def test_what_is_no_decision_is_refused(store: EventStore) -> None:
    with pytest.raises(ConfigurationError, match="is no decision"):
        await Repository(store).decide(cast("Any", BookSeat))


@pytest.mark.parametrize("missing", ["query", "decide"])
async def test_decision_without_its_methods_is_refused(missing: str) -> None:
    methods: dict[str, Any] = {
        "query": BookSeat.query,
        "decide": BookSeat.decide,
        "__module__": __name__,
    }
    del methods[missing]
    metaclass: Any = type(Decision)

    with pytest.raises(ConfigurationError, match=rf"define {missing}\(self\)"):
        metaclass("Half", (Decision,), methods)


async def test_coroutine_is_no_way_to_decide() -> None:
    with pytest.raises(ConfigurationError, match="decide is a plain def"):

        class Slow(BookSeat):  # pyright: ignore[reportUnusedClass]  # defining it is the test
            async def decide(self) -> str:  # type: ignore[override]  # the mistake under test  # pyright: ignore[reportIncompatibleMethodOverride]
                return ""


async def test_field_with_a_name_of_the_frameworks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Odd\.emitted is the framework's"):

        class Odd(BookSeat):  # pyright: ignore[reportUnusedClass]  # defining it is the test
            emitted: int = 0  # type: ignore[assignment]  # the mistake under test  # pyright: ignore[reportIncompatibleVariableOverride]
