"""Events as a test needs them: new, recorded, or about to be recorded on some stream."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from msgspec import Struct

from backstory._clock import to_microseconds
from backstory._events import Event, Metadata
from backstory._ids import check_stream_id
from backstory._recorded import NewEvent, RecordedEvent
from backstory.testing._clock import START
from backstory.testing._ids import SequentialIds

STREAM_ID: Final = "test-1"
"""The stream of an event of which nobody said where it is."""


class GivenEvent(Struct, frozen=True):
    """An event that a specification starts from, on a stream; from `recorded_on`."""

    stream_id: str
    """The stream."""
    event: Event | NewEvent
    """The fact; a `NewEvent` where its JSON matters, as that of an older schema version."""
    metadata: Metadata
    """Facts about the event."""
    recorded_at: datetime | None
    """When it was recorded; None for one second after the one before."""


def new_event(
    event: Event,
    *,
    event_id: object = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    actor: str | None = None,
    tags: Sequence[str] = (),
    free: Mapping[str, Any] | None = None,
) -> NewEvent:
    """Return a new event, ready to be appended.

    Args:
        event: The fact.
        event_id: A UUID; a fresh one when not said.
        correlation_id: As in `Metadata`.
        causation_id: As in `Metadata`.
        actor: As in `Metadata`.
        tags: As in `Metadata`.
        free: As in `Metadata`.

    Raises:
        EncodeError: The event would not come back equal.
        InvalidInputError: A part is outside the limits.
    """
    metadata = _metadata(correlation_id, causation_id, actor, tags, free)
    id = uuid4() if event_id is None else event_id
    return NewEvent.of(event, event_id=id, metadata=metadata)


def recorded_event(
    event: Event | NewEvent,
    *,
    stream_id: str = STREAM_ID,
    version: int = 1,
    position: int = 1,
    recorded_at: datetime = START,
    event_id: object = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    actor: str | None = None,
    tags: Sequence[str] = (),
    free: Mapping[str, Any] | None = None,
) -> RecordedEvent:
    """Return an event as a store would have recorded it, without a store.

    It has been through the codec, as every stored event has.

    Args:
        event: The fact; or a `NewEvent`, which has its own id and metadata already.
        stream_id: Its stream.
        version: Its place in the stream.
        position: Its place in the log.
        recorded_at: When it was recorded, a time with a zone.
        event_id: A UUID; a fresh one when not said.
        correlation_id: As in `Metadata`.
        causation_id: As in `Metadata`.
        actor: As in `Metadata`.
        tags: As in `Metadata`.
        free: As in `Metadata`.

    Raises:
        EncodeError: The event would not come back equal.
        InvalidInputError: A part is outside the limits.
    """
    check_stream_id(stream_id)
    if isinstance(event, NewEvent):
        new = event
    else:
        new = new_event(
            event,
            event_id=event_id,
            correlation_id=correlation_id,
            causation_id=causation_id,
            actor=actor,
            tags=tags,
            free=free,
        )
    return record(
        new, stream_id=stream_id, version=version, position=position, recorded_at=recorded_at
    )


def record(
    new: NewEvent, *, stream_id: str, version: int, position: int, recorded_at: datetime
) -> RecordedEvent:
    """Return a new event as it is once it is recorded."""
    return RecordedEvent(
        position=position,
        stream_id=stream_id,
        version=version,
        event_id=new.event_id,
        type=new.type,
        schema_version=new.schema_version,
        recorded_microseconds=to_microseconds(recorded_at),
        metadata_json=new.metadata_json,
        data_json=new.data_json,
    )


def recorded_on(
    stream_id: str,
    event: Event | NewEvent,
    *,
    recorded_at: datetime | None = None,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    actor: str | None = None,
    tags: Sequence[str] = (),
    free: Mapping[str, Any] | None = None,
) -> GivenEvent:
    """Return an event for the `given` of a specification that says where it lies and who caused it.

    Args:
        stream_id: Its stream.
        event: The fact; or a `NewEvent`, which has its own id and metadata already.
        recorded_at: When it was recorded, a time with a zone; one second after the event before it
            when not said.
        correlation_id: As in `Metadata`.
        causation_id: As in `Metadata`.
        actor: As in `Metadata`.
        tags: As in `Metadata`.
        free: As in `Metadata`.

    Raises:
        InvalidInputError: The stream id is none.
    """
    check_stream_id(stream_id)
    metadata = _metadata(correlation_id, causation_id, actor, tags, free)
    return GivenEvent(stream_id, event, metadata, recorded_at)


def as_given(event: Event | NewEvent | GivenEvent) -> GivenEvent:
    """Return an event with a place: where nobody said one, on the stream `test-1`."""
    return event if isinstance(event, GivenEvent) else recorded_on(STREAM_ID, event)


def recorded_log(given: Sequence[GivenEvent]) -> Iterator[RecordedEvent]:
    """Yield given events as a store would: in order, and decoded afresh for each reader."""
    ids = SequentialIds()
    versions: dict[str, int] = {}
    moment: datetime | None = None
    for position, one in enumerate(given, 1):
        version = versions[one.stream_id] = versions.get(one.stream_id, 0) + 1
        moment = one.recorded_at or _next(moment)
        id, event = ids.new(), one.event
        if not isinstance(event, NewEvent):
            event = NewEvent.of(event, event_id=id, metadata=one.metadata)
        yield record(
            event,
            stream_id=one.stream_id,
            version=version,
            position=position,
            recorded_at=moment,
        )


def _next(moment: datetime | None) -> datetime:
    return START if moment is None else moment + timedelta(seconds=1)


def _metadata(
    correlation_id: str | None,
    causation_id: str | None,
    actor: str | None,
    tags: Sequence[str],
    free: Mapping[str, Any] | None,
) -> Metadata:
    return Metadata(
        correlation_id=correlation_id,
        causation_id=causation_id,
        actor=actor,
        tags=tuple(tags),
        free=dict(free or {}),
    )
