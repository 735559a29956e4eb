"""Which events a reader wants."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from backstory._clock import to_microseconds
from backstory._errors import InvalidInputError
from backstory._events import Event, names_of
from backstory._limits import (
    FILTER_VALUE_COUNT_MAX,
    METADATA_ID_BYTES_MAX,
    TAG_BYTES_MAX,
    TAG_COUNT_MAX,
    check_category,
    check_event_type,
    check_text,
    shorten,
)
from backstory._recorded import RecordedEvent


class EventFilter(Struct, frozen=True):
    """A condition on events: every part that is given must hold.

    Make one with `where`. One of `types` and one of `categories` must match; all of `tags` must.

    Raises:
        InvalidInputError: A part is no possible value, or holds too many.
    """

    types: tuple[str, ...] = ()
    """Types, of which the event has one; empty for any."""
    categories: tuple[str, ...] = ()
    """Categories, of which the event's stream has one; empty for any."""
    correlation_id: str | None = None
    """The event's correlation id; None for any."""
    actor: str | None = None
    """The event's actor; None for any."""
    tags: tuple[str, ...] = ()
    """Tags, all of which the event has."""
    recorded_after: int | None = None
    """Exclusive lower bound of `recorded_at`, in microseconds since 1970."""
    recorded_until: int | None = None
    """Inclusive upper bound of `recorded_at`, in microseconds since 1970."""

    def __post_init__(self) -> None:
        for argument, values, most, check in (
            ("types", self.types, FILTER_VALUE_COUNT_MAX, check_event_type),
            ("categories", self.categories, FILTER_VALUE_COUNT_MAX, check_category),
            ("tags", self.tags, TAG_COUNT_MAX, _check_tag),
        ):
            if len(values) > most:
                reason = f"at most {most:,} are allowed"
                raise InvalidInputError(argument=argument, found=str(len(values)), reason=reason)
            for value in values:
                check(value)
        for argument, text in (("correlation id", self.correlation_id), ("actor", self.actor)):
            if text is not None:
                check_text(argument, text, METADATA_ID_BYTES_MAX)

    def matches(self, recorded: RecordedEvent) -> bool:
        """Tell whether an event is wanted."""
        return (
            (not self.types or recorded.type in self.types)
            and (not self.categories or recorded.category in self.categories)
            and (
                self.recorded_after is None or recorded.recorded_microseconds > self.recorded_after
            )
            and (
                self.recorded_until is None or recorded.recorded_microseconds <= self.recorded_until
            )
            and self._matches_metadata(recorded)
        )

    def _matches_metadata(self, recorded: RecordedEvent) -> bool:
        if self.correlation_id is None and self.actor is None and not self.tags:
            return True
        metadata = recorded.metadata
        return (
            self.correlation_id in (None, metadata.correlation_id)
            and self.actor in (None, metadata.actor)
            and set(self.tags) <= set(metadata.tags)
        )


def _check_tag(tag: object) -> None:
    check_text("tag", tag, TAG_BYTES_MAX)


EVERY_EVENT = EventFilter()


def where(
    *,
    types: Sequence[type[Event] | str] = (),
    categories: Sequence[str] = (),
    correlation_id: str | None = None,
    actor: str | None = None,
    tags: Sequence[str] = (),
    recorded_after: datetime | None = None,
    recorded_until: datetime | None = None,
) -> EventFilter:
    """Return a filter for reads and subscriptions.

    Args:
        types: Event classes (with their aliases) or type strings; an event has one of them.
        categories: Categories; the event's stream has one of them.
        correlation_id: The event's correlation id.
        actor: The event's actor.
        tags: Tags; the event has all of them.
        recorded_after: The event was recorded later than this, a time with a zone.
        recorded_until: The event was recorded at this time or earlier.

    Raises:
        InvalidInputError: A part is no possible value, so that nothing could ever match, or a text
            was passed where a list of texts belongs.
    """
    for argument, value in (("types", types), ("categories", categories), ("tags", tags)):
        if isinstance(value, str):
            reason = "must be a list of texts, not one text"
            raise InvalidInputError(argument=argument, found=repr(value), reason=reason)
    for given in types:
        if not (isinstance(given, str) or _is_event_class(given)):
            reason = "must be an event class or a type"
            raise InvalidInputError(argument="types", found=shorten(given), reason=reason)
    names = tuple(dict.fromkeys(name for event in types for name in names_of(event)))
    return EventFilter(
        types=names,
        categories=tuple(dict.fromkeys(categories)),
        correlation_id=correlation_id,
        actor=actor,
        tags=tuple(dict.fromkeys(tags)),
        recorded_after=_microseconds("recorded_after", recorded_after),
        recorded_until=_microseconds("recorded_until", recorded_until),
    )


def _is_event_class(given: Any) -> bool:
    return isinstance(given, type) and issubclass(given, Event) and bool(given.event_type)


def _microseconds(argument: str, moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        reason = "must have a time zone, such as datetime.now(UTC) has"
        raise InvalidInputError(argument=argument, found=repr(moment), reason=reason)
    return to_microseconds(moment)
