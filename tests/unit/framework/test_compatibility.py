"""What the check before a deploy says of prepared changes of event classes."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import product
from typing import Annotated, Any, TypedDict

import pytest
from msgspec import UNSET, Meta, Struct, UnsetType
from tests.conftest import unchecked

from backstory import ANY, Aggregate, Event, EventStore, RawEvent, on
from backstory.operations import CompatibilityReport, Verdict, check_compatibility
from backstory.operations._keeping import Keeping
from backstory.operations._shape import Shapes
from backstory.stores.in_memory import InMemoryStore

pytestmark = pytest.mark.anyio


class Status(Enum):
    OPEN = "open"
    CLOSED = "closed"


class Line(Struct):
    sku: str
    count: int = 1


class Terse(Struct, omit_defaults=True):
    color: str = "red"


class Circle(Struct, tag="circle"):
    radius: float


class Square(Struct, tag="square"):
    side: float


class Pair(Struct, array_like=True):
    left: int
    right: int = 0


class Named(TypedDict):
    name: str


@dataclass
class Weighed:
    weight: float
    unit: str = "kg"


def _rename(data: dict[str, Any]) -> dict[str, Any]:
    data["title"] = data.pop("name")
    return data


def _pass_on(data: dict[str, Any]) -> dict[str, Any]:
    return data


def _refuse(data: dict[str, Any]) -> dict[str, Any]:
    return {"title": data["never there"]}


def _return_nothing(_data: dict[str, Any]) -> Any:
    return None


def _return_no_json(_data: dict[str, Any]) -> dict[str, Any]:
    return {"title": object()}


class Plain(Event, type="compat:plain"):
    title: str
    count: int = 1


class Renamed(Event, type="compat:renamed", schema_version=2, upcasters={1: _rename}):
    title: str


class RenamedHard(Event, type="compat:renamed-hard"):
    title: str = ""


class Required(Event, type="compat:required"):
    title: str
    priority: int


class Narrowed(Event, type="compat:narrowed"):
    size: int


class Bounded(Event, type="compat:bounded"):
    size: Annotated[int, Meta(ge=1)]


class Chosen(Event, type="compat:chosen"):
    status: Status


class Nested(Event, type="compat:nested"):
    lines: list[Line] = []


class Leaving(Event, type="compat:leaving"):
    paint: Terse


class Tagged(Event, type="compat:tagged"):
    figure: Circle | Square


class Mapped(Event, type="compat:mapped"):
    by_name: dict[str, Line] = {}


class Floating(Event, type="compat:floating"):
    value: float


class Timed(Event, type="compat:timed"):
    at: datetime


class Paired(Event, type="compat:paired"):
    pair: Pair


class Typed(Event, type="compat:typed"):
    who: Named


class Heavy(Event, type="compat:heavy"):
    load: Weighed


class Collected(Event, type="compat:collected"):
    numbers: frozenset[int]


class Free(Event, type="compat:free"):
    anything: Any = None


class Perhaps(Event, type="compat:perhaps"):
    note: str | UnsetType = UNSET


class NewName(Event, type="compat:new-name", aliases=("compat:old-name",)):
    title: str


class Raising(Event, type="compat:raising", schema_version=2, upcasters={1: _refuse}):
    title: str


class Empty(Event, type="compat:empty", schema_version=2, upcasters={1: _return_nothing}):
    title: str


class NoJSON(Event, type="compat:no-json", schema_version=2, upcasters={1: _return_no_json}):
    title: str


class Mistaken(Event, type="compat:mistaken", schema_version=2, upcasters={1: _pass_on}):
    title: str


class Careless(Event, type="compat:careless", schema_version=2, upcasters={1: _pass_on}):
    title: str


class Exploding(Event, type="compat:exploding"):
    title: str

    def __post_init__(self) -> None:
        raise KeyError(self.title)


EVOLUTIONS = [
    ("nothing changed", "plain", 1, '{"title":"a","count":2}', "reads", ""),
    ("optional field added", "plain", 1, '{"title":"a"}', "fills", "count"),
    ("field removed", "plain", 1, '{"title":"a","count":1,"old":1}', "loses", "old"),
    ("renamed with upcaster", "renamed", 1, '{"name":"a"}', "reads", ""),
    ("renamed without upcaster", "renamed-hard", 1, '{"name":"a"}', "loses", "name"),
    ("renamed without upcaster, filled", "renamed-hard", 1, '{"name":"a"}', "fills", "title"),
    ("required field added", "required", 1, '{"title":"a"}', "breaks", "`priority`"),
    ("type narrowed", "narrowed", 1, '{"size":"12"}', "breaks", "got `str`"),
    ("type narrowed, null", "narrowed", 1, '{"size":null}', "breaks", "got `null`"),
    ("bound added", "bounded", 1, '{"size":0}', "breaks", ">= 1"),
    ("enum value removed", "chosen", 1, '{"status":"paused"}', "breaks", "'paused'"),
    (
        "nested field removed",
        "nested",
        1,
        '{"lines":[{"sku":"a","tax":1}]}',
        "loses",
        "lines[].tax",
    ),
    ("nested field added", "nested", 1, '{"lines":[{"sku":"a"}]}', "fills", "lines[].count"),
    ("nested field required", "nested", 1, '{"lines":[{"count":1}]}', "breaks", "`sku`"),
    ("default left out when encoding", "leaving", 1, '{"paint":{"color":"red"}}', "reads", ""),
    ("tag of a union", "tagged", 1, '{"figure":{"type":"circle","radius":1.5}}', "reads", ""),
    ("union member removed", "tagged", 1, '{"figure":{"type":"line"}}', "breaks", "'line'"),
    ("value of a map", "mapped", 1, '{"by_name":{"a":{"sku":"s","x":1}}}', "loses", "by_name.*.x"),
    ("whole number kept as float", "floating", 1, '{"value":3}', "reads", ""),
    ("digits lost", "floating", 1, '{"value":9007199254740993}', "loses", "value"),
    ("time in another zone", "timed", 1, '{"at":"2026-01-01T00:00:00+02:00"}', "reads", ""),
    ("item of a tuple removed", "paired", 1, '{"pair":[1,2,3]}', "loses", "pair[]"),
    ("item of a tuple added", "paired", 1, '{"pair":[1]}', "fills", "pair[]"),
    ("key of a typed dict removed", "typed", 1, '{"who":{"name":"a","age":3}}', "loses", "who.age"),
    ("field of a dataclass removed", "heavy", 1, '{"load":{"weight":1,"x":1}}', "loses", "load.x"),
    ("repeated item of a set", "collected", 1, '{"numbers":[2,1,2]}', "loses", "numbers[]"),
    ("items of a set in another order", "collected", 1, '{"numbers":[9,1,2]}', "reads", ""),
    ("free JSON", "free", 1, '{"anything":{"a":[1,{"b":null}]}}', "reads", ""),
    ("field that may be unset", "perhaps", 1, "{}", "reads", ""),
    ("type renamed with alias", "old-name", 1, '{"title":"a"}', "reads", ""),
    ("type renamed without alias", "lost-name", 1, '{"title":"a"}', "unknown", ""),
    ("schema version lowered", "plain", 2, '{"headline":"a"}', "newer", ""),
    ("upcaster raises", "raising", 1, '{"title":"a"}', "breaks", "raised KeyError: 'never there'"),
    ("upcaster returns nothing", "empty", 1, '{"title":"a"}', "breaks", "returned no dict"),
    ("upcaster returns no JSON", "no-json", 1, '{"title":"a"}', "breaks", "no JSON"),
    ("upcaster for another shape", "mistaken", 1, '{"name":"a"}', "breaks", "`title`"),
    ("upcaster leaves a field", "careless", 1, '{"title":"a","old":1}', "loses", "old"),
    ("class refuses by itself", "exploding", 1, '{"title":"a"}', "breaks", "KeyError"),
    ("data is damaged", "plain", 1, '{"title":', "breaks", "truncated"),
    ("data is no object", "plain", 1, "[1]", "breaks", "`object`"),
]


@pytest.mark.parametrize(
    ("type", "schema_version", "data", "verdict", "subject"),
    [evolution[1:] for evolution in EVOLUTIONS],
    ids=[evolution[0] for evolution in EVOLUTIONS],
)
async def test_change_of_a_class_gets_its_verdict(
    type: str, schema_version: int, data: str, verdict: str, subject: str
) -> None:
    async with InMemoryStore() as store:
        await put(store, "compat-1", type, data, schema_version=schema_version)

        report = await check_compatibility(store)

    (found,) = [one for one in report.findings if one.verdict is Verdict(verdict)]
    assert subject in found.subject
    assert bool(subject) == bool(found.subject)
    assert (found.position, found.stream_id, found.version) == (1, "compat-1", 1)
    assert report.breaks == (verdict == "breaks")
    assert verdict != "reads" or len(report.findings) == 1


async def put(
    store: EventStore, stream_id: str, type: str, *texts: str, schema_version: int = 1
) -> None:
    """Store data as it may have been stored by another program."""
    for text in texts:
        event = unchecked(str(uuid.uuid4()), f"compat:{type}", schema_version, text.encode())
        await store.append(stream_id, [event], expected_version=ANY)


def said(report: CompatibilityReport) -> list[tuple[str, str, int, int]]:
    return [
        (one.verdict.value, one.subject, one.event_count, one.position) for one in report.findings
    ]


async def test_default_that_was_changed_cannot_be_seen() -> None:
    async with InMemoryStore() as store:
        # Stored when the default of `count` was 5; nobody stored the 5.
        await put(store, "compat-1", "plain", '{"title":"a"}')

        report = await check_compatibility(store)

    assert said(report) == [("fills", "count", 1, 1)]


async def test_every_event_is_decoded_and_not_only_a_sample_of_its_shape() -> None:
    async with InMemoryStore() as store:
        await put(store, "compat-1", "chosen", *['{"status":"open"}'] * 3, '{"status":"paused"}')

        report = await check_compatibility(store)

    assert [(one.verdict, one.event_count, one.position) for one in report.findings] == [
        (Verdict.READS, 3, 1),
        (Verdict.BREAKS, 1, 4),
    ]


async def test_events_are_counted_with_the_first_of_their_like() -> None:
    async with InMemoryStore() as store:
        await put(store, "compat-1", "plain", *['{"title":"a","count":1,"x":1}'] * 3)
        await put(store, "compat-2", "plain", '{"title":"a","count":1,"y":1,"x":2}')

        report = await check_compatibility(store)

    assert said(report) == [("loses", "x", 4, 1), ("loses", "y", 1, 4)]
    assert (report.event_count, report.shape_count, report.until_position) == (4, 2, 4)


async def test_further_shapes_are_decoded_and_said_not_to_be_compared() -> None:
    async with InMemoryStore() as store:
        lost = [f'{{"title":"a","count":1,"x{number}":1}}' for number in range(5)]
        await put(store, "compat-1", "plain", *lost, '{"title":1}')

        report = await check_compatibility(store, shape_count_max=2)

    assert (report.shape_count, report.uncompared_count) == (2, 3)
    assert {one.verdict for one in report.findings} == {
        Verdict.READS,
        Verdict.LOSES,
        Verdict.BREAKS,
    }


async def test_many_reasons_are_gathered_into_one() -> None:
    async with InMemoryStore() as store:
        bad = [f'{{"status":"{number}"}}' for number in range(150)]
        await put(store, "compat-1", "chosen", *bad)

        report = await check_compatibility(store)

    assert len(report.findings) == 101
    (gathered,) = [one for one in report.findings if one.event_count > 1]
    assert (gathered.subject, gathered.event_count) == ("(further ones)", 50)


async def test_progress_is_told_now_and_then() -> None:
    async with InMemoryStore() as store:
        for _ in range(3):
            events = [unchecked(str(uuid.uuid4()), "compat:free", 1, b"{}") for _ in range(1_000)]
            await store.append("compat-1", events, expected_version=ANY)
        positions: list[int] = []

        await check_compatibility(store, on_progress=positions.append)

    assert positions == [1_000, 2_000, 3_000]


# Aggregates.


class Strict(Aggregate, category="strict"):
    titles: list[str] = []

    @on(Plain)
    def _plain(self, event: Plain) -> None:
        if event.title == "boom":
            raise LookupError(event.title)
        self.titles.append(event.title)


class Lenient(Aggregate, category="lenient"):
    unknown_count: int = 0

    @on(Plain)
    def _plain(self, event: Plain) -> None: ...

    @on(RawEvent)
    def _unknown(self, event: RawEvent) -> None:
        self.unknown_count += 1


async def failures(store: EventStore) -> list[tuple[str, str, int, int]]:
    report = await check_compatibility(store, aggregates=[Strict, Lenient])
    assert report.breaks == bool(report.aggregate_findings) or report.has(Verdict.BREAKS)
    return [
        (one.category, one.event_type, one.event_count, one.version)
        for one in report.aggregate_findings
    ]


async def test_aggregate_fails_on_types_that_it_has_no_handler_for() -> None:
    async with InMemoryStore() as store:
        for category in ("strict", "lenient"):
            await put(store, f"{category}-1", "plain", '{"title":"a"}')
            await put(store, f"{category}-1", "lost-name", "{}", "{}")
            await put(store, f"{category}-1", "plain", "{}", schema_version=9)

        assert await failures(store) == [
            ("strict", "compat:lost-name", 2, 2),
            ("strict", "compat:plain", 1, 4),
        ]


async def test_aggregate_fails_on_what_it_handles_and_cannot_be_decoded() -> None:
    async with InMemoryStore() as store:
        # Nobody decodes what nobody handles.
        await put(store, "strict-1", "chosen", '{"status":"paused"}')
        assert await failures(store) == []

        await put(store, "strict-1", "plain", '{"title":1}')

        assert await failures(store) == [("strict", "compat:plain", 1, 2)]


async def test_aggregate_fails_where_its_handler_raises() -> None:
    async with InMemoryStore() as store:
        await put(store, "strict-1", "plain", '{"title":"a"}', '{"title":"boom"}')

        report = await check_compatibility(store, aggregates=[Strict])

    (failure,) = report.aggregate_findings
    assert (failure.reason, failure.version) == ("LookupError: boom", 2)
    assert report.breaks
    assert report.folded_stream_count == 1


async def test_categories_without_a_class_are_named() -> None:
    async with InMemoryStore() as store:
        await put(store, "other-1", "free", "{}")
        await put(store, "strict-1", "free", "{}")

        report = await check_compatibility(store, aggregates=[Strict])

    assert report.categories_without_class == ["other"]


# Shapes.


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"a": 1, "b": "x"}, {"b": "y", "a": 2}, True),
        ({"a": 1}, {"a": 1.5}, False),
        ({"a": 1}, {"a": None}, False),
        ({"a": 1}, {"a": 1, "b": 1}, False),
        ({"a": [1, 2, 3]}, {"a": [9]}, True),
        ({"a": [1, "x"]}, {"a": ["x", 1, 1]}, True),
        ({"a": [1]}, {"a": []}, False),
        ({"a": [{"b": 1}, {"c": 1}]}, {"a": [{"c": 2}, {"b": 2}, {"b": 3}]}, True),
        ({"a": {"b": 1}}, {"a": {"b": {}}}, False),
        ({"a:i,b": 1}, {"a": 1, "b": 1}, False),
        ({"a": {}}, {"a": []}, False),
    ],
)
def test_shape_is_what_keys_and_kinds_are_there(one: Any, other: Any, *, alike: bool) -> None:
    shapes = Shapes()

    assert (shapes.digest(one) == shapes.digest(other)) == alike


def test_object_with_other_keys_each_time_is_a_map() -> None:
    shapes = Shapes()

    seen = {shapes.digest({"by": {f"key-{number}": number}}) for number in range(5_000)}

    assert len(seen) <= 65


def test_maps_inside_maps_do_not_multiply() -> None:
    shapes = Shapes()

    for one, two in product(range(60), range(60)):
        shapes.digest({f"a{one}": {f"b{two}": {f"c{three}": 1 for three in range(10)}}})

    assert shapes.place_count <= 20_000


def test_difference_names_every_place_once() -> None:
    stored = {"lines": [{"sku": "a", "x": 1}, {"sku": "b", "x": 2, "y": 3}]}

    keeping = Keeping(stored, Nested(lines=[Line(sku="a"), Line(sku="b")]))

    assert list(keeping.lost) == ["lines[].x", "lines[].y"]
    assert list(keeping.filled) == ["lines[].count"]
