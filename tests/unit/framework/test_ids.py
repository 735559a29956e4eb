"""Ids: of streams and of events."""

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstory import InvalidInputError, derive_event_id, stream_id_of
from backstory._ids import TimeOrderedIds, check_stream_id, parse_event_id, split_stream_id
from backstory._limits import STREAM_ID_BYTES_MAX

CATEGORIES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.]{0,20}", fullmatch=True)
IDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=99
)


@given(CATEGORIES, IDS)
def test_stream_id_comes_apart_as_it_was_joined(category: str, id: str) -> None:
    stream_id = stream_id_of(category, id)

    check_stream_id(stream_id)
    assert split_stream_id(stream_id) == (category, id)


@given(CATEGORIES, IDS, CATEGORIES, IDS)
def test_different_aggregates_have_different_streams(
    category: str, id: str, other_category: str, other_id: str
) -> None:
    is_same_stream = stream_id_of(category, id) == stream_id_of(other_category, other_id)

    assert is_same_stream == ((category, id) == (other_category, other_id))


@pytest.mark.parametrize("id", ["", None, 5, b"a", "a\0", "\ud800", "x" * STREAM_ID_BYTES_MAX])
def test_what_is_no_id_makes_no_stream_id(id: str) -> None:
    with pytest.raises(InvalidInputError, match="id"):
        stream_id_of("task", id)


@pytest.mark.parametrize(
    "stream_id", ["task", "task-", "-1", "", "1-a", "a b-1", "é-1", None, 7, "task-\0"]
)
def test_what_is_no_stream_id_is_refused(stream_id: object) -> None:
    with pytest.raises(InvalidInputError):
        check_stream_id(stream_id)


def test_stream_id_may_be_as_long_as_the_limit() -> None:
    check_stream_id("task-".ljust(STREAM_ID_BYTES_MAX, "x"))

    with pytest.raises(InvalidInputError, match="1,025 bytes"):
        check_stream_id("task-".ljust(STREAM_ID_BYTES_MAX + 1, "x"))


@pytest.mark.parametrize(
    "text",
    [
        "0191D7A6-0000-7000-8000-000000000001",
        "{0191d7a6-0000-7000-8000-000000000001}",
        "0191d7a6000070008000000000000001",
        uuid.UUID("0191d7a6-0000-7000-8000-000000000001"),
    ],
)
def test_event_id_has_one_written_form(text: object) -> None:
    assert parse_event_id(text) == "0191d7a6-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    "text", ["", "7", None, 7, "g" * 32, "0191d7a6-0000-7000-8000-00000000000"]
)
def test_what_is_no_event_id_is_refused(text: object) -> None:
    with pytest.raises(InvalidInputError, match="must be a UUID"):
        parse_event_id(text)


def test_derived_id_is_the_same_for_ever() -> None:
    # Written down once: a change would let every retry of the past append again.
    assert derive_event_id("request", 7) == "773252e3-90b1-504d-b60f-92b04e49ac83"
    assert derive_event_id("request", 7) == derive_event_id("request", "7")


@given(st.lists(st.text(max_size=4), max_size=3), st.lists(st.text(max_size=4), max_size=3))
def test_derived_ids_differ_where_the_parts_do(one: list[str], other: list[str]) -> None:
    assert (derive_event_id(*one) == derive_event_id(*other)) == (one == other)


def test_fresh_ids_are_uuids_that_rise() -> None:
    source = TimeOrderedIds()

    ids = [source.new() for _ in range(10_000)]

    assert ids == sorted(set(ids))
    assert all(parse_event_id(id) == id for id in ids)
    parsed = uuid.UUID(ids[0])
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)


def test_fresh_ids_rise_although_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    source = TimeOrderedIds()
    moments = [1_700_000_000_000, 1_700_000_000_000, 1_600_000_000_000, 1_700_000_000_001]
    nanoseconds = iter([moment * 1_000_000 for moment in moments])
    monkeypatch.setattr(time, "time_ns", lambda: next(nanoseconds))

    ids = [source.new() for _ in moments]

    assert ids == sorted(set(ids))
    milliseconds = [uuid.UUID(id).int >> 80 for id in ids]
    assert milliseconds == [moments[0], moments[0], moments[0], moments[3]]
