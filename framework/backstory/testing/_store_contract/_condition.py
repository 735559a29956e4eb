"""What an append does that must not be too late: one with a condition."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from backstory._commit import AppendCondition, Receipt, StreamAppend
from backstory._errors import ConditionConflictError, InvalidInputError, VersionConflictError
from backstory._filter import EventFilter, where
from backstory._recorded import NewEvent
from backstory._store import EventStore
from backstory._versions import ANY, NO_STREAM
from backstory.testing._events import new_event
from backstory.testing._store_contract._contract import Contract
from backstory.testing._store_contract._sample import (
    PAGE_EVENT_COUNT,
    Counted,
    Listed,
    Noted,
    drain,
    noted,
    texts_of,
)

SEAT = "seat:12A"


def booked(*tags: str) -> NewEvent:
    """Return a new event with tags."""
    return new_event(Noted(text="booked"), tags=tags)


def unless(*, after: int = 0, **parts: Any) -> AppendCondition:
    """Return the condition that no event behind a position matches."""
    return AppendCondition(where(**parts), after)


class Conditions(Contract):
    """Which appends pass that name what must not have happened."""

    async def test_condition_holds_in_an_empty_log(self, store: EventStore) -> None:
        receipt = await store.append(
            "task-1", [booked(SEAT)], expected_version=ANY, condition=unless(tags=[SEAT])
        )

        assert (receipt.first_version, receipt.last_version) == (1, 1)
        assert texts_of(await drain(store.read_log())) == ["booked"]

    async def test_event_that_does_not_match_is_in_nobodys_way(self, store: EventStore) -> None:
        await store.append("task-1", [booked("seat:12B")], expected_version=ANY)

        await store.append(
            "task-2", [booked(SEAT)], expected_version=ANY, condition=unless(tags=[SEAT])
        )

        assert len(await drain(store.read_log())) == 2

    async def test_event_that_matches_refuses_the_append(self, store: EventStore) -> None:
        first = await store.append("task-1", [booked(SEAT)], expected_version=ANY)
        await store.append("task-3", noted("x"), expected_version=ANY)
        before = await drain(store.read_log())

        with pytest.raises(ConditionConflictError) as caught:
            await store.append(
                "task-2", [booked(SEAT)], expected_version=ANY, condition=unless(tags=[SEAT])
            )

        assert (caught.value.after_position, caught.value.position) == (0, first.last_position)
        assert (caught.value.event_type, caught.value.stream_id) == ("contract:noted", "task-1")
        assert await drain(store.read_log()) == before
        assert await store.head() == before[-1].position

    async def test_position_of_a_condition_is_exclusive(self, store: EventStore) -> None:
        first = await store.append("task-1", [booked(SEAT)], expected_version=ANY)
        second = await store.append("task-1", [booked(SEAT)], expected_version=ANY)

        with pytest.raises(ConditionConflictError):
            await store.append(
                "task-2",
                noted("a"),
                expected_version=ANY,
                condition=unless(after=first.last_position, tags=[SEAT]),
            )
        receipt = await store.append(
            "task-2",
            noted("b"),
            expected_version=ANY,
            condition=unless(after=second.last_position, tags=[SEAT]),
        )

        assert receipt.last_version == 1
        assert texts_of(await drain(store.read_stream("task-2"))) == ["b"]

    @pytest.mark.parametrize(
        ("condition", "is_refused"),
        [
            (where(), True),
            (where(types=[Noted]), True),
            (where(types=[Counted]), False),
            (where(types=[Counted, Noted]), True),
            (where(types=["contract:noted", "contract:listed"]), True),
            (where(tags=["red"]), True),
            (where(tags=["red", "green"]), True),
            (where(tags=["red", "blue"]), False),
            (where(types=[Noted], tags=["red"]), True),
            (where(types=[Counted], tags=["red"]), False),
            (where(types=[Noted], tags=["blue"]), False),
            (where(types=[Counted]) | where(tags=["red"]), True),
            (where(types=[Counted]) | where(tags=["blue"]), False),
            (where(types=[Counted], tags=["red"]) | where(types=[Noted], tags=["blue"]), False),
            (where(categories=["task"]), True),
            (where(categories=["memo"]), False),
            (where(streams=["task-1"]), True),
            (where(streams=["task-2", "task-10"]), False),
            (where(actor="ada", correlation_id="c", causation_id="b"), True),
            (where(actor="Ada"), False),
        ],
    )
    async def test_condition_matches_as_a_filter_does(
        self, store: EventStore, condition: EventFilter, *, is_refused: bool
    ) -> None:
        event = new_event(
            Noted(), tags=["red", "green"], actor="ada", correlation_id="c", causation_id="b"
        )
        await store.append("task-1", [event], expected_version=ANY)
        assert bool(await drain(store.read_log(where=condition))) == is_refused

        async def append() -> object:
            return await store.append(
                "task-1", noted("late"), expected_version=1, condition=AppendCondition(condition, 0)
            )

        (answer,) = await self.gather(append)

        assert isinstance(answer, ConditionConflictError if is_refused else Receipt), answer
        assert texts_of(await drain(store.read_log())) == [""] + ["late"] * (not is_refused)

    async def test_match_pages_behind_the_position_is_found(self, store: EventStore) -> None:
        first = await store.append("task-1", [booked(SEAT)], expected_version=ANY)
        for _ in range(2):
            await store.append("task-1", noted(*["x"] * PAGE_EVENT_COUNT), expected_version=ANY)
        condition = unless(after=first.last_position, tags=[SEAT])
        await store.append("task-2", noted("a"), expected_version=ANY, condition=condition)
        await store.append("task-1", [booked(SEAT)], expected_version=ANY)
        await store.append("task-1", noted(*["x"] * PAGE_EVENT_COUNT), expected_version=ANY)

        with pytest.raises(ConditionConflictError):
            await store.append("task-2", noted("b"), expected_version=ANY, condition=condition)

    async def test_own_events_are_not_in_their_own_way(self, store: EventStore) -> None:
        receipts = await store.append_many(
            [
                StreamAppend("task-1", [booked(SEAT), booked(SEAT)], NO_STREAM),
                StreamAppend("task-2", [booked(SEAT)], NO_STREAM),
            ],
            condition=unless(tags=[SEAT]),
        )

        assert [receipt.last_version for receipt in receipts] == [2, 1]

    async def test_refused_condition_writes_to_no_stream(self, store: EventStore) -> None:
        await store.append("task-3", [booked(SEAT)], expected_version=ANY)
        head = await store.head()
        appends = [
            StreamAppend("task-1", noted("a"), NO_STREAM),
            StreamAppend("task-2", noted("b", "c"), NO_STREAM),
        ]

        with pytest.raises(ConditionConflictError):
            await store.append_many(appends, condition=unless(tags=[SEAT]))

        assert await store.head() == head
        assert await drain(store.read_stream("task-1")) == []
        receipts = await store.append_many(appends, condition=unless(after=head, tags=[SEAT]))
        assert [receipt.last_version for receipt in receipts] == [1, 2]

    async def test_condition_and_expected_version_must_both_hold(self, store: EventStore) -> None:
        first = await store.append("task-1", [booked(SEAT)], expected_version=ANY)
        holds, fails = unless(after=first.last_position, tags=[SEAT]), unless(tags=[SEAT])

        with pytest.raises(VersionConflictError):
            await store.append("task-1", noted("a"), expected_version=0, condition=holds)
        with pytest.raises(ConditionConflictError):
            await store.append("task-1", noted("b"), expected_version=1, condition=fails)
        with pytest.raises((VersionConflictError, ConditionConflictError)):
            await store.append("task-1", noted("c"), expected_version=0, condition=fails)
        receipt = await store.append("task-1", noted("d"), expected_version=1, condition=holds)

        assert receipt.last_version == 2
        assert texts_of(await drain(store.read_log())) == ["booked", "d"]

    async def test_one_of_many_wins_a_condition(self, store: EventStore) -> None:
        def book(number: int) -> Callable[[], Awaitable[object]]:
            async def call() -> object:
                return await store.append(
                    f"booking-{number}",
                    [booked(SEAT)],
                    expected_version=NO_STREAM,
                    condition=unless(tags=[SEAT]),
                )

            return call

        answers = await self.gather(*map(book, range(50)))

        assert sum(isinstance(answer, Receipt) for answer in answers) == 1
        assert sum(isinstance(answer, ConditionConflictError) for answer in answers) == 49
        assert len(await drain(store.read_log())) == 1

    async def test_no_decision_misses_what_was_recorded_before_it(self, store: EventStore) -> None:
        async def count() -> object:
            # Each counts what is there and appends the number: only right if nobody came between.
            while True:
                events = await drain(store.read_log(where=where(types=[Counted])))
                after = events[-1].position if events else 0
                event = new_event(Counted(by=len(events) + 1))
                condition = unless(after=after, types=[Counted])
                try:
                    return await store.append(
                        "count-1", [event], expected_version=ANY, condition=condition
                    )
                except ConditionConflictError:
                    continue

        await self.gather(*[count] * 12)

        events = await drain(store.read_log())
        assert [event.data for event in events] == [Counted(by=number) for number in range(1, 13)]

    async def test_append_without_a_condition_counts_too(self, store: EventStore) -> None:
        async def book() -> object:
            return await store.append(
                "task-1", [booked(SEAT)], expected_version=ANY, condition=unless(tags=[SEAT])
            )

        async def force() -> object:
            return await store.append("task-2", [booked(SEAT)], expected_version=ANY)

        booking, forced, late = await self.gather(book, force, book)

        assert isinstance(forced, Receipt)
        assert isinstance(late, ConditionConflictError)
        if isinstance(booking, Receipt):
            assert booking.last_position < forced.first_position
        else:
            assert isinstance(booking, ConditionConflictError)

    async def test_refused_condition_fails_nobody_else(self, store: EventStore) -> None:
        await store.append("task-0", [booked(SEAT)], expected_version=ANY)

        def append(number: int) -> Callable[[], Awaitable[object]]:
            condition = (unless(tags=[SEAT]), None, unless(tags=[f"seat:{number}"]))[number % 3]

            async def call() -> object:
                event = booked(f"seat:{number}")
                stream_id = f"task-x{number}"
                return await store.append(
                    stream_id, [event], expected_version=0, condition=condition
                )

            return call

        answers = await self.gather(*map(append, range(30)))

        assert all(isinstance(answer, ConditionConflictError) for answer in answers[0::3])
        assert all(isinstance(answer, Receipt) for answer in (*answers[1::3], *answers[2::3]))
        assert len(await drain(store.read_log())) == 21

    async def test_event_of_a_refused_append_is_in_nobodys_way(self, store: EventStore) -> None:
        await store.append("task-0", noted("taken"), expected_version=ANY)

        async def refused() -> object:
            return await store.append("task-0", [booked(SEAT)], expected_version=NO_STREAM)

        async def book() -> object:
            return await store.append(
                "task-1", [booked(SEAT)], expected_version=ANY, condition=unless(tags=[SEAT])
            )

        first, second = await self.gather(refused, book)

        assert isinstance(first, VersionConflictError)
        assert isinstance(second, Receipt)

    async def test_repetition_is_answered_though_the_condition_would_fail_now(
        self, store: EventStore
    ) -> None:
        events = [booked(SEAT)]
        condition = unless(tags=[SEAT])
        first = await store.append("task-1", events, expected_version=0, condition=condition)
        await store.append("task-2", [booked(SEAT)], expected_version=ANY)

        again = await store.append("task-1", events, expected_version=0, condition=condition)

        assert again == first
        assert len(await drain(store.read_log())) == 2

    async def test_same_conditional_append_made_at_once_happens_once(
        self, store: EventStore
    ) -> None:
        events = [booked(SEAT)]

        async def append() -> object:
            return await store.append(
                "task-1", events, expected_version=ANY, condition=unless(tags=[SEAT])
            )

        receipts = await self.gather(*[append] * 8)

        assert set(receipts) == {receipts[0]}
        assert isinstance(receipts[0], Receipt)

    async def test_new_part_of_a_repeated_append_is_judged(self, store: EventStore) -> None:
        events = [booked(SEAT)]
        await store.append("task-1", events, expected_version=0)

        with pytest.raises(ConditionConflictError):
            await store.append_many(
                [StreamAppend("task-1", events, 0), StreamAppend("task-2", noted("b"), 0)],
                condition=unless(tags=[SEAT]),
            )

        assert texts_of(await drain(store.read_log())) == ["booked"]

    async def test_condition_sees_a_type_under_its_alias(self, store: EventStore) -> None:
        event = NewEvent.raw("contract:tallied", b'{"by":1}', event_id=uuid.uuid4())
        await store.append("task-1", [event], expected_version=ANY)

        with pytest.raises(ConditionConflictError):
            await store.append(
                "task-1", noted("a"), expected_version=ANY, condition=unless(types=[Counted])
            )

    @pytest.mark.parametrize("after", [-1, True, "0", 2**63, 1.0, None, 7])
    async def test_position_that_nobody_has_read_is_refused(
        self, store: EventStore, after: Any
    ) -> None:
        await store.append("task-1", [new_event(Listed())], expected_version=ANY)
        head = await store.head()

        with pytest.raises(InvalidInputError, match="after_position"):
            await store.append(
                "task-1",
                noted("a"),
                expected_version=ANY,
                condition=AppendCondition(where(types=[Noted]), after),
            )

        assert await store.head() == head

    @pytest.mark.parametrize(
        "condition", [where(), "nothing", 0, AppendCondition(cast("EventFilter", "tags"), 0)]
    )
    async def test_what_is_no_condition_is_refused(self, store: EventStore, condition: Any) -> None:
        appends: Sequence[StreamAppend] = [StreamAppend("task-1", noted("a"), ANY)]

        with pytest.raises(InvalidInputError, match=r"AppendCondition|filter"):
            await store.append_many(appends, condition=condition)

        assert await store.head() == 0
