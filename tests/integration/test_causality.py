"""Which event came of which, over all streams; and the state of one correlation."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Counted, Counter, Noted, drain, new_event

from backstory import (
    ANY,
    Backstory,
    EventStore,
    InvalidInputError,
    Metadata,
    NewEvent,
    Projection,
    RecordedEvent,
    on,
)
from backstory._correlation import fold_correlation
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio


class Family:
    """Events with readable names, each caused by another."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.ids: dict[str, str] = {}

    async def append(self, name: str, *, cause: str | None) -> None:
        causation_id = self.ids.get(cause or "", cause)
        event = new_event(Noted(text=name), metadata=Metadata(causation_id=causation_id))
        self.ids[name] = event.event_id
        await self.store.append(f"family-{name}", [event], expected_version=ANY)

    async def causes(self, name: str) -> list[str]:
        return names(await drain(self.store.read_causes(self.ids[name])))

    async def effects(self, name: str) -> list[str]:
        id = self.ids.get(name, name)
        return names(await drain(self.store.read_effects(id)))


def names(events: list[RecordedEvent]) -> list[str]:
    return [event.id for event in events]


@pytest.fixture
async def family(store: EventStore) -> Family:
    """Return a command's three generations, with strangers between them."""
    family = Family(store)
    for name, cause in (
        ("stranger", None),
        ("a", "command-1"),
        ("a.1", "a"),
        ("b", "command-1"),
        ("a.2", "a"),
        ("b.1", "b"),
        ("single", "command-2"),
        ("a.1.x", "a.1"),
        ("b.1.x", "b.1"),
        ("a.2.x", "a.2"),
    ):
        await family.append(name, cause=cause)
    return family


async def test_causes_go_back_to_the_first_event(family: Family) -> None:
    assert await family.causes("a.1.x") == ["a.1", "a"]
    assert await family.causes("b") == []
    assert await family.causes("stranger") == []


async def test_effects_are_all_that_came_of_it_in_order(family: Family) -> None:
    assert await family.effects("a") == ["a.1", "a.2", "a.1.x", "a.2.x"]
    assert await family.effects("a.1.x") == []


async def test_command_has_effects_too(family: Family) -> None:
    assert await family.effects("command-1") == [
        *("a", "a.1", "b", "a.2", "b.1", "a.1.x", "b.1.x", "a.2.x")
    ]


async def test_id_in_another_spelling_is_no_relative(family: Family, store: EventStore) -> None:
    cause = uuid.UUID(family.ids["b"])
    metadata = Metadata(causation_id=str(cause).upper())
    await store.append("family-late", [new_event(metadata=metadata)], expected_version=ANY)
    (late,) = await drain(store.read_stream("family-late"))

    assert names(await drain(store.read_effects(cause))) == ["b.1", "b.1.x"]
    assert names(await drain(store.read_causes(late.event_id))) == []


@pytest.mark.usefixtures("family")
async def test_id_that_is_nowhere_has_no_relatives(store: EventStore) -> None:
    nobody = uuid.uuid4()

    assert await drain(store.read_causes(nobody)) == await drain(store.read_effects(nobody)) == []


async def test_event_that_names_a_later_one_runs_in_no_circle(store: EventStore) -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    for event_id, cause in ((one, other), (other, one)):
        event = NewEvent.of(Noted(), event_id=event_id, metadata=Metadata(causation_id=str(cause)))
        await store.append("knot-1", [event], expected_version=ANY)
    itself = uuid.uuid4()
    selfish = NewEvent.of(Noted(), event_id=itself, metadata=Metadata(causation_id=str(itself)))
    await store.append("knot-1", [selfish], expected_version=ANY)

    assert [e.version for e in await drain(store.read_causes(other))] == [1]
    assert [e.version for e in await drain(store.read_effects(one))] == [2]
    assert await drain(store.read_causes(itself)) == await drain(store.read_effects(itself)) == []


@pytest.mark.parametrize("unfit", ["", "x" * 1_025, "\ud800"])
async def test_what_is_no_id_is_refused(store: EventStore, unfit: str) -> None:
    with pytest.raises(InvalidInputError):
        await drain(store.read_causes(unfit))
    with pytest.raises(InvalidInputError):
        await drain(store.read_effects(unfit))


class Sum(Projection):
    total: int = 0
    seen: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by
        self.seen += 1


async def test_correlation_has_a_read_model_of_its_own(store: EventStore) -> None:
    story = Backstory(store)
    async with story:
        for number in range(3):
            await story.using(correlation_id="req-1").execute(Counter.count, f"a{number}", 5)
            await story.using(correlation_id="req-2").execute(Counter.count, f"a{number}", 7)

        assert (await story.read_model(Sum, correlation_id="req-1")).total == 15
        assert (await story.read_model(Sum, correlation_id="req-2", at_position=4)).total == 14
        assert (await story.read_model(Sum, correlation_id="req-3")).total == 0
    assert (await store.statistics()).checkpoint_count == 0


@pytest.mark.parametrize("correlation_id", ["req-1", "r" * 1_024])
async def test_long_correlation_goes_on_from_where_it_was_kept(
    store: EventStore, correlation_id: str
) -> None:
    async with Backstory(store) as story:
        long = story.using(correlation_id=correlation_id)
        await long.execute(Counter.count_each, "1", [1] * 150)
        assert (await story.read_model(Sum, correlation_id=correlation_id)).total == 150
        assert (await store.statistics()).checkpoint_count == 1
        await long.execute(Counter.count, "2", 5)

        model = await story.read_model(Sum, correlation_id=correlation_id)
        past = await story.read_model(Sum, correlation_id=correlation_id, at_position=100)

    assert (model.total, model.seen) == (155, 151)
    assert (past.total, past.seen) == (100, 100)


@pytest.mark.parametrize("verb", ["put_progress", "get_checkpoint"])
async def test_correlation_is_read_also_where_it_cannot_be_kept(
    store: EventStore, verb: Any
) -> None:
    faulty = FaultyStore(store)
    async with Backstory(store) as story:
        await story.using(correlation_id="req-1").execute(Counter.count_each, "1", [1] * 150)
    faulty.fail(verb, times=None)

    model = await fold_correlation(faulty, Sum, "req-1")

    assert model.total == 150
    assert faulty.count(verb)


async def test_correlation_is_read_of_a_store_that_is_read_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'story.db'}"
    async with Backstory(url) as story:
        await story.using(correlation_id="req-1").execute(Counter.count_each, "1", [1] * 150)

    async with Backstory(url, read_only=True) as story:
        model = await story.read_model(Sum, correlation_id="req-1")

    assert model.total == 150


async def test_look_at_the_past_leaves_what_was_kept_of_the_present(store: EventStore) -> None:
    faulty = FaultyStore(store)
    async with Backstory(store) as story:
        await story.using(correlation_id="req-1").execute(Counter.count_each, "1", [1] * 300)
    await fold_correlation(faulty, Sum, "req-1")

    past = await fold_correlation(faulty, Sum, "req-1", until_position=150)

    assert past.total == 150
    assert faulty.count("put_progress") == 1
