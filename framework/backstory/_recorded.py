"""An event on its way into a store, and an event as stored.

They are two types, because an event that has a version and a position is another thing than one
that has not. Both carry their data as JSON: a store needs no class to keep an event, and a reader
that passes events on pays for no decoding. `RecordedEvent` decodes on first use.
"""

from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Final, Self

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from backstory._clock import from_microseconds
from backstory._codec import (
    check_data,
    check_keys,
    decode,
    decode_metadata,
    encode,
    encode_metadata,
    parse_metadata,
)
from backstory._errors import InvalidInputError
from backstory._events import Event, Metadata, check_metadata, own_tags, tagged
from backstory._ids import check_event_id, parse_event_id, split_stream_id
from backstory._limits import EVENT_BYTES_MAX, check_event_type, check_integer, shorten


def _check_size(event_type: str, data_json: bytes, metadata_json: bytes) -> None:
    if (size := len(data_json) + len(metadata_json)) > EVENT_BYTES_MAX:
        reason = f"has {size:,} bytes with its metadata, at most {EVENT_BYTES_MAX:,} are allowed"
        raise InvalidInputError(argument="event", found=event_type, reason=reason)


class NewEvent(Struct, frozen=True):
    """An event with an id and metadata that has no version or position yet.

    Make one with `of` from an event, or with `raw` from JSON whose class this program may lack.
    However it is made, one that could not be stored or read again is refused. Repeating an append
    with the same ids is answered with the first receipt, so whoever may have to repeat keeps the
    NewEvents.

    Raises:
        EncodeError: Data or metadata is no JSON, or too large or too deep, or the metadata has a
            key twice or with an escape, or this program knows the type and the data does not fit
            its class.
        InvalidInputError: Another part is unfit.
    """

    event_id: str
    """A UUID in lower case with dashes."""
    type: str
    """The event's type."""
    schema_version: int
    """The shape number of the data, from 1."""
    data_json: bytes
    """The event's fields, as JSON."""
    metadata_json: bytes
    """The metadata, as JSON."""
    tags: tuple[str, ...] = ()
    """The metadata's tags, which stores index."""

    def __post_init__(self) -> None:
        check_event_type(self.type)
        check_integer("schema version", self.schema_version, least=1)
        check_event_id(self.event_id)
        check_data(self.data_json, event_type=self.type, schema_version=self.schema_version)
        metadata = parse_metadata(self.metadata_json, event_type=self.type)
        check_metadata(metadata)
        check_keys(self.metadata_json, metadata, event_type=self.type)
        if self.tags != metadata.tags:
            reason = "must be those of the metadata"
            raise InvalidInputError(argument="tags", found=shorten(self.tags), reason=reason)
        _check_size(self.type, self.data_json, self.metadata_json)

    @staticmethod
    def of(event: Event, *, event_id: object, metadata: Metadata | None = None) -> "NewEvent":
        """Return a new event that says what `event` says, with the tags that it has by itself.

        Args:
            event: The fact.
            event_id: A UUID, or its text; chosen before the append, and the same when repeated.
            metadata: Facts about the event; none by default.

        Raises:
            EncodeError: The event or its metadata would not come back equal, or is too large.
            InvalidInputError: The id is no UUID, or the metadata is outside the limits.
        """
        data_json, as_read = encode(event)
        metadata = tagged(metadata or Metadata(), own_tags(as_read))
        return new_event(as_read, data_json, event_id=event_id, metadata=metadata)

    @classmethod
    def raw(
        cls,
        type: str,
        data_json: bytes,
        *,
        event_id: object,
        schema_version: int = 1,
        metadata: Metadata | None = None,
    ) -> Self:
        """Return a new event from JSON, for a type that this program need not know.

        Raises:
            EncodeError: The data is no JSON, or too large or too deep, or this program knows the
                type and the data does not fit its class.
            InvalidInputError: The type, the id, the schema version or the metadata is unfit.
        """
        metadata = metadata or Metadata()
        check_metadata(metadata)
        metadata_json = encode_metadata(metadata, event_type=type)
        id = parse_event_id(event_id)
        return cls(id, type, schema_version, data_json, metadata_json, metadata.tags)


_BLANK: Final = NewEvent("00000000-0000-7000-8000-000000000000", "blank", 1, b"{}", b"{}")


def new_event(event: Event, data_json: bytes, *, event_id: object, metadata: Metadata) -> NewEvent:
    """Return a new event of what `encode` gave, which is not checked once more.

    Raises:
        EncodeError: The metadata would not come back equal, or is too large.
        InvalidInputError: The id is no UUID, or the metadata is outside the limits.
    """
    check_metadata(metadata)
    metadata_json = encode_metadata(metadata, event_type=event.event_type)
    _check_size(event.event_type, data_json, metadata_json)
    # A copy is made without __post_init__, whose checks cost more than all the rest.
    new = copy(_BLANK)
    force_setattr(new, "event_id", parse_event_id(event_id))
    force_setattr(new, "type", event.event_type)
    force_setattr(new, "schema_version", event.schema_version)
    force_setattr(new, "data_json", data_json)
    force_setattr(new, "metadata_json", metadata_json)
    force_setattr(new, "tags", metadata.tags)
    return new


class _Decoded:
    """Slots beside the fields: what was decoded is kept, and is not compared, copied or pickled."""

    __slots__ = ("data", "metadata")

    data: Event
    """The event, as its class, or as a `RawEvent`; decoded on first use, which may raise
    `DecodeError` (it does not fit the class). What is stored in an older schema version has gone
    through the upcasters of the class."""
    metadata: Metadata
    """Correlation, causation, actor, tags and free keys; decoded on first use, which may raise
    `DecodeError` (it is damaged)."""


def decoded(recorded: "RecordedEvent") -> "RecordedEvent":
    """Return an event whose data is decoded, and kept with it, ahead of its first use.

    Raises:
        DecodeError: It does not fit its class.
    """
    force_setattr(recorded, "data", decode(recorded))
    return recorded


class RecordedEvent(_Decoded, Struct, frozen=True):
    """An event as stored: what happened, where in its stream and where in the log."""

    position: int
    """Its place in the log of the whole store: strictly increasing, gaps allowed."""
    stream_id: str
    """The stream: `category-id`."""
    version: int
    """Its place in its stream: 1, 2, 3 … without gaps."""
    event_id: str
    """A UUID in lower case with dashes."""
    type: str
    """The type it is stored under."""
    schema_version: int
    """The shape number it is stored in."""
    recorded_microseconds: int
    """When the store accepted it, in microseconds since 1970 in UTC."""
    metadata_json: bytes
    """The metadata as stored, as JSON."""
    data_json: bytes
    """The data as stored, as JSON."""

    if not TYPE_CHECKING:
        # Called for a slot that is still empty. A property that looks into one would be clearer,
        # and cost a replay a tenth of its speed. Hidden, or every attribute would type-check.
        def __getattr__(self, name: str) -> Event | Metadata:
            if name == "data":
                value = decode(self)
            elif name == "metadata":
                value = decode_metadata(self)
            else:
                raise AttributeError(
                    f"a RecordedEvent has no {name!r}; the event itself is its `data`"
                )
            force_setattr(self, name, value)
            return value

    @property
    def recorded_at(self) -> datetime:
        """When the store accepted the event, in UTC. Data, and never an order."""
        return from_microseconds(self.recorded_microseconds)

    def to_json(self) -> bytes:
        """Return the whole event as one line of JSON, with metadata and data as they are stored.

        A line break between their JSON values, where alone one can stand, becomes a space.
        """
        whole = msgspec.json.encode(
            {
                "position": self.position,
                "stream_id": self.stream_id,
                "version": self.version,
                "event_id": self.event_id,
                "type": self.type,
                "schema_version": self.schema_version,
                "recorded_at": self.recorded_at,
                "metadata": msgspec.Raw(self.metadata_json),
                "data": msgspec.Raw(self.data_json),
            }
        )
        return whole.replace(b"\n", b" ").replace(b"\r", b" ")

    @property
    def category(self) -> str:
        """The part of the stream id before its first dash."""
        return split_stream_id(self.stream_id)[0]

    @property
    def id(self) -> str:
        """The aggregate's id: the part of the stream id behind its first dash."""
        return split_stream_id(self.stream_id)[1]
