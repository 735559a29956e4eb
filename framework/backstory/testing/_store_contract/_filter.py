"""Which events a reader gets who asks for some."""

import json
import random
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import Any, Final

import pytest

from backstory._commit import StreamAppend
from backstory._events import Metadata
from backstory._filter import EventFilter, where
from backstory._recorded import NewEvent, RecordedEvent
from backstory._store import EventStore
from backstory._versions import ANY
from backstory.testing._clock import START, ManualClock
from backstory.testing._events import new_event
from backstory.testing._store_contract._contract import Contract
from backstory.testing._store_contract._sample import (
    Counted,
    Listed,
    Noted,
    drain,
    noted,
)


def sample_log() -> Iterator[StreamAppend]:
    """Yield appends in which every part of a filter matches something and leaves something out."""
    chance = random.Random(7)  # noqa: S311 - a fixed sample
    for number in range(120):
        event = chance.choice([Noted(text=str(number)), Counted(by=number), Listed()])
        metadata = Metadata(
            correlation_id=chance.choice([None, "c1", "c2"]),
            causation_id=chance.choice([None, "b1", "B1", "c1"]),
            actor=chance.choice([None, "ada", "Ada", "ada%"]),
            tags=tuple(chance.sample(["red", "green", "re", "red%"], chance.randrange(4))),
        )
        new = NewEvent.of(event, event_id=uuid.uuid4(), metadata=metadata)
        if chance.random() < 0.2:
            new = NewEvent.raw(
                "contract:tallied", b'{"by":7}', event_id=new.event_id, metadata=metadata
            )
        category = chance.choice(["task", "tasks", "task.x", "Task", "t_sk"])
        yield StreamAppend(f"{category}-{chance.randrange(3)}", [new], ANY)


Item = dict[str, Any]
"""What is asked for, as `where` takes it."""


def filter_of(items: Sequence[Item]) -> EventFilter:
    """Return the filter that wants what one of the items wants."""
    return reduce(lambda one, other: one | other, (where(**item) for item in items))


def is_wanted(recorded: RecordedEvent, items: Sequence[Item]) -> bool:
    """Say by other means than the framework's whether one of the items wants an event."""
    return any(is_wanted_by(recorded, item) for item in items)


def is_wanted_by(recorded: RecordedEvent, item: Item) -> bool:
    """Say whether every part of an item holds."""
    metadata = json.loads(recorded.metadata_json)
    category = recorded.stream_id[: recorded.stream_id.index("-")]
    moment = recorded.recorded_at
    types = [name for asked in item.get("types", ()) for name in NAMES.get(asked, (asked,))]
    return all(
        [
            recorded.type in types or "types" not in item,
            category in item.get("categories", [category]),
            recorded.stream_id in item.get("streams", [recorded.stream_id]),
            item.get("correlation_id") in (None, metadata.get("correlation_id")),
            item.get("causation_id") in (None, metadata.get("causation_id")),
            item.get("actor") in (None, metadata.get("actor")),
            all(tag in metadata.get("tags", []) for tag in item.get("tags", ())),
            "recorded_after" not in item or moment > item["recorded_after"],
            "recorded_until" not in item or moment <= item["recorded_until"],
        ]
    )


NAMES: Final = {
    Noted: ("contract:noted",),
    Counted: ("contract:counted", "contract:tallied"),
    Listed: ("contract:listed",),
}
NOTHING: Final = "a type that is nowhere"
FILTERS: Final[dict[str, list[Item]]] = {
    "everything": [{}],
    "one class": [{"types": [Noted]}],
    "a class and its alias": [{"types": [Counted]}],
    "two types": [{"types": [Noted, "contract:tallied"]}],
    NOTHING: [{"types": ["contract:nothing"]}],
    "many types": [{"types": [Noted, *(f"contract:no-{number}" for number in range(20))]}],
    "one category": [{"categories": ["task"]}],
    "two categories": [{"categories": ["tasks", "t_sk"]}],
    "many categories": [{"categories": ["Task", *(f"no{number}" for number in range(20))]}],
    "one stream": [{"streams": ["task-1"]}],
    "two streams": [{"streams": ["t_sk-0", "Task-2"]}],
    "many streams": [{"streams": ["tasks-1", *(f"task-{number}" for number in range(5, 30))]}],
    "a stream and a category": [{"streams": ["task-1", "tasks-1"], "categories": ["tasks"]}],
    "a stream and a tag": [{"streams": ["task-1", "task.x-2"], "tags": ["red"]}],
    "a correlation": [{"correlation_id": "c1"}],
    "a cause": [{"causation_id": "b1"}],
    "a cause and a type": [{"causation_id": "c1", "types": [Noted]}],
    "an actor": [{"actor": "ada"}],
    "an actor with a wildcard": [{"actor": "ada%"}],
    "a tag": [{"tags": ["red"]}],
    "two tags": [{"tags": ["green", "re"]}],
    "later": [{"recorded_after": START + timedelta(seconds=28)}],
    "until": [{"recorded_until": START + timedelta(seconds=28)}],
    "a span": [
        {
            "recorded_after": START + timedelta(seconds=8),
            "recorded_until": START + timedelta(seconds=60),
        }
    ],
    "all at once": [
        {
            "types": [Noted, Listed],
            "categories": ["task", "tasks", "Task"],
            "streams": ["task-0", "tasks-0", "tasks-1", "Task-1", "Task-2"],
            "correlation_id": "c2",
            "tags": ["red"],
            "recorded_after": START,
        }
    ],
    "type and category": [{"types": [Counted], "categories": ["task.x", "task"]}],
    "category and actor": [{"categories": ["task"], "actor": "ada"}],
    "correlation and tag": [{"correlation_id": "c1", "tags": ["green"]}],
    "one type or another": [{"types": [Noted]}, {"types": [Listed]}],
    "one tag or another": [{"tags": ["red"]}, {"tags": ["green", "re"]}],
    "a tag or a type": [{"tags": ["red%"]}, {"types": ["contract:tallied"]}],
    "alternatives that overlap": [{"tags": ["red"]}, {"tags": ["red"], "types": [Noted]}],
    "something or everything": [{"actor": "Ada"}, {}],
    "nothing or something": [{"types": ["contract:nothing"]}, {"streams": ["task-0"]}],
    "three alternatives of several parts": [
        {"types": [Counted], "tags": ["green"], "categories": ["task", "Task"]},
        {"streams": ["tasks-1", "t_sk-1"], "correlation_id": "c1"},
        {"causation_id": "B1", "recorded_after": START + timedelta(seconds=60)},
    ],
}


class Filters(Contract):
    """Which events a reader gets who asks for some."""

    @pytest.fixture
    async def sampled(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[EventStore]:
        async with self.make_store(tmp_path, clock) as store:
            log = list(sample_log())
            for first in range(0, len(log), 4):
                await store.append_many(log[first : first + 4])
                clock.advance(4)
            yield store

    @pytest.mark.parametrize("text", ["\0", "a\0b", "\\u0000", "\\\0", '"tags"', "🙂\0"])
    async def test_free_text_hides_no_field_beside_it(self, store: EventStore, text: str) -> None:
        metadata = Metadata(
            correlation_id="c1", causation_id="b1", actor="ada", tags=("red",), free={"text": text}
        )
        event = NewEvent.of(Noted(text=text), event_id=uuid.uuid4(), metadata=metadata)
        await store.append("task-1", [event], expected_version=0)

        for wanted in (
            where(correlation_id="c1"),
            where(causation_id="b1"),
            where(actor="ada"),
            where(tags=["red"]),
        ):
            (recorded,) = await drain(store.read_log(where=wanted))
            assert recorded.metadata == metadata
            assert recorded.data == Noted(text=text)

    @pytest.mark.parametrize("name", FILTERS)
    async def test_filter_gives_what_it_says(self, sampled: EventStore, name: str) -> None:
        items = FILTERS[name]
        condition = filter_of(items)
        wanted = [e for e in await drain(sampled.read_log()) if is_wanted(e, items)]

        assert await drain(sampled.read_log(where=condition)) == wanted
        assert await drain(sampled.read_log(where=condition, backward=True)) == wanted[::-1]
        assert await drain(sampled.read_log(where=condition, limit=3)) == wanted[:3]
        assert bool(wanted) == (name != NOTHING)

    @pytest.mark.parametrize("name", FILTERS)
    async def test_filter_holds_within_a_stream(self, sampled: EventStore, name: str) -> None:
        items = FILTERS[name]

        for stream_id in ("task-0", "tasks-1", "Task-2"):
            events = await drain(sampled.read_stream(stream_id))
            wanted = [event for event in events if is_wanted(event, items)]
            found = await drain(sampled.read_stream(stream_id, where=filter_of(items)))
            assert found == wanted

    @pytest.mark.parametrize("name", FILTERS)
    async def test_filter_and_bounds_hold_together(self, sampled: EventStore, name: str) -> None:
        items = FILTERS[name]
        every = await drain(sampled.read_log())
        wanted = [event for event in every[21:91] if is_wanted(event, items)]
        bounds: dict[str, Any] = {
            "after_position": every[20].position,
            "until_position": every[90].position,
            "where": filter_of(items),
        }

        assert await drain(sampled.read_log(**bounds)) == wanted
        for limit in (1, 4):
            backward = await drain(sampled.read_log(**bounds, backward=True, limit=limit))
            assert backward == wanted[::-1][:limit]

    async def test_limit_counts_behind_the_filter(self, store: EventStore) -> None:
        await store.append("task-1", noted("a", "b", "c"), expected_version=ANY)
        await store.append("task-1", [new_event(Counted())], expected_version=ANY)
        condition = where(types=[Counted])

        for events in (
            store.read_log(where=condition, limit=1),
            store.read_stream("task-1", where=condition, limit=1),
        ):
            assert [event.version for event in await drain(events)] == [4]
        page = await store.read_log_page(where=condition, limit=1)
        assert [event.version for event in page.events] == [4]
