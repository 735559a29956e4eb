"""Drives a store and the model of one with the same calls, and compares every answer.

What is drawn is symbolic where it depends on what has happened: an expected version is "the right
one", an event is "the third". So most calls mean something, and what hypothesis makes smaller still
does.
"""

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import reduce
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import anyio
import anyio.lowlevel
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.simulation.store_model import (
    Condition,
    Entry,
    Fact,
    Item,
    Part,
    Place,
    Refusal,
    StoreModel,
)

from backstory import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    AppendCondition,
    BackstoryError,
    Checkpoint,
    Durability,
    EventFilter,
    EventStore,
    ExpectedVersion,
    Metadata,
    NewEvent,
    RawEvent,
    Receipt,
    RecordedEvent,
    Snapshot,
    StoreClosedError,
    StreamAppend,
    Subscription,
    where,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import ManualClock

T = TypeVar("T")
Batch = tuple[Sequence[Part], Condition | None]
Answer = list[Receipt] | BackstoryError

# Few of each, so that they meet; and such as are easily taken for one another.
STREAMS: Final = ("task-1", "task-10", "task-1-1", "task-Ä", "Task-1", "t-1", "task.x-1")
CATEGORIES: Final = ("task", "Task", "t", "task.x", "other")
TYPES: Final = ("model:a", "model:A", "model:a.b")
TAGS: Final = ("red", "Red", "red ", "%")
ACTORS: Final = ("ada", "Ada", "_da")
COMMANDS: Final = ("command-1", "COMMAND-1")
SECONDS: Final = (-60, 0, 1, 60)
FINGERPRINTS: Final = ("one", "other")
EXPECTED: Final[Mapping[str, ExpectedVersion]] = {
    "any": ANY,
    "no stream": NO_STREAM,
    "exists": STREAM_EXISTS,
}

PARTS: Final[Mapping[str, tuple[Sequence[Any], int]]] = {
    "types": (TYPES, 2),
    "categories": (CATEGORIES, 2),
    "streams": (STREAMS, 3),
    "tags": (TAGS, 2),
    "actor": (ACTORS, 0),
    "correlation_id": (ACTORS, 0),
    "causation_id": ((*range(8), *COMMANDS), 0),
    "recorded_after": (range(-2, 3), 0),
    "recorded_until": (range(-2, 3), 0),
}
"""The parts of a filter's item: their values (of moments: minutes; of causes: which event), and how
many of them at most; 0 where the part is one value."""

SUBSCRIPTION_COUNT_MAX: Final = 3
DEADLINE_SECONDS: Final = 10
READ_COUNT: Final = 10
"""How many reads one step makes."""


class DrawnFact(NamedTuple):
    """An event as it is drawn."""

    type: str
    schema_version: int
    number: int
    tags: tuple[str, ...]
    actor: str | None
    correlation_id: str | None
    cause: int | str | None
    reused: int | None


class DrawnPart(NamedTuple):
    """A stream's part of an append as it is drawn."""

    stream_id: str
    facts: list[DrawnFact]
    expected: int | str


class DrawnCondition(NamedTuple):
    """A condition as it is drawn."""

    items: list[dict[str, Any]]
    after: int | str


class Bounds:
    """Bounds, directions and limits for many reads, expanded from one number.

    Each read needs several numbers, and only some of them together show anything. Drawn one by one
    they would be few and slow.
    """

    def __init__(self, seed: int, most: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - reproducible
        self._most = most

    def after(self) -> int:
        return self._chance.choice((0, self._chance.randint(0, self._most + 1)))

    def until(self) -> int | None:
        return self._chance.choice((None, self._chance.randint(0, self._most + 1)))

    def limit(self) -> int | None:
        return self._chance.choice((None, self._chance.randint(0, 7)))

    def backward(self) -> bool:
        return self._chance.random() < 1 / 2

    def index(self) -> int:
        return self._chance.randint(0, 99)

    def items(self) -> list[dict[str, Any]]:
        return [self._item() for _ in range(self._chance.randint(1, 2))]

    def _item(self) -> dict[str, Any]:
        names = self._chance.sample(sorted(PARTS), self._chance.randint(1, 2))
        return {name: self._part(*PARTS[name]) for name in names}

    def _part(self, values: Sequence[Any], most: int) -> Any:
        some_values = self._chance.sample(values, self._chance.randint(1, max(most, 1)))
        return tuple(some_values) if most else some_values[0]


def seldom(strategy: st.SearchStrategy[T], times: int = 4) -> st.SearchStrategy[T | None]:
    """Draw None a few times as often as something."""
    return st.one_of(*([st.none()] * times), strategy)


def some(values: Sequence[Any], most: int = 2) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), max_size=most, unique=True).map(tuple)


numbers = st.integers(0, 20)
seeds = st.integers(0, 999)
streams = st.sampled_from(STREAMS)
causes: st.SearchStrategy[int | str] = st.one_of(
    numbers, st.sampled_from(COMMANDS), st.sampled_from(("the next", "itself"))
)
facts = st.builds(
    DrawnFact,
    type=st.sampled_from(TYPES),
    schema_version=st.integers(1, 2),
    number=st.integers(0, 2),
    tags=some(TAGS),
    actor=st.none() | st.sampled_from(ACTORS),
    correlation_id=st.none() | st.sampled_from(ACTORS),
    cause=st.none() | causes,
    reused=seldom(numbers, 12),
)
expectations: st.SearchStrategy[int | str] = st.one_of(
    st.sampled_from(("any", "right")),
    st.sampled_from(("any", "no stream", "exists", "right", "one less")),
    numbers,
)
parts = st.lists(
    st.builds(
        DrawnPart,
        stream_id=streams,
        facts=st.lists(facts, min_size=1, max_size=3),
        expected=expectations,
    ),
    min_size=1,
    max_size=3,
)
first_parts = st.lists(
    st.builds(
        DrawnPart,
        stream_id=streams,
        facts=st.lists(facts, min_size=2, max_size=4),
        expected=st.just("any"),
    ),
    min_size=3,
    max_size=5,
)
drawn_parts: Final[dict[str, st.SearchStrategy[Any]]] = {
    name: some(values, most) if most else st.sampled_from(values)
    for name, (values, most) in PARTS.items()
}
# Of many parts together none would match.
items: st.SearchStrategy[dict[str, Any]] = st.lists(
    st.one_of(*(st.tuples(st.just(name), value) for name, value in drawn_parts.items())),
    max_size=2,
).map(dict)
filters: st.SearchStrategy[list[dict[str, Any]]] = st.lists(items, min_size=1, max_size=3)
everything: st.SearchStrategy[list[dict[str, Any]]] = st.builds(lambda: [{}])
some_condition = st.builds(
    DrawnCondition,
    items=st.one_of(everything, filters),
    after=st.one_of(
        st.just("head"), st.sampled_from(("head", "one less", "beyond")), st.integers(0, 9)
    ),
)
conditions = seldom(some_condition, 2)


class StoreMachine(RuleBasedStateMachine):
    """One store, or two on one file, and the model."""

    is_shared: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = TemporaryDirectory()
        self.clock = ManualClock()
        self._start = self.clock.moment
        self.model = StoreModel()
        self._id_count = 0
        self._appended: list[Sequence[Part]] = []
        self._followers: list[Follower] = []
        self._stores: list[EventStore] = [self.make_store(Path(self._folder.name))]
        self._turn = 0
        self.run(self.store.open())

    def make_store(self, folder: Path) -> EventStore:
        return InMemoryStore(clock=self.clock)

    @property
    def store(self) -> EventStore:
        return self._stores[self._turn % len(self._stores)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def within_time() -> T:
            with anyio.fail_after(DEADLINE_SECONDS):
                return await work

        return self._runner.run(within_time())

    def drain(self, events: AsyncIterator[T]) -> list[T]:
        async def drain() -> list[T]:
            return [event async for event in events]

        return self.run(drain())

    def teardown(self) -> None:
        try:
            for _ in self._stores:
                self._turn += 1
                self._read_log([{}], Bounds(0, self.model.head()))
                self.look_around()
        finally:
            self._close()
            self._runner.close()
            self._folder.cleanup()

    def _close(self) -> None:
        for follower in self._followers:
            self.run(follower.leave())
        self._followers.clear()
        for store in self._stores:
            self.run(store.aclose())

    # Writing

    @initialize(drawn=first_parts)
    def begin(self, drawn: list[DrawnPart]) -> None:
        self._append([self._part(part) for part in drawn], None)

    @rule(drawn=parts, condition=conditions)
    def append(self, drawn: list[DrawnPart], condition: DrawnCondition | None) -> None:
        self._append([self._part(part) for part in drawn], condition)

    @rule(drawn=facts, stream_id=streams, condition=some_condition)
    def append_on_condition(
        self, drawn: DrawnFact, stream_id: str, condition: DrawnCondition
    ) -> None:
        self._append([self._part(DrawnPart(stream_id, [drawn], "any"))], condition)

    @precondition(lambda self: self._appended)
    @rule(
        which=numbers,
        how=st.sampled_from(
            (
                *("whole", "whole", "one part", "first events", "turned round", "and more"),
                *("other data", "other type", "other tags", "other stream", "twice"),
            )
        ),
        expected=expectations,
        condition=conditions,
    )
    def append_again(
        self, which: int, how: str, expected: int | str, condition: DrawnCondition | None
    ) -> None:
        before = self._appended[which % len(self._appended)]
        again = [self._again(part, how, expected) for part in before]
        if how == "one part":
            again = again[which % len(again) :][:1]
        self._append(again * 2 if how == "twice" else again, condition)

    @rule(drawn=st.lists(st.tuples(parts, conditions), min_size=2, max_size=3), seed=seeds)
    def append_together(
        self, drawn: list[tuple[list[DrawnPart], DrawnCondition | None]], seed: int
    ) -> None:
        """Append several at a time: some order of them explains all answers."""
        batches: list[Batch] = [
            ([self._part(part) for part in some_parts], self._condition(condition))
            for some_parts, condition in drawn
        ]
        found = self.run(self._answers(batches, Bounds(seed, 0)))
        for order in permutations(range(len(batches))):
            model = self.model.copy_log()
            wanted = {place: model.append(*batches[place], self.clock.now()) for place in order}
            if all(self._fits(found[place], wanted[place]) for place in order):
                self.model.entries = model.entries
                self._appended += [
                    batches[place][0] for place in order if isinstance(wanted[place], list)
                ]
                return
        raise AssertionError(f"no order of {batches} explains {found}")

    async def _answers(self, batches: Sequence[Batch], bounds: Bounds) -> list[Answer]:
        answers: dict[int, Answer] = {}

        async def ask(place: int) -> None:
            store = self._stores[bounds.index() % len(self._stores)]
            answers[place] = await answer_of(store, *batches[place])

        async with anyio.create_task_group() as tasks:
            for place in range(len(batches)):
                tasks.start_soon(ask, place)
        return [answers[place] for place in range(len(batches))]

    def _append(self, written: list[Part], drawn: DrawnCondition | None) -> None:
        condition = self._condition(drawn)
        wanted = self.model.append(written, condition, self.clock.now())
        if isinstance(wanted, list):
            self._appended.append(written)

        found = self.run(answer_of(self.store, written, condition))

        assert self._fits(found, wanted), f"wanted {wanted}, found {found!r}"

    def _fits(self, found: Answer, wanted: list[Place] | set[Refusal]) -> bool:
        if isinstance(wanted, set):
            return any(is_that(found, refusal) for refusal in wanted)
        durability: Durability = self.store.capabilities.durability
        return found == [
            Receipt(place.stream_id, *place.versions, *place.positions, durability)
            for place in wanted
        ]

    def _part(self, drawn: DrawnPart) -> Part:
        some_facts = [self._fact(fact) for fact in drawn.facts]
        return Part(drawn.stream_id, some_facts, self._expected(drawn.expected, drawn.stream_id))

    def _fact(self, drawn: DrawnFact) -> Fact:
        event_id = self._new_id()
        if drawn.reused is not None and self.model.entries:
            event_id = self._entry(drawn.reused).fact.event_id
        metadata = {
            "tags": drawn.tags,
            "actor": drawn.actor,
            "correlation_id": drawn.correlation_id,
            "causation_id": self._cause_of(event_id, drawn.cause),
        }
        said = {key: value for key, value in metadata.items() if value}
        return Fact(event_id, drawn.type, drawn.schema_version, {"n": drawn.number}, said)

    def _new_id(self) -> str:
        self._id_count += 1
        return event_id_of(self._id_count)

    def _cause_of(self, event_id: str, drawn: int | str | None) -> str | None:
        if drawn == "itself":
            return event_id
        if drawn == "the next":
            return event_id_of(self._id_count + 1)
        return None if drawn is None else self._cause(drawn)

    def _again(self, part: Part, how: str, expected: int | str) -> Part:
        first, *others = part.facts
        again = {
            "first events": part.facts[: max(len(part.facts) // 2, 1)],
            "turned round": part.facts[::-1],
            "other data": [first.but(data={"n": 7}), *others],
            "other type": [first.but(type="model:other"), *others],
            "other tags": [first.but(metadata={"tags": ("other",)}), *others],
        }.get(how, part.facts)
        if how == "and more":
            again = [*again, first.but(event_id=self._new_id())]
        stream_id = "task-other" if how == "other stream" else part.stream_id
        return Part(stream_id, again, self._expected(expected, stream_id))

    def _expected(self, drawn: int | str, stream_id: str) -> int | str:
        version = self.model.version(stream_id)
        return {"right": version, "one less": max(version - 1, 0)}.get(str(drawn), drawn)

    def _condition(self, drawn: DrawnCondition | None) -> Condition | None:
        if drawn is None:
            return None
        head = self.model.head()
        symbols = {"head": head, "one less": max(head - 1, 0), "beyond": head + 3}
        after = symbols[drawn.after] if isinstance(drawn.after, str) else drawn.after
        return self._items(drawn.items), after

    def _items(self, drawn: Sequence[Mapping[str, Any]]) -> list[Item]:
        return [{part: self._value(part, value) for part, value in one.items()} for one in drawn]

    def _filters(
        self, drawn: Sequence[Mapping[str, Any]], bounds: Bounds
    ) -> Iterator[Sequence[Item]]:
        """Yield the filter that was drawn, the one that every event matches, and others."""
        for _ in range(READ_COUNT // 5):
            yield self._items(drawn)
            yield [{}]
            for _ in range(3):
                yield self._items(bounds.items())

    def _value(self, part: str, value: Any) -> Any:
        if part == "causation_id":
            return self._cause(value)
        if part in ("recorded_after", "recorded_until"):
            return self._start + timedelta(minutes=value)
        return value

    def _cause(self, drawn: int | str) -> str:
        if isinstance(drawn, str):
            return drawn
        return self._entry(drawn).fact.event_id if self.model.entries else COMMANDS[0]

    def _entry(self, number: int) -> Entry:
        return self.model.entries[number % len(self.model.entries)]

    @rule(seconds=st.sampled_from(SECONDS))
    def move_clock(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # Reading

    @rule(drawn=filters, seed=seeds)
    def read_log(self, drawn: list[dict[str, Any]], seed: int) -> None:
        bounds = Bounds(seed, self.model.head())
        for items in self._filters(drawn, bounds):
            self._read_log(items, bounds)

    def _read_log(self, items: Sequence[Item], bounds: Bounds) -> None:
        after, until = bounds.after(), bounds.until()
        backward, limit = bounds.backward(), bounds.limit()
        found = self.store.read_log(
            after_position=after,
            until_position=until,
            where=as_filter(items),
            backward=backward,
            limit=limit,
        )
        wanted = self.model.read_log(after, until, items, backward=backward, limit=limit)
        said = (items, after, until, backward, limit)
        assert seen(self.drain(found)) == wanted, said

    @rule(stream_id=streams, drawn=filters, seed=seeds)
    def read_stream(self, stream_id: str, drawn: list[dict[str, Any]], seed: int) -> None:
        versions = Bounds(seed, self.model.version(stream_id))
        positions = Bounds(seed, self.model.head())
        for items in self._filters(drawn, positions):
            self._read_stream(stream_id, items, versions, positions.until())

    def _read_stream(
        self, stream_id: str, items: Sequence[Item], bounds: Bounds, until_position: int | None
    ) -> None:
        after, until = bounds.after(), bounds.until()
        backward, limit = bounds.backward(), bounds.limit()
        found = self.store.read_stream(
            stream_id,
            after_version=after,
            until_version=until,
            until_position=until_position,
            where=as_filter(items),
            backward=backward,
            limit=limit,
        )
        wanted = self.model.read_stream(
            stream_id, after, until, until_position, items, backward=backward, limit=limit
        )
        said = (items, after, until, until_position, backward, limit)
        assert seen(self.drain(found)) == wanted, said

    @rule(drawn=filters, limit=st.integers(1, 5), offset=st.integers(0, 7), seed=seeds)
    def read_pages(self, drawn: list[dict[str, Any]], limit: int, offset: int, seed: int) -> None:
        items, bounds = self._items(drawn), Bounds(seed, self.model.head())
        after, until, backward = bounds.after(), bounds.until(), bounds.backward()
        wanted = self.model.read_log(after, until, items, backward=backward, limit=None)[offset:]
        cursor: int | None = None
        while True:
            page = self.run(
                self.store.read_log_page(
                    cursor=cursor,
                    offset=offset,
                    limit=limit,
                    after_position=after,
                    until_position=until,
                    where=as_filter(items),
                    backward=backward,
                )
            )
            assert seen(page.events) == wanted[:limit], (after, until, backward)
            wanted, cursor, offset = wanted[limit:], page.cursor, 0
            assert (cursor is None) == (not wanted)
            if cursor is None:
                return

    @rule(number=numbers, command=st.sampled_from(COMMANDS))
    def trace(self, number: int, command: str) -> None:
        for event_id in (event_id_of(number), event_id_of(number + 1)):
            found = self.run(self.store.read_event(event_id))
            wanted = self.model.find(event_id)
            assert seen([found] if found else []) == ([wanted] if wanted else [])
            chain = self.drain(self.store.read_causes(event_id))
            assert seen(chain) == self.model.causes(event_id)
        for causation_id in (*map(event_id_of, range(number, number + 5)), command):
            effects = self.drain(self.store.read_effects(causation_id))
            assert seen(effects) == self.model.effects(causation_id)

    @rule()
    def look_around(self) -> None:
        for category in (None, *CATEGORIES):
            found = self.drain(self.store.read_streams(category))
            assert [(one.stream_id, one.version) for one in found] == self.model.streams(category)
        statistics = self.run(self.store.statistics())
        for name, value in self.model.statistics().items():
            assert getattr(statistics, name) == value, name
        assert self.run(self.store.head()) == self.model.head()

    # Saved states

    @rule(
        stream_id=st.sampled_from(STREAMS[:2]),
        first=st.integers(1, 9),
        step=st.integers(1, 3),
        count=st.integers(1, 12),
        seed=seeds,
    )
    def save_snapshots(self, stream_id: str, first: int, step: int, count: int, seed: int) -> None:
        bounds = Bounds(seed, 0)
        for version in range(first, first + step * count, step):
            fingerprint = FINGERPRINTS[bounds.index() % 2]
            state_json = json.dumps(bounds.index()).encode()
            self._save_snapshot(Snapshot(stream_id, version, fingerprint, state_json))
        self._load_snapshots(stream_id)

    def _save_snapshot(self, snapshot: Snapshot) -> None:
        self.run(self.store.save_snapshot(snapshot))
        self.model.save_snapshot(
            snapshot.stream_id, snapshot.version, snapshot.fingerprint, snapshot.state_json
        )

    @rule(stream_id=st.sampled_from(STREAMS[:3]))
    def load_snapshots(self, stream_id: str) -> None:
        self._load_snapshots(stream_id)

    def _load_snapshots(self, stream_id: str) -> None:
        for fingerprint in FINGERPRINTS:
            for until in (None, *range(0, 30, 3)):
                found = self.run(
                    self.store.load_snapshot(
                        stream_id, fingerprint=fingerprint, until_version=until
                    )
                )
                wanted = self.model.load_snapshot(stream_id, fingerprint, until)
                assert found == (wanted and Snapshot(stream_id, wanted[0], fingerprint, wanted[1]))

    @rule(stream_id=seldom(st.sampled_from(STREAMS[:2]), 1))
    def delete_snapshots(self, stream_id: str | None) -> None:
        for one in STREAMS[:2]:
            self._save_snapshot(Snapshot(one, 20, FINGERPRINTS[0], b"20"))
        found = self.run(self.store.delete_snapshots(stream_id))
        assert found == self.model.delete_snapshots(stream_id)
        for one in STREAMS[:2]:
            self._load_snapshots(one)

    @rule(projection=st.sampled_from(ACTORS), position=st.none() | numbers)
    def keep_checkpoint(self, projection: str, position: int | None) -> None:
        if position is None:
            self.run(self.store.delete_checkpoint(projection))
            self.model.checkpoints.pop(projection, None)
        else:
            kept = (position, "one", json.dumps(position).encode())
            self.run(self.store.save_checkpoint(Checkpoint(projection, *kept)))
            self.model.checkpoints[projection] = kept
        for name in ACTORS:
            found = self.run(self.store.load_checkpoint(name))
            wanted = self.model.checkpoints.get(name)
            assert found == (wanted and Checkpoint(name, *wanted))

    # Following

    @precondition(lambda self: len(self._followers) < SUBSCRIPTION_COUNT_MAX)
    @rule(after=numbers, drawn=filters)
    def subscribe(self, after: int, drawn: list[dict[str, Any]]) -> None:
        follower = Follower(after, self._items(drawn))
        self.run(follower.begin(self.store))
        self._followers.append(follower)

    @precondition(lambda self: self._followers)
    @rule(which=numbers, count=st.integers(1, 10), by_page=st.booleans())
    def follow(self, which: int, count: int, by_page: bool) -> None:  # noqa: FBT001 - drawn
        follower = self._followers[which % len(self._followers)]
        behind = follower.position
        wanted = self.model.read_log(behind, None, follower.items, backward=False, limit=None)
        if not wanted:
            return
        if by_page:
            found = seen(self.run(follower.read_page()))
        else:
            found = seen(self.run(follower.take(min(count, len(wanted)))))
        assert found == wanted[: len(found)]
        follower.position = found[-1].position
        follower.check_position(wanted[len(found) :])

    @precondition(lambda self: self._followers)
    @rule(which=numbers)
    def unsubscribe(self, which: int) -> None:
        follower = self._followers.pop(which % len(self._followers))
        self.run(follower.leave())

    @rule(drawn=facts, behind=st.integers(0, 5))
    def wait_for_append(self, drawn: DrawnFact, behind: int) -> None:
        """A wait ends at once where there is something, and with the next append where not."""
        head = self.model.head()
        if head:
            self.run(self.store.wait_beyond(max(head - 1 - behind, 0)))
        written = [Part(STREAMS[0], [self._fact(drawn._replace(reused=None))], "any")]
        wanted = self.model.append(written, None, self.clock.now())

        assert self._fits(self.run(self._wait_and_append(head, written)), wanted)

    async def _wait_and_append(self, head: int, written: Sequence[Part]) -> Answer:
        answers: list[Answer] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.store.wait_beyond, head)
            await anyio.lowlevel.checkpoint()
            answers.append(await answer_of(self._stores[-1], written, None))
        return answers[0]

    # Opening

    @rule()
    def open_again(self) -> None:
        self._close()
        with contextlib.suppress(StoreClosedError):
            self.run(self.store.head())
            raise AssertionError("a closed store answers")
        self._turn, self._stores = 0, self._stores[:1]
        if self.is_shared:
            self._stores = [self.make_store(Path(self._folder.name))]
        self.run(self.store.open())

    @precondition(lambda self: self.is_shared and len(self._stores) == 1)
    @rule()
    def open_another(self) -> None:
        store = self.make_store(Path(self._folder.name))
        self.run(store.open())
        self._stores.append(store)

    @precondition(lambda self: len(self._stores) > 1)
    @rule()
    def take_turns(self) -> None:
        self._turn += 1


class SQLiteMachine(StoreMachine):
    """The same over a file, which two stores may have open."""

    is_shared = True

    def make_store(self, folder: Path) -> EventStore:
        return SQLiteStore(
            folder / "story.db",
            durability=Durability.BUFFERED,  # what is synced when is tested elsewhere
            poll_interval_seconds=0.001,
            clock=self.clock,
        )


class Follower:
    """A subscription, and how far the model says it is."""

    def __init__(self, position: int, items: Sequence[Item]) -> None:
        self.position = position
        self.items = items
        self._stack = AsyncExitStack()
        self._subscription: Subscription

    async def begin(self, store: EventStore) -> None:
        subscription = store.subscribe(after_position=self.position, where=as_filter(self.items))
        self._subscription = await self._stack.enter_async_context(subscription)

    async def take(self, count: int) -> list[RecordedEvent]:
        return [await anext(self._subscription) for _ in range(count)]

    async def read_page(self) -> list[RecordedEvent]:
        while (page := await self._subscription.read()) is not None:
            if page.events:
                return page.events
        raise AssertionError("the subscription has stopped")

    def check_position(self, left: Sequence[Entry]) -> None:
        """Subscribing again behind its position would neither miss nor repeat anything."""
        assert self._subscription.position >= self.position
        if left:
            assert self._subscription.position < left[0].position

    async def leave(self) -> None:
        await self._stack.aclose()
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await anext(self._subscription)


async def answer_of(
    store: EventStore, written: Sequence[Part], condition: Condition | None
) -> Answer:
    """Append, and return the receipts, or what was raised."""
    judged = None if condition is None else AppendCondition(as_filter(condition[0]), condition[1])
    first, *others = map(as_append, written)
    try:
        if others:
            return list(await store.append_many([first, *others], condition=judged))
        receipt = await store.append(
            first.stream_id,
            first.events,
            expected_version=first.expected_version,
            condition=judged,
        )
    except BackstoryError as error:
        return error
    return [receipt]


def is_that(found: Answer, refusal: Refusal) -> bool:
    return type(found).__name__ == refusal.error and all(
        getattr(found, name) == value for name, value in refusal.says
    )


def event_id_of(number: int) -> str:
    return str(uuid.UUID(int=number))


def as_filter(items: Sequence[Item]) -> EventFilter:
    return reduce(lambda one, other: one | other, (where(**item) for item in items))


def as_append(part: Part) -> StreamAppend:
    expected = EXPECTED[part.expected] if isinstance(part.expected, str) else part.expected
    events = [
        NewEvent.raw(
            fact.type,
            json.dumps(fact.data).encode(),
            event_id=fact.event_id,
            schema_version=fact.schema_version,
            metadata=Metadata(**fact.metadata),
        )
        for fact in part.facts
    ]
    return StreamAppend(part.stream_id, events, expected)


def seen(events: Sequence[RecordedEvent]) -> list[Entry]:
    """Return events as the model has them, with everything that a reader can see."""
    return [
        Entry(event.position, event.stream_id, event.version, event.recorded_at, fact_of(event))
        for event in events
    ]


def fact_of(event: RecordedEvent) -> Fact:
    said: dict[str, Any] = json.loads(event.metadata_json)
    said["tags"] = tuple(said.get("tags", ()))
    assert event.metadata.tags == said["tags"]
    data: dict[str, Any] = event.data.content if isinstance(event.data, RawEvent) else {}
    fact = Fact(event.event_id, event.type, event.schema_version, dict(data), without_empty(said))
    data["n"] = "changed by a reader"  # which is nobody else's affair
    return fact


def without_empty(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if value}
