"""Events to bytes and back.

What is encoded is decoded again and compared before anybody may store it. msgspec does not check
values when a struct is made: `TaskCreated(title=123)` would encode and could never be read again,
NaN would become null, a Decimal in an `Any` would come back as text. Here all of these are refused,
with the field's name, before anything is written; so on every store alike. It costs under a
microsecond for a small event, and gives a copy that shares no list with the caller.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, cast

import msgspec

from backstory._errors import DecodeError, EncodeError
from backstory._events import Event, Metadata, RawEvent, event_class
from backstory._limits import EVENT_BYTES_MAX, NESTING_MAX, nesting, shorten
from backstory._upcasting import JSONObject, upcast

T = TypeVar("T")
EventT = TypeVar("EventT", bound=Event)

_encoder = msgspec.json.Encoder()
_any_decoder = msgspec.json.Decoder()
_sorting_encoder = msgspec.json.Encoder(order="sorted")


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}


def _decoder(cls: type[T]) -> msgspec.json.Decoder[T]:
    decoder = _decoders.get(cls)
    if decoder is None:
        decoder = _decoders[cls] = msgspec.json.Decoder(cls)
    return decoder


def encode(event: EventT) -> tuple[bytes, EventT]:
    """Return an event as JSON, and the equal event that the JSON is read as.

    Raises:
        EncodeError: The event would not come back equal, or is too large or too deep.
    """
    cls = type(event)
    if not cls.event_type:
        reason = f"{cls.__name__} is abstract; give the class a type="
        raise EncodeError(event_type=cls.__name__, field="event", reason=reason)
    try:
        json = _encoder.encode(event)
        copy = _decoder(cls).decode(json)
        unchanged = bool(copy == event)
    except Exception as error:
        # Whatever it is (a value's own __eq__ may raise anything), the event cannot be stored.
        field, reason = _fault(event, error)
        raise EncodeError(event_type=cls.event_type, field=field, reason=reason) from error
    if not unchanged:
        field, reason = _changed(event, copy)
        raise EncodeError(event_type=cls.event_type, field=field, reason=reason)
    check_json(cls.event_type, json)
    return json, copy


def check_json(event_type: str, json: bytes) -> None:
    """Refuse JSON that is too large or too deep to store.

    Raises:
        EncodeError: It is.
    """
    if not isinstance(cast("object", json), bytes):
        raise EncodeError(event_type=event_type, field="event", reason="must be JSON in bytes")
    if len(json) > EVENT_BYTES_MAX:
        reason = (
            f"has {len(json):,} bytes, at most {EVENT_BYTES_MAX:,} are allowed; store a reference"
        )
        raise EncodeError(event_type=event_type, field="event", reason=reason)
    if nesting(json) > NESTING_MAX:
        reason = f"is nested deeper than {NESTING_MAX} levels"
        raise EncodeError(event_type=event_type, field="event", reason=reason)


def encode_metadata(metadata: Metadata, *, event_type: str) -> bytes:
    """Return metadata as JSON that is read as equal metadata.

    Raises:
        EncodeError: It would not come back equal, or is too large or too deep.
    """
    try:
        json = _encoder.encode(metadata)
        unchanged = bool(_decoder(Metadata).decode(json) == metadata)
    except Exception as error:
        raise EncodeError(event_type=event_type, field="metadata", reason=str(error)) from error
    if not unchanged:
        reason = "would not come back equal; free keys hold JSON values only"
        raise EncodeError(event_type=event_type, field="metadata", reason=reason)
    check_json(event_type, json)
    return json


def _fault(event: Event, error: Exception) -> tuple[str, str]:
    """Name the first field that cannot be encoded and decoded by itself."""
    if isinstance(error, RecursionError):
        return "event", f"is nested deeper than {NESTING_MAX} levels"
    for field in msgspec.structs.fields(event):
        try:
            json = _encoder.encode(getattr(event, field.name))
            msgspec.json.decode(json, type=field.type)
        except Exception as cause:  # noqa: BLE001 - the same errors as above, field by field
            return f"field {field.name!r}", f"{shorten(getattr(event, field.name))}: {cause}"
    return "event", str(error)


def _changed(event: Event, copy: Event) -> tuple[str, str]:
    for name in event.__struct_fields__:
        before, after = getattr(event, name), getattr(copy, name)
        if before != after:
            return f"field {name!r}", f"{shorten(before)} would come back as {shorten(after)}"
    return "event", "would come back as another event"


class Encoded(Protocol):
    """What has to be known of a stored event to decode it, or to say which one cannot be."""

    @property
    def stream_id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def schema_version(self) -> int: ...
    @property
    def metadata_json(self) -> bytes: ...
    @property
    def data_json(self) -> bytes: ...


def decode(stored: Encoded) -> Event:
    """Return a stored event as its class, or as a `RawEvent` where this program has none for it.

    A newer schema version than the class's counts as unknown: nothing here can say what it means.

    Raises:
        DecodeError: The data is damaged, or does not fit the class, or an upcaster raised.
    """
    cls = event_class(stored.type)
    try:
        if cls is None:
            return RawEvent(content=_any_decoder.decode(stored.data_json))
        if stored.schema_version == cls.schema_version:  # nearly always, and on every replay
            decoder: msgspec.json.Decoder[Event] = _decoders.get(cls) or _decoder(cls)
            return decoder.decode(stored.data_json)
        if stored.schema_version > cls.schema_version:
            return RawEvent(content=_any_decoder.decode(stored.data_json))
        return _read(cls, stored.schema_version, stored.data_json)
    except (ValueError, RecursionError) as error:  # msgspec's errors and bad UTF-8 are ValueErrors
        raise _undecodable(stored, str(error)) from error


def _read(cls: type[EventT], schema_version: int, json: bytes) -> EventT:
    if schema_version < cls.schema_version:
        data = upcast(_any_decoder.decode(json), schema_version, cls.event_upcasters)
        try:
            # Through JSON, so that it is read by the rules by which the class's own data is read.
            json = _encoder.encode(data)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"an upcaster returned what is no JSON: {error}") from error
    return _decoder(cls).decode(json)


def decode_metadata(stored: Encoded) -> Metadata:
    """Return a stored event's metadata.

    Raises:
        DecodeError: It is damaged.
    """
    try:
        return _decoder(Metadata).decode(stored.metadata_json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _undecodable(stored, f"metadata: {error}") from error


def _undecodable(stored: Encoded, reason: str) -> DecodeError:
    return DecodeError(
        event_type=stored.type,
        schema_version=stored.schema_version,
        stream_id=stored.stream_id,
        version=stored.version,
        reason=reason,
    )


def check_data(json: bytes, *, event_type: str, schema_version: int) -> None:
    """Refuse data that nobody has checked yet, and that could not be read again.

    Raises:
        EncodeError: It is no JSON, or too large or too deep, or does not fit the class of its type.
    """
    check_json(event_type, json)
    cls = event_class(event_type)
    try:
        # Whole first: a class passes over what it has no field for, unlooked at.
        _any_decoder.decode(json)
        if cls is not None and schema_version <= cls.schema_version:
            _read(cls, schema_version, json)
    except (ValueError, RecursionError) as error:
        raise EncodeError(event_type=event_type, field="data", reason=str(error)) from error


def parse_metadata(json: bytes, *, event_type: str) -> Metadata:
    """Return the metadata that a JSON text says, which nobody has checked yet.

    Raises:
        EncodeError: It is not valid metadata, or too large or too deep.
    """
    check_json(event_type, json)
    try:
        return _decoder(Metadata).decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EncodeError(event_type=event_type, field="metadata", reason=str(error)) from error


_STRING_OR_BRACKET = re.compile(rb'"((?:[^"\\]|\\.)*)"(\s*:)?|[\[\]{}]', re.DOTALL)


def check_keys(json: bytes, metadata: Metadata, *, event_type: str) -> None:
    """Refuse metadata, as JSON, that has a key twice, or one that is written with an escape.

    Who finds events by their metadata, as SQLite does, reads such a text otherwise than a decoder:
    of two keys it takes the first, and one with an escape it may not know.

    Raises:
        EncodeError: It has.
    """
    if _encoder.encode(metadata) == json:  # nearly always
        return
    keys = list(_outer_keys(json))
    if len(set(keys)) < len(keys) or any(b"\\" in key for key in keys):
        reason = "must have each key once, and written without escapes"
        raise EncodeError(event_type=event_type, field="metadata", reason=reason)


def _outer_keys(json: bytes) -> Iterator[bytes]:
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(json):
        if match[0] in b"[{":
            depth += 1
        elif match[0] in b"]}":
            depth -= 1
        elif depth == 1 and match[2]:
            yield match[1]


def same_json(one: bytes, other: bytes) -> bool:
    """Tell whether two JSON texts say the same, up to the order of keys and to white space."""
    return one == other or _canonical(one) == _canonical(other)


def _canonical(json: bytes) -> bytes:
    # Through sorted text and not through ==, which takes 1, 1.0 and True for one.
    return _sorting_encoder.encode(_any_decoder.decode(json))


def encode_state(state: object) -> bytes | None:
    """Return a state as JSON, or None where it would not come back as it is and cannot be kept.

    Equal is not enough: a Counter in a field of type dict would come back as an equal dict, which
    does other things.
    """
    try:
        json = _encoder.encode(state)
        copy = _decoder(type(state)).decode(json)
        return json if copy == state and _is_alike(state, copy) else None
    except Exception:  # noqa: BLE001 - as in encode: whatever it is, it cannot be kept
        return None


def _is_alike(one: Any, other: Any) -> bool:
    """Tell whether two equal values are of the same types all the way down."""
    if isinstance(one, int | float):
        return isinstance(other, int | float)  # an int in a field for floats comes back as one
    if type(one) is not type(other):
        return False
    if isinstance(one, msgspec.Struct):
        names = one.__struct_fields__
        return all(_is_alike(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, dict):
        return all(_is_alike(value, other[key]) for key, value in cast("JSONObject", one).items())
    if isinstance(one, list | tuple):
        return all(map(_is_alike, cast("list[Any]", one), other))
    return True


def state_decoder(cls: type[T]) -> Callable[[bytes], T]:
    """Return what reads states of a class that `encode_state` wrote."""
    return _decoder(cls).decode
