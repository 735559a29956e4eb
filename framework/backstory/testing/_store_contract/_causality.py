"""Which event came of which, and what the store holds in numbers."""

from collections.abc import Sequence
from secrets import token_hex
from uuid import UUID, uuid4

import pytest

from backstory._errors import InvalidInputError
from backstory._recorded import RecordedEvent
from backstory._snapshot import SNAPSHOT_COUNT_MAX, Checkpoint
from backstory._store import EventStore
from backstory._versions import ANY
from backstory.testing._clock import START, ManualClock
from backstory.testing._events import new_event
from backstory.testing._store_contract._contract import Contract
from backstory.testing._store_contract._sample import (
    PAGE_EVENT_COUNT,
    Counted,
    Noted,
    drain,
    noted,
    snapshot,
    texts_of,
)

IDS = {name: str(UUID(int=number)) for number, name in enumerate("abcdefgh", 1)}
FAMILY = (
    ("a", "command"),
    ("b", IDS["a"]),
    ("c", IDS["a"]),
    ("d", "command"),
    ("e", IDS["b"]),
    ("f", None),
    ("g", IDS["c"]),
    ("h", IDS["e"]),
)
"""Events and what directly caused each: an event, a command, or nothing."""


async def append_family(store: EventStore) -> None:
    """Append the family, each member to a stream of its own."""
    for name, cause in FAMILY:
        event = new_event(Noted(text=name), event_id=IDS[name], causation_id=cause)
        await store.append(f"task-{name}", [event], expected_version=ANY)


def names_of(events: Sequence[RecordedEvent]) -> str:
    """Return the names of the family's members."""
    return "".join(texts_of(events))


class Causes(Contract):
    """What led to an event, and what came of it."""

    async def test_causes_lead_back_to_the_first_event(self, store: EventStore) -> None:
        await append_family(store)

        for name, causes in {"h": "eba", "g": "ca", "b": "a", "a": "", "d": "", "f": ""}.items():
            assert names_of(await drain(store.read_causes(IDS[name]))) == causes

    async def test_effects_are_all_that_came_of_it_in_order(self, store: EventStore) -> None:
        await append_family(store)

        for name, effects in {"a": "bcegh", "b": "eh", "c": "g", "h": "", "f": ""}.items():
            assert names_of(await drain(store.read_effects(IDS[name]))) == effects
        assert names_of(await drain(store.read_effects("command"))) == "abcdegh"

    async def test_event_that_is_not_there_has_no_relatives(self, store: EventStore) -> None:
        await append_family(store)

        assert await drain(store.read_causes(uuid4())) == []
        assert await drain(store.read_effects(uuid4())) == []
        assert await drain(store.read_effects("Command")) == []

    async def test_cause_that_lies_behind_its_effect_is_not_believed(
        self, store: EventStore
    ) -> None:
        for name, cause in (("a", "b"), ("b", "a"), ("c", "c")):
            event = new_event(Noted(text=name), event_id=IDS[name], causation_id=IDS[cause])
            await store.append("task-1", [event], expected_version=ANY)

        assert names_of(await drain(store.read_causes(IDS["b"]))) == "a"
        assert names_of(await drain(store.read_causes(IDS["a"]))) == ""
        assert names_of(await drain(store.read_causes(IDS["c"]))) == ""
        assert names_of(await drain(store.read_effects(IDS["a"]))) == "b"
        assert names_of(await drain(store.read_effects(IDS["c"]))) == ""

    async def test_more_effects_than_a_page_are_all_given(self, store: EventStore) -> None:
        for _ in range(2):
            events = [new_event(Counted(), causation_id="command") for _ in range(600)]
            await store.append("task-1", events, expected_version=ANY)
        log = await drain(store.read_log())
        late = new_event(Noted(text="late"), causation_id=log[PAGE_EVENT_COUNT].event_id)
        await store.append("task-2", [late], expected_version=ANY)

        effects = await drain(store.read_effects("command"))

        assert effects == await drain(store.read_log())

    @pytest.mark.parametrize("event_id", ["", "7", None])
    async def test_causes_of_what_is_no_event_id_are_refused(
        self, store: EventStore, event_id: object
    ) -> None:
        with pytest.raises(InvalidInputError, match="event id"):
            await drain(store.read_causes(event_id))

    @pytest.mark.parametrize("causation_id", ["", "a\0b", "x" * 1_025])
    async def test_effects_of_what_can_be_no_cause_are_refused(
        self, store: EventStore, causation_id: str
    ) -> None:
        with pytest.raises(InvalidInputError, match="causation id"):
            await drain(store.read_effects(causation_id))


class Statistics(Contract):
    """What the store holds, in numbers."""

    async def test_statistics_of_an_empty_store_are_zero(self, store: EventStore) -> None:
        statistics = await store.statistics()

        assert (statistics.event_count, statistics.stream_count, statistics.head) == (0, 0, 0)
        assert (statistics.oldest, statistics.newest) == (None, None)
        assert (statistics.events_by_type, statistics.events_by_category) == ({}, {})
        assert (statistics.snapshot_count, statistics.checkpoint_count) == (0, 0)

    async def test_statistics_count_what_is_there(
        self, store: EventStore, clock: ManualClock
    ) -> None:
        await store.append("task-2", noted("a", "b"), expected_version=ANY)
        clock.advance(60)
        await store.append("task-1", [new_event(Counted())], expected_version=ANY)
        await store.append("memo.x-1-2", noted("c"), expected_version=ANY)

        statistics = await store.statistics()

        assert (statistics.event_count, statistics.stream_count) == (4, 3)
        assert statistics.head == await store.head()
        assert (statistics.oldest, statistics.newest) == (START, clock.now())
        by_type, by_category = statistics.events_by_type, statistics.events_by_category
        assert list(by_type.items()) == [("contract:counted", 1), ("contract:noted", 3)]
        assert list(by_category.items()) == [("memo.x", 1), ("task", 3)]
        assert list(statistics.streams_by_category.items()) == [("memo.x", 1), ("task", 2)]

    async def test_statistics_count_what_is_kept_beside_the_log(self, store: EventStore) -> None:
        for version in range(1, SNAPSHOT_COUNT_MAX + 3):
            await store.save_snapshot(snapshot(version))
        await store.save_snapshot(snapshot(1, stream_id="task-2"))
        for name in ("Counts", "Others", "Counts"):
            await store.save_checkpoint(Checkpoint(name, 1, "f", b"{}"))

        statistics = await store.statistics()

        assert statistics.snapshot_count == SNAPSHOT_COUNT_MAX + 1
        assert statistics.checkpoint_count == 2

    async def test_size_grows_with_what_is_stored(self, store: EventStore) -> None:
        before = (await store.statistics()).size_bytes

        # What no store can compress to less.
        await store.append(
            "task-1", noted(token_hex(450_000), token_hex(450_000)), expected_version=ANY
        )

        assert (await store.statistics()).size_bytes >= before + 900_000
