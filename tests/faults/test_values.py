"""Values at the edge come back as they were, or are refused before anything is written."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Measured, drain, new_event
from tests.faults.account import faults

from backstory import (
    ANY,
    EncodeError,
    Event,
    EventStore,
    InvalidInputError,
    Metadata,
    NewEvent,
    RecordedEvent,
)

pytestmark = pytest.mark.anyio


class Colour(Enum):
    RED = "red"


class Typed(Event, type="fault:typed"):
    """A field of each type."""

    number: int = 0
    ratio: float = 0.0
    amount: Decimal = Decimal(0)
    text: str = ""
    blob: bytes = b""
    words: frozenset[str] = frozenset()
    pairs: tuple[tuple[str, int], ...] = ()
    table: dict[str, list[float]] = {}
    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    local: datetime = datetime(2026, 1, 1)  # noqa: DTZ001 - a naive one is what is tested
    day: date = date(2026, 1, 1)
    span: timedelta = timedelta(0)
    id: UUID = UUID(int=0)
    colour: Colour = Colour.RED


ZONES = st.timezones() | st.just(timezone(timedelta(hours=5, minutes=45)))
TYPED = st.builds(
    Typed,
    number=st.integers(),
    ratio=st.floats(),
    amount=st.decimals(),
    text=st.text(st.characters(codec=None)),
    blob=st.binary(),
    words=st.frozensets(st.text()),
    pairs=st.lists(st.tuples(st.text(), st.integers())).map(tuple),
    table=st.dictionaries(st.text(), st.lists(st.floats())),
    moment=st.datetimes(timezones=ZONES),
    local=st.datetimes(),
    day=st.dates(),
    span=st.timedeltas(),
    id=st.uuids(),
)
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.binary()
    | st.decimals()
    | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)

CHECKED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


async def kept(store: EventStore, make: Callable[[], NewEvent]) -> RecordedEvent | None:
    """Append what can be made; return it as it was stored, or None where it was refused."""
    faults.count()
    before = await store.head()
    try:
        event = make()
        await store.append("value-1", [event], expected_version=ANY)
    except (EncodeError, InvalidInputError):
        assert await store.head() == before
        return None
    (recorded,) = await drain(store.read_log(after_position=before))
    assert (recorded.data_json, recorded.metadata_json) == (event.data_json, event.metadata_json)
    return recorded


@pytest.mark.fault(27, "T40", without="the comparison with what is decoded again")
@CHECKED
@given(TYPED)
async def test_event_with_typed_fields_comes_back_equal_or_is_refused(
    store: EventStore, event: Typed
) -> None:
    recorded = await kept(store, lambda: new_event(event))

    if recorded is not None:
        assert recorded.data == event
        assert [type(value) for value in fields(recorded.data)] == [
            type(value) for value in fields(event)
        ]


def fields(event: Any) -> list[Any]:
    return [getattr(event, name) for name in event.__struct_fields__]


@pytest.mark.fault(27, "T40", without="the comparison with what is decoded again")
@CHECKED
@given(ANYTHING)
async def test_value_of_any_type_comes_back_equal_or_is_refused(
    store: EventStore, value: Any
) -> None:
    recorded = await kept(store, lambda: new_event(Measured(value=value)))

    if recorded is not None:
        # Equal is not enough: 1, 1.0 and True are.
        assert repr(recorded.data) == repr(Measured(value=value))


@pytest.mark.fault(27, "T40", without="the comparison with what is decoded again")
@CHECKED
@given(ANYTHING)
async def test_free_metadata_comes_back_equal_or_is_refused(store: EventStore, value: Any) -> None:
    recorded = await kept(store, lambda: new_event(metadata=Metadata(free={"value": value})))

    if recorded is not None:
        assert repr(recorded.metadata.free) == repr({"value": value})


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


REFUSED = {
    "not a number": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "thousands of digits": 10**4_400,
    "nested deeply": nested(100_000),
    "nested in itself": circular(),
    "bytes": b"a",
    "a set": {1},
    "a decimal": Decimal("1.0"),
    "a time": datetime(2026, 1, 1, tzinfo=UTC),
    "a lone surrogate": "\ud800",
    "a key that is a number": {1: "a"},
    "an object": object(),
}


@pytest.mark.fault(27, "T40", without="the comparison with what is decoded again")
@pytest.mark.parametrize("name", REFUSED)
async def test_value_that_would_change_is_refused_before_anything_is_written(
    store: EventStore, name: str
) -> None:
    faults.count()

    with pytest.raises(EncodeError):
        await store.append(
            "value-1", [new_event(Measured(value=REFUSED[name]))], expected_version=ANY
        )

    assert await store.head() == 0
