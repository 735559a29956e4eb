"""The documented limits, tried on both sides."""

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory import InvalidInputError
from backstory._limits import (
    CATEGORY_BYTES_MAX,
    EVENT_TYPE_BYTES_MAX,
    INTEGER_MAX,
    NESTING_MAX,
    check_category,
    check_event_type,
    check_integer,
    check_text,
    nesting,
    shorten,
)

# Its digits are more than Python is willing to write.
HUGE = pytest.param(10**4400, id="4401 digits")


@pytest.mark.parametrize("text", ["a", "é" * 5, "\u2028", "%", " ", "\r\n", "x" * 10, "\U0001f3ad"])
def test_text_within_the_limit_passes(text: str) -> None:
    check_text("tag", text, 10)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("x" * 11, "11 bytes"),
        ("é" * 6, "12 bytes"),
        ("a\0b", "NUL"),
        ("a\ud800", "surrogate"),
        (7, "must be a str"),
        (None, "must be a str"),
        (b"a", "must be a str"),
    ],
)
def test_text_outside_the_limit_is_refused(text: object, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        check_text("tag", text, 10)

    assert caught.value.argument == "tag"


@pytest.mark.parametrize(
    "category", ["task", "T", "a1_.b", "x" * CATEGORY_BYTES_MAX, "com.example.Task"]
)
def test_category_passes(category: str) -> None:
    check_category(category)


@pytest.mark.parametrize(
    "category",
    ["", "a-b", "1a", "_a", ".a", "a b", "é", "task\n", "a%", "x" * (CATEGORY_BYTES_MAX + 1), None],
)
def test_what_is_no_category_is_refused(category: object) -> None:
    with pytest.raises(InvalidInputError, match="category"):
        check_category(category)


@pytest.mark.parametrize(
    "event_type", ["task:created", "x.future", "A/b-c_d", "7", "x" * EVENT_TYPE_BYTES_MAX]
)
def test_event_type_passes(event_type: str) -> None:
    check_event_type(event_type)


@pytest.mark.parametrize(
    "event_type",
    ["", ":a", "a b", "a\n", "é", "a*", "a>", "x" * (EVENT_TYPE_BYTES_MAX + 1), 7],
)
def test_what_is_no_event_type_is_refused(event_type: object) -> None:
    with pytest.raises(InvalidInputError, match="event type"):
        check_event_type(event_type)


@pytest.mark.parametrize("value", [1, 2, INTEGER_MAX])
def test_whole_number_within_bounds_passes(value: int) -> None:
    check_integer("version", value, least=1)


@pytest.mark.parametrize("value", [0, -1, INTEGER_MAX + 1, HUGE, True, 1.0, "1", None])
def test_number_outside_bounds_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="version"):
        check_integer("version", value, least=1)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@pytest.mark.parametrize("value", [HUGE, Unprintable()])
def test_value_without_a_repr_is_still_named(value: object) -> None:
    assert type(value).__name__ in shorten(value)


def test_long_values_are_cut_to_fit_a_message() -> None:
    text = shorten("x" * 1_000_000)

    assert len(text) < 100
    assert "1000002 characters" in text


def nested(depth: int) -> Any:
    value: Any = 0
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def beside_many(value: Any) -> Any:
    # So many brackets beside each other that counting them says nothing about the levels.
    return [value, *[cast("Any", []) for _ in range(NESTING_MAX)]]


@pytest.mark.parametrize("depth", [0, 1, 2, NESTING_MAX, NESTING_MAX + 1, 500])
def test_nesting_is_counted_in_levels(depth: int) -> None:
    assert nesting(json.dumps(beside_many(nested(depth))).encode()) == max(depth, 1) + 1


@given(
    st.recursive(
        st.text(alphabet='[]{}\\"a') | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='[{\\"'), inner),
        max_leaves=200,
    )
)
def test_brackets_in_texts_are_no_levels(value: Any) -> None:
    many = beside_many(value)

    assert nesting(json.dumps(many).encode()) == depth_of(many)


def depth_of(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = cast("Any", value).values() if isinstance(value, dict) else cast("Any", value)
    return 1 + max(map(depth_of, inner), default=0)
