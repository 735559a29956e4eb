"""Events on their way into a store, and events as stored."""

import json
import pickle
import uuid
from copy import copy
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from tests.conftest import Counted, Listed, Noted

from backstory import (
    DecodeError,
    EncodeError,
    InvalidInputError,
    Metadata,
    NewEvent,
    RawEvent,
    RecordedEvent,
)
from backstory._limits import EVENT_BYTES_MAX

ID = "0191d7a6-0000-7000-8000-000000000001"


def recorded(
    data_json: bytes = b'{"words":["a"]}',
    *,
    type: str = "test:listed",
    metadata_json: bytes = b'{"actor":"ada","tags":["x"]}',
) -> RecordedEvent:
    return RecordedEvent(9, "task-a-b", 2, ID, type, 1, 1_500_000, metadata_json, data_json)


def test_new_event_holds_what_will_be_stored() -> None:
    new = NewEvent.of(Counted(by=3), event_id=ID.upper(), metadata=Metadata(tags=("x", "y")))

    assert (new.event_id, new.type, new.schema_version) == (ID, "test:counted", 1)
    assert (new.data_json, new.metadata_json) == (b'{"by":3}', b'{"tags":["x","y"]}')
    assert new.tags == ("x", "y")


def test_raw_event_is_kept_byte_for_byte() -> None:
    data_json = b'{ "b":1, "a" :1e2, "a":2 }'

    new = NewEvent.raw("x.future", data_json, event_id=ID, schema_version=99)

    assert (new.type, new.schema_version, new.data_json) == ("x.future", 99, data_json)
    assert (new.metadata_json, new.tags) == (b"{}", ())


@pytest.mark.parametrize(
    ("unfit", "error"),
    [
        ({"type": ""}, InvalidInputError),
        ({"type": "a b"}, InvalidInputError),
        ({"data_json": b""}, EncodeError),
        ({"data_json": b"nan"}, EncodeError),
        ({"data_json": b'"' + b"x" * EVENT_BYTES_MAX + b'"'}, EncodeError),
        ({"event_id": "7"}, InvalidInputError),
        ({"schema_version": 0}, InvalidInputError),
        ({"schema_version": True}, InvalidInputError),
        ({"schema_version": 2**63}, InvalidInputError),
        ({"metadata": Metadata(actor="")}, InvalidInputError),
        ({"metadata": Metadata(free={"a": (1,)})}, EncodeError),
    ],
)
def test_unfit_raw_event_is_refused(unfit: dict[str, Any], error: type[Exception]) -> None:
    arguments: dict[str, Any] = {"type": "x.future", "data_json": b"{}", "event_id": ID} | unfit

    with pytest.raises(error):
        NewEvent.raw(**arguments)


@pytest.mark.parametrize(
    ("event", "metadata", "error"),
    [
        (Noted(text=cast("str", 7)), Metadata(), EncodeError),
        (Noted(), Metadata(tags=("a", "a")), InvalidInputError),
        (Noted(text="x" * 600_000), Metadata(free={"a": "x" * 600_000}), InvalidInputError),
    ],
)
def test_unfit_event_is_refused(event: Noted, metadata: Metadata, error: type[Exception]) -> None:
    with pytest.raises(error):
        NewEvent.of(event, event_id=ID, metadata=metadata)


def test_raw_event_of_a_known_type_must_fit_it() -> None:
    with pytest.raises(EncodeError, match="words"):
        NewEvent.raw("test:listed", b'{"words":7}', event_id=uuid.uuid4())


def test_data_is_decoded_once_and_kept() -> None:
    event = recorded()

    assert event.data == Listed(words=["a"])
    assert event.data is event.data
    assert event.metadata == Metadata(actor="ada", tags=("x",))
    assert event.metadata is event.metadata


def test_category_and_id_are_around_the_first_dash() -> None:
    assert (recorded().category, recorded().id) == ("task", "a-b")


def test_recorded_time_is_in_utc() -> None:
    assert recorded().recorded_at == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


@pytest.mark.parametrize("by", ["copy", "pickle"])
def test_copies_are_equal_and_share_no_data(by: str) -> None:
    event = recorded()
    cast("Listed", event.data).words.append("b")

    other = copy(event) if by == "copy" else pickle.loads(pickle.dumps(event))  # noqa: S301 - our own bytes

    assert other == event
    assert hash(other) == hash(event)
    assert other.data == Listed(words=["a"])


def test_unknown_type_is_raw_and_says_its_type() -> None:
    event = recorded(b'{"a":1}', type="unit:nowhere")

    assert event.data == RawEvent(content={"a": 1})
    assert event.type == "unit:nowhere"


def test_damaged_event_is_named_with_its_place() -> None:
    event = recorded(b'{"words":7}', metadata_json=b'{"tags":7}')

    for read in (lambda: event.data, lambda: event.metadata):
        with pytest.raises(DecodeError) as caught:
            read()
        assert (caught.value.stream_id, caught.value.version) == ("task-a-b", 2)


def test_damaged_data_is_damaged_each_time() -> None:
    event = recorded(b"{")

    for _ in range(2):
        with pytest.raises(DecodeError):
            _ = event.data


@pytest.mark.parametrize(
    "unfit",
    [
        {"event_id": "no id"},
        {"event_id": ID.upper()},
        {"type": "no type"},
        {"schema_version": 0},
        {"schema_version": 2**63},
        {"data_json": b"{"},
        {"data_json": b'{"text":"\xff"}'},
        {"data_json": '{"text":"a"}'},
        {"metadata_json": b"not json"},
        {"metadata_json": b'{"tags":["x"]}'},
        {"metadata_json": b'{"actor":""}'},
        {"metadata_json": b'{"actor":"ada","actor":"bob"}'},
        {"metadata_json": b'{"actor":"ada", "actor" :"ada"}'},
        {"metadata_json": b'{"\\u0061ctor":"ada"}'},
        {"metadata_json": b'{"t\\u0061gs":["x"]}', "tags": ("x",)},
        {"metadata_json": b'{"actor":"ada","\\u0061ctor":"bob"}'},
        {"tags": ("x",)},
    ],
)
def test_new_event_made_by_hand_is_checked_too(unfit: dict[str, Any]) -> None:
    fit: dict[str, Any] = {
        "event_id": ID,
        "type": "x:happened",
        "schema_version": 1,
        "data_json": b"{}",
        "metadata_json": b"{}",
    }
    assert NewEvent(**fit) == NewEvent.raw("x:happened", b"{}", event_id=ID)

    with pytest.raises((EncodeError, InvalidInputError)):
        NewEvent(**(fit | unfit))


@pytest.mark.parametrize(
    "metadata_json",
    [
        b'{ "free": {"k": 1}, "tags": ["x"],\n"actor": "ada" }',
        b'{"actor":"\\u0061d\\"a\\"","tags":["x"]}',
        b'{"free":{"actor":"x","k\\u0061":{"actor":[{"tags":1}]}},"actor":"ada","tags":["x"]}',
        b'{"actor":null,"later":7,"tags":["x"]}',
    ],
)
def test_metadata_that_is_only_written_otherwise_is_accepted(metadata_json: bytes) -> None:
    event = NewEvent(ID, "x:happened", 1, b"{}", metadata_json, ("x",))

    assert event.metadata_json == metadata_json


def test_json_is_one_line_however_the_data_is_written() -> None:
    data_json = b'{"a":\n1,\r\n"b": "x\\ny"}'
    event = NewEvent.raw("x:y", data_json, event_id="0191d7a6-0000-7000-8000-000000000001")
    recorded = RecordedEvent(
        1, "a-1", 1, event.event_id, event.type, 1, 0, event.metadata_json, event.data_json
    )

    line = recorded.to_json()

    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(line)["data"] == {"a": 1, "b": "x\ny"}
