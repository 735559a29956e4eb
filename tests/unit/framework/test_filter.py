"""Filters: what `where` accepts, and what they match."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from tests.conftest import Counted, Noted

from backstory import Event, EventFilter, FilterItem, InvalidInputError, RecordedEvent, where
from backstory._filter import EVERY_EVENT

MOMENT = datetime(2026, 1, 7, 12, tzinfo=UTC)
MICROSECONDS = 1_767_787_200_000_000


class Renamed(Event, type="unit:renamed", aliases=("unit:old-name",)):
    pass


RECORDED = RecordedEvent(
    9,
    "task.x-a-b",
    2,
    "0191d7a6-0000-7000-8000-000000000001",
    "test:noted",
    1,
    MICROSECONDS,
    b'{"correlation_id":"c1","causation_id":"b1","actor":"ada","tags":["red","green"]}',
    b"{}",
)


def item(condition: EventFilter) -> FilterItem:
    """Return the one item of a filter."""
    (only,) = condition.items
    return only


def test_filter_of_nothing_wants_every_event() -> None:
    assert where() == EVERY_EVENT == EventFilter()
    assert EVERY_EVENT.matches(RECORDED)


def test_class_stands_for_its_aliases_too() -> None:
    assert item(where(types=[Renamed, "x.future"])).types == (
        "unit:renamed",
        "unit:old-name",
        "x.future",
    )


def test_names_said_twice_are_kept_once() -> None:
    condition = where(types=[Noted, "test:noted"], categories=["a", "a"], tags=["t", "t"])

    assert item(condition) == FilterItem(types=("test:noted",), categories=("a",), tags=("t",))


def test_times_of_every_zone_are_the_same_moment() -> None:
    elsewhere = MOMENT.astimezone(timezone(timedelta(hours=5, minutes=45)))

    assert item(where(recorded_after=elsewhere)).recorded_after == MICROSECONDS
    assert item(where(recorded_until=elsewhere)).recorded_until == MICROSECONDS


@pytest.mark.parametrize(
    "condition",
    [
        {"types": [Noted]},
        {"types": [Counted, Noted]},
        {"categories": ["task.x"]},
        {"categories": ["task", "task.x"]},
        {"correlation_id": "c1"},
        {"actor": "ada"},
        {"causation_id": "b1"},
        {"streams": ["task.x-a", "task.x-a-b"]},
        {"tags": ["red"]},
        {"tags": ["green", "red"]},
        {"recorded_after": MOMENT - timedelta(microseconds=1)},
        {"recorded_until": MOMENT},
        {"types": [Noted], "categories": ["task.x"], "actor": "ada", "tags": ["red"]},
    ],
)
def test_event_that_fits_is_wanted(condition: dict[str, Any]) -> None:
    assert where(**condition).matches(RECORDED)


@pytest.mark.parametrize(
    "condition",
    [
        {"types": [Counted]},
        {"types": ["test:note"]},
        {"categories": ["task"]},
        {"categories": ["Task.x"]},
        {"correlation_id": "c"},
        {"actor": "Ada"},
        {"causation_id": "c1"},
        {"streams": ["task.x-a"]},
        {"tags": ["re"]},
        {"tags": ["red", "blue"]},
        {"recorded_after": MOMENT},
        {"recorded_until": MOMENT - timedelta(microseconds=1)},
        {"types": [Noted], "categories": ["task.x"], "actor": "bob", "tags": ["red"]},
    ],
)
def test_event_that_does_not_fit_is_left_out(condition: dict[str, Any]) -> None:
    assert not where(**condition).matches(RECORDED)


class Abstract(Event):
    pass


@pytest.mark.parametrize(
    "unfit",
    [
        {"types": "test:noted"},
        {"types": [Abstract]},
        {"types": ["a b"]},
        {"types": [7]},
        {"categories": "task"},
        {"categories": ["a-b"]},
        {"streams": "task-1"},
        {"streams": ["task"]},
        {"causation_id": ""},
        {"categories": ["%"]},
        {"correlation_id": ""},
        {"correlation_id": 7},
        {"actor": "\ud800"},
        {"tags": "red"},
        {"tags": [""]},
        {"tags": [f"t{number}" for number in range(65)]},
        {"types": [f"t{number}" for number in range(40_000)]},
        {"categories": [f"t{number}" for number in range(40_000)]},
        {"recorded_after": datetime(2026, 1, 7)},  # noqa: DTZ001 - the mistake under test
        {"recorded_until": datetime(2026, 1, 7)},  # noqa: DTZ001 - the mistake under test
    ],
)
def test_condition_that_nothing_could_meet_is_refused(unfit: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        where(**unfit)


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        ({"types": ["test:noted"]}, "must be a tuple"),
        ({"streams": "task-1"}, "must be a tuple"),
        ({"tags": None}, "must be a tuple"),
        ({"types": ("test:noted", "test:noted")}, "each text once"),
        ({"categories": ("task", "task")}, "each text once"),
        ({"streams": ("task-1", "task-1")}, "each text once"),
        ({"tags": ("red", "red")}, "each text once"),
        ({"tags": (["red"],)}, "must be a str"),
        ({"recorded_after": 2**70}, "whole number"),
        ({"recorded_until": -(2**70)}, "whole number"),
        ({"recorded_after": 1.5}, "whole number"),
        ({"recorded_until": "today"}, "whole number"),
        ({"recorded_until": MOMENT}, "whole number"),
    ],
)
def test_item_that_a_store_would_read_otherwise_is_refused(
    unfit: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        FilterItem(**unfit)


@pytest.mark.parametrize("unfit", [[FilterItem()], ("test:noted",), (where(),), None, FilterItem()])
def test_filter_of_what_are_no_items_is_refused(unfit: Any) -> None:
    with pytest.raises(InvalidInputError, match="must be a tuple of FilterItem"):
        EventFilter(unfit)


def test_time_before_1970_is_a_bound_like_any_other() -> None:
    assert where(recorded_after=datetime(1, 1, 1, tzinfo=UTC)).matches(RECORDED)


def test_filters_are_joined_by_or() -> None:
    joined = where(types=[Counted]) | where(tags=["red"], actor="ada")

    assert joined.matches(RECORDED)
    assert not (where(types=[Counted]) | where(tags=["red"], actor="bob")).matches(RECORDED)


def test_item_joined_twice_is_kept_once() -> None:
    assert where(types=[Noted]) | where(types=[Noted]) == where(types=[Noted])


def test_filter_of_too_many_items_is_refused() -> None:
    items = tuple(FilterItem(actor=str(number)) for number in range(51))

    assert EventFilter(items[:50]).items == items[:50]
    for unfit in ((), items):
        with pytest.raises(InvalidInputError, match="1 to 50 items"):
            EventFilter(unfit)
