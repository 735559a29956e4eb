"""Events to bytes and back: equal, or refused before anybody stores them."""

import json
import math
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from tests.conftest import Listed, Measured, Noted

from backstory import (
    DecodeError,
    EncodeError,
    Event,
    Metadata,
    RawEvent,
    RecordedEvent,
)
from backstory._codec import (
    check_data,
    decode,
    decode_metadata,
    encode,
    encode_metadata,
    encode_state,
    same_json,
    state_decoder,
)
from backstory._limits import EVENT_BYTES_MAX, NESTING_MAX


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Point(Struct, frozen=True):
    x: float
    y: float = 0.0


class Everything(Event, type="unit:everything"):
    """A field of each kind that JSON and msgspec can carry."""

    number: int
    share: float
    text: str
    flag: bool | None
    amount: Decimal
    moment: datetime
    day: date
    span: timedelta
    id: UUID
    content: bytes
    colour: Colour
    point: Point
    names: list[str]
    pair: tuple[int, str]
    places: frozenset[int]
    counts: dict[str, int]
    by_number: dict[int, list[Point]]


def _months_to_years(data: dict[str, Any]) -> dict[str, Any]:
    return {"years": data["months"] // 12}


def _as_it_is(data: dict[str, Any]) -> dict[str, Any]:
    return data


class Aged(
    Event, type="unit:aged", schema_version=3, upcasters={1: _months_to_years, 2: _as_it_is}
):
    years: int


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=10,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
POINTS = st.builds(Point, *[st.floats(allow_nan=False, allow_infinity=False)] * 2)


def stored(
    data_json: bytes = b"{}",
    event_type: str = "unit:aged",
    schema_version: int = 1,
    *,
    metadata_json: bytes = b"{}",
) -> RecordedEvent:
    event_id = "0191d7a6-0000-7000-8000-000000000001"
    return RecordedEvent(
        9, "task-1", 7, event_id, event_type, schema_version, 0, metadata_json, data_json
    )


def read(data_json: bytes, event_type: str, schema_version: int = 1) -> Event:
    return decode(stored(data_json, event_type, schema_version))


@given(
    st.builds(
        Everything,
        number=st.integers(-(2**63), 2**64 - 1),
        share=st.floats(allow_nan=False, allow_infinity=False),
        text=TEXTS,
        flag=st.none() | st.booleans(),
        amount=st.decimals(allow_nan=False, allow_infinity=False),
        moment=st.datetimes(timezones=st.sampled_from([None, UTC])),
        day=st.dates(),
        span=st.timedeltas(),
        id=st.uuids(),
        content=st.binary(),
        colour=st.sampled_from(Colour),
        point=POINTS,
        names=st.lists(TEXTS),
        pair=st.tuples(st.integers(-(2**63), 2**63), TEXTS),
        places=st.frozensets(st.integers(-9, 9)),
        counts=st.dictionaries(TEXTS, st.integers(0, 9)),
        by_number=st.dictionaries(st.integers(-9, 9), st.lists(POINTS)),
    )
)
def test_event_comes_back_equal(event: Everything) -> None:
    data_json, copy = encode(event)

    assert copy == event
    assert read(data_json, "unit:everything") == event


@given(JSON_VALUES)
def test_json_value_comes_back_equal(value: Any) -> None:
    event = Measured(value=value)

    data_json, copy = encode(event)

    assert repr(copy) == repr(read(data_json, "test:measured"))
    assert copy == event


@pytest.mark.parametrize(
    "value", [-0.0, 2**53 + 1, 2**63, 2**64 - 1, 1e308, 5e-324, "\0", "\u2028"]
)
def test_value_at_the_edge_comes_back_exactly(value: Any) -> None:
    data_json, _ = encode(Measured(value=value))

    copy = read(data_json, "test:measured")

    assert isinstance(copy, Measured)
    assert repr(copy.value) == repr(value)


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


class Contrary:
    """Equal to nothing, and angry about it."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("never equal")

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        [1, [math.nan]],
        pytest.param(10**4400, id="4401 digits"),
        Decimal("1.5"),
        datetime(2026, 1, 7, tzinfo=UTC),
        b"bytes",
        (1, 2),
        {1, 2},
        {1: "a"},
        {"1": "a", 1: "b"},
        Point(1.0),
        UUID(int=7),
        Colour.RED,
        object(),
        Contrary(),
        msgspec.Raw(b"no json"),
        "\ud800",
        {"\ud800": 1},
        pytest.param(nested(100_000), id="100,000 levels"),
    ],
)
def test_value_that_would_change_is_refused(value: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(Measured(value=value))

    assert caught.value.event_type == "test:measured"
    assert caught.value.field in ("field 'value'", "event")


def wrong(**fields: Any) -> Event:
    return Noted(**fields)


@pytest.mark.parametrize("text", [123, None, b"x", ["a"], "\ud800"])
def test_wrong_type_is_refused_by_the_name_of_its_field(text: Any) -> None:
    with pytest.raises(EncodeError, match="field 'text'"):
        encode(wrong(text=text))


def test_refusal_names_the_first_field_at_fault() -> None:
    class Both(Event, type="unit:both"):
        fine: int = 0
        share: float = 0.0
        total: float = 0.0

    with pytest.raises(EncodeError) as caught:
        encode(Both(share=math.nan, total=math.inf))

    assert caught.value.field == "field 'share'"


def test_number_that_a_field_would_round_is_refused() -> None:
    class Weighed(Event, type="unit:weighed"):
        grams: float

    with pytest.raises(EncodeError, match=r"grams.*9007199254740993 would come back as"):
        encode(Weighed(grams=2**53 + 1))


def test_event_of_an_abstract_class_is_refused() -> None:
    class Abstract(Event):
        pass

    with pytest.raises(EncodeError, match="abstract"):
        encode(Abstract())


@pytest.mark.parametrize(("excess", "fits"), [(0, True), (1, False)])
def test_event_may_be_as_large_as_the_limit(excess: int, *, fits: bool) -> None:
    overhead = len(encode(Noted(text=""))[0])
    event = Noted(text="x" * (EVENT_BYTES_MAX - overhead + excess))

    if fits:
        assert len(encode(event)[0]) == EVENT_BYTES_MAX
    else:
        with pytest.raises(EncodeError, match="1,000,001 bytes"):
            encode(event)


def test_event_may_be_nested_as_deep_as_the_limit() -> None:
    encode(Measured(value=nested(NESTING_MAX - 1)))

    with pytest.raises(EncodeError, match="nested deeper"):
        encode(Measured(value=nested(NESTING_MAX)))


def test_copy_shares_nothing_with_the_event() -> None:
    words = ["a"]

    _, copy = encode(Listed(words=words))
    words.append("b")

    assert copy == Listed(words=["a"])


def test_unknown_type_is_read_as_a_raw_event() -> None:
    assert read(b'{"a":[1,null]}', "unit:never-defined") == RawEvent(content={"a": [1, None]})


def test_newer_schema_version_is_read_as_a_raw_event() -> None:
    assert read(b'{"months":480}', "unit:aged", 4) == RawEvent(content={"months": 480})


def test_known_schema_version_is_read_as_its_class() -> None:
    assert read(b'{"years":40,"added_later":true}', "unit:aged", 3) == Aged(years=40)


@pytest.mark.parametrize(("data_json", "version"), [(b'{"months":490}', 1), (b'{"years":40}', 2)])
def test_older_schema_version_is_read_through_its_upcasters(data_json: bytes, version: int) -> None:
    assert read(data_json, "unit:aged", version) == Aged(years=40)


@pytest.mark.parametrize(
    ("data_json", "version", "reason"),
    [
        (b'{"weeks":9}', 1, "the upcaster from version 1 raised KeyError: 'months'"),
        (b'{"years":"forty"}', 2, "Expected `int`, got `str`"),
        (b"[]", 2, "the upcaster from version 2 returned no dict"),
    ],
)
def test_older_data_that_cannot_be_translated_is_named_with_its_place(
    data_json: bytes, version: int, reason: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        read(data_json, "unit:aged", version)

    assert (caught.value.stream_id, caught.value.schema_version) == ("task-1", version)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "data_json",
    [
        b"",
        b"{",
        b'{"years":40}x',
        b'\xef\xbb\xbf{"years":40}',
        b'{"years":1e400}',
        b'{"\xff":1}',
        b'{"years":NaN}',
    ],
)
@pytest.mark.parametrize("event_type", ["unit:aged", "unit:never-defined"])
def test_damaged_data_is_named_with_its_place(data_json: bytes, event_type: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read(data_json, event_type, 3)

    assert (caught.value.stream_id, caught.value.version) == ("task-1", 7)
    assert (caught.value.event_type, caught.value.schema_version) == (event_type, 3)
    assert caught.value.reason


@pytest.mark.parametrize("data_json", [b'{"years":"old"}', b"{}", b"[]", b"null"])
def test_data_that_fits_no_class_is_still_passed_on_raw(data_json: bytes) -> None:
    with pytest.raises(DecodeError, match="unit:aged"):
        read(data_json, "unit:aged", 3)

    assert read(data_json, "unit:never-defined") == RawEvent(content=json.loads(data_json))


def test_stored_data_may_be_nested_beyond_python() -> None:
    with pytest.raises(DecodeError):
        read(b"[" * 200_000 + b"]" * 200_000, "unit:never-defined")


@given(
    st.builds(
        Metadata,
        correlation_id=st.none() | TEXTS,
        actor=st.none() | TEXTS,
        tags=st.lists(TEXTS).map(tuple),
        free=st.dictionaries(TEXTS, JSON_VALUES, max_size=3),
    )
)
def test_metadata_comes_back_equal(metadata: Metadata) -> None:
    metadata_json = encode_metadata(metadata, event_type="unit:aged")

    assert read_metadata(metadata_json) == metadata


def read_metadata(metadata_json: bytes) -> Metadata:
    return decode_metadata(stored(metadata_json=metadata_json))


@pytest.mark.parametrize(
    "free",
    [
        {"a": math.nan},
        {"a": (1,)},
        {"a": {1: 2}},
        {"a": object()},
        {"a": "\ud800"},
        {1: "a"},
        {"a": nested(NESTING_MAX)},
        {"a": "x" * EVENT_BYTES_MAX},
        pytest.param({"a": 10**4400}, id="4401 digits"),
        pytest.param({"a": nested(100_000)}, id="100,000 levels"),
    ],
)
def test_metadata_that_would_change_is_refused(free: dict[str, Any]) -> None:
    with pytest.raises(EncodeError):
        encode_metadata(Metadata(free=free), event_type="unit:aged")


@pytest.mark.parametrize("metadata_json", [b"", b'{"tags":"a"}', b'{"actor":7}', b"\xff", b"[1]"])
def test_damaged_metadata_is_named_with_its_place(metadata_json: bytes) -> None:
    with pytest.raises(DecodeError, match="metadata") as caught:
        read_metadata(metadata_json)

    assert (caught.value.stream_id, caught.value.version) == ("task-1", 7)


@pytest.mark.parametrize(
    "data_json",
    [b"", b"{", b"nan", b"\xff", b'"\\ud800"', b'{"a":"\xff"}', b"[" * 200 + b"]" * 200],
)
def test_text_that_is_no_json_is_refused(data_json: bytes) -> None:
    with pytest.raises(EncodeError):
        check_data(data_json, event_type="unit:never-defined", schema_version=1)


@pytest.mark.parametrize(
    ("schema_version", "fits"), [(1, False), (2, False), (3, False), (4, True)]
)
def test_text_of_a_known_type_must_fit_its_class(schema_version: int, *, fits: bool) -> None:
    data_json = b'{"years":"forty"}'

    if fits:
        check_data(data_json, event_type="unit:aged", schema_version=schema_version)
    else:
        with pytest.raises(EncodeError, match=r"years|months"):
            check_data(data_json, event_type="unit:aged", schema_version=schema_version)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"a":1,"b":2}', b'{ "b": 2, "a": 1 }', True),
        ('{"a":"é"}'.encode(), b'{"a":"\\u00e9"}', True),
        (b'{"a":{"c":1,"b":2}}', b'{"a":{"b":2,"c":1}}', True),
        (b'{"a":1}', b'{"a":1.0}', False),
        (b'{"a":1}', b'{"a":true}', False),
        (b'{"a":0.0}', b'{"a":-0.0}', False),
        (b'{"a":null}', b"{}", False),
        (b"[1,2]", b"[2,1]", False),
    ],
)
def test_same_json_looks_at_values_and_not_at_bytes(
    one: bytes, other: bytes, *, same: bool
) -> None:
    assert same_json(one, other) is same
    assert same_json(other, one) is same


class Model(Struct):
    counts: dict[str, int] = {}
    extra: Any = None
    points: tuple[Point, ...] = ()


@pytest.mark.parametrize(
    "extra", [None, [1.5, None], {"a": [{"b": True}]}, -0.0, 2**63, "\0", [], [[], {}]]
)
def test_state_comes_back_equal(extra: Any) -> None:
    state = Model(counts={"a": 1}, extra=extra, points=(Point(1),))

    state_json = encode_state(state)

    assert state_json is not None
    assert state_decoder(Model)(state_json) == state


@pytest.mark.parametrize("extra", [math.nan, (1,), object(), Contrary(), "\ud800", nested(100_000)])
def test_state_that_would_change_is_not_kept(extra: Any) -> None:
    assert encode_state(Model(extra=extra)) is None


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "state",
    [
        # Equal to what they would come back as; but a plain dict has no count for what is new.
        Model(counts=Counter(a=1)),
        Model(counts=defaultdict(int, a=1)),
        Model(extra=[{"a": Counter(a=1)}]),
        Model(extra=Word("a")),
    ],
)
def test_state_that_would_behave_otherwise_is_not_kept(state: Model) -> None:
    assert encode_state(state) is None
