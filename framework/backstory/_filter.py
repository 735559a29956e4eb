"""Which events a reader wants, or a writer excludes.

A filter is a list of items. An event matches when it matches one of them; it matches an item when
every part of the item holds. `where` makes a filter of one item, and `|` joins filters:

    where(types=[SeatBooked], tags=["seat:12A"]) | where(types=[ShowCancelled], tags=["show:7"])
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, cast

from msgspec import Struct

from backstory._clock import to_microseconds
from backstory._errors import InvalidInputError
from backstory._events import Event, names_of
from backstory._ids import check_stream_id
from backstory._limits import (
    FILTER_ITEM_COUNT_MAX,
    FILTER_VALUE_COUNT_MAX,
    INTEGER_MAX,
    METADATA_ID_BYTES_MAX,
    TAG_BYTES_MAX,
    TAG_COUNT_MAX,
    check_category,
    check_event_type,
    check_integer,
    check_text,
    shorten,
)
from backstory._recorded import RecordedEvent


def _check_tag(tag: object) -> None:
    check_text("tag", tag, TAG_BYTES_MAX)


_LISTS: Final[dict[str, tuple[int, Callable[[Any], None]]]] = {
    "types": (FILTER_VALUE_COUNT_MAX, check_event_type),
    "categories": (FILTER_VALUE_COUNT_MAX, check_category),
    "streams": (FILTER_VALUE_COUNT_MAX, check_stream_id),
    "tags": (TAG_COUNT_MAX, _check_tag),
}
_TEXTS: Final = ("correlation_id", "causation_id", "actor")
_BOUNDS: Final = ("recorded_after", "recorded_until")


class FilterItem(Struct, frozen=True, kw_only=True):
    """A condition on events: every part that is given must hold.

    One of `types`, one of `categories` and one of `streams` must match; all of `tags` must. Each of
    the four is a tuple that holds nothing twice; `where` makes them of whatever it is given.

    Raises:
        InvalidInputError: A part is no possible value, is no tuple, or holds too many or one twice.
    """

    types: tuple[str, ...] = ()
    """Types, of which the event has one; empty for any."""
    categories: tuple[str, ...] = ()
    """Categories, of which the event's stream has one; empty for any."""
    streams: tuple[str, ...] = ()
    """Stream ids, of which the event's stream has one; empty for any."""
    tags: tuple[str, ...] = ()
    """Tags, all of which the event has."""
    correlation_id: str | None = None
    """The event's correlation id; None for any."""
    causation_id: str | None = None
    """The id of what directly caused the event; None for any."""
    actor: str | None = None
    """The event's actor; None for any."""
    recorded_after: int | None = None
    """Exclusive lower bound of `recorded_at`, in microseconds since 1970."""
    recorded_until: int | None = None
    """Inclusive upper bound of `recorded_at`, in microseconds since 1970."""

    def __post_init__(self) -> None:
        for argument, (most, check) in _LISTS.items():
            values: object = getattr(self, argument)
            if values != ():
                _check_list(argument, values, most, check)
        for argument in _TEXTS:
            if (text := getattr(self, argument)) is not None:
                check_text(argument.replace("_", " "), text, METADATA_ID_BYTES_MAX)
        for argument in _BOUNDS:
            if (bound := getattr(self, argument)) is not None:
                check_integer(argument, bound, least=-INTEGER_MAX)

    def matches(self, recorded: RecordedEvent) -> bool:
        """Tell whether every part holds for an event."""
        return (
            (not self.types or recorded.type in self.types)
            and (not self.categories or recorded.category in self.categories)
            and (not self.streams or recorded.stream_id in self.streams)
            and (
                self.recorded_after is None or recorded.recorded_microseconds > self.recorded_after
            )
            and (
                self.recorded_until is None or recorded.recorded_microseconds <= self.recorded_until
            )
            and self._matches_metadata(recorded)
        )

    def _matches_metadata(self, recorded: RecordedEvent) -> bool:
        if not self.tags and self.correlation_id is self.causation_id is self.actor is None:
            return True
        metadata = recorded.metadata
        return (
            self.correlation_id in (None, metadata.correlation_id)
            and self.causation_id in (None, metadata.causation_id)
            and self.actor in (None, metadata.actor)
            and set(self.tags) <= set(metadata.tags)
        )


def _check_list(argument: str, values: object, most: int, check: Callable[[object], None]) -> None:
    if not isinstance(values, tuple):
        # A list could change behind the check, and cannot be hashed.
        reason = "must be a tuple of texts; where(…) makes one of any list"
        raise InvalidInputError(argument=argument, found=shorten(values), reason=reason)
    texts = cast("tuple[object, ...]", values)
    if len(texts) > most:
        reason = f"at most {most:,} are allowed"
        raise InvalidInputError(argument=argument, found=str(len(texts)), reason=reason)
    for text in texts:
        check(text)
    if len(set(texts)) < len(texts):
        raise InvalidInputError(
            argument=argument, found=shorten(texts), reason="must hold each text once"
        )


class EventFilter(Struct, frozen=True):
    """Which events are meant: those that match an item. Make one with `where`, join with `|`.

    Raises:
        InvalidInputError: There is no item, or there are too many, or they are no tuple of items.
    """

    items: tuple[FilterItem, ...] = (FilterItem(),)
    """The items, of which an event matches one; by default one that every event matches."""

    def __post_init__(self) -> None:
        if not _are_items(self.items):
            reason = "must be a tuple of FilterItem; make a filter with where(…) and join with |"
            raise InvalidInputError(argument="items", found=shorten(self.items), reason=reason)
        if not 0 < len(self.items) <= FILTER_ITEM_COUNT_MAX:
            reason = f"a filter has 1 to {FILTER_ITEM_COUNT_MAX} items"
            raise InvalidInputError(argument="items", found=str(len(self.items)), reason=reason)

    def matches(self, recorded: RecordedEvent) -> bool:
        """Tell whether an event is meant."""
        return any(item.matches(recorded) for item in self.items)

    def __or__(self, other: "EventFilter") -> "EventFilter":
        """Return a filter for the events that one of the two means."""
        return EventFilter(tuple(dict.fromkeys((*self.items, *other.items))))


def _are_items(items: object) -> bool:
    return isinstance(items, tuple) and all(
        isinstance(item, FilterItem) for item in cast("tuple[object, ...]", items)
    )


EVERY_EVENT: Final = EventFilter()


def where(
    *,
    types: Sequence[type[Event] | str] = (),
    categories: Sequence[str] = (),
    streams: Sequence[str] = (),
    tags: Sequence[str] = (),
    correlation_id: str | None = None,
    causation_id: str | None = None,
    actor: str | None = None,
    recorded_after: datetime | None = None,
    recorded_until: datetime | None = None,
) -> EventFilter:
    """Return a filter for reads, subscriptions and conditions; every part that is given must hold.

    Args:
        types: Event classes (with their aliases) or type strings; an event has one of them.
        categories: Categories; the event's stream has one of them.
        streams: Stream ids; the event lies in one of them. For one stream alone `read_stream` is
            the faster way.
        tags: Tags; the event has all of them.
        correlation_id: The event's correlation id.
        causation_id: The id of the event or command that directly caused the event.
        actor: The event's actor.
        recorded_after: The event was recorded later than this, a time with a zone.
        recorded_until: The event was recorded at this time or earlier.

    Raises:
        InvalidInputError: A part is no possible value, so that nothing could ever match, or a text
            was passed where a list of texts belongs.
    """
    for given in types if not isinstance(types, str) else ():
        if not (isinstance(given, str) or _is_event_class(given)):
            reason = "must be an event class or a type"
            raise InvalidInputError(argument="types", found=shorten(given), reason=reason)
    return EventFilter(
        (
            FilterItem(
                types=_unique("types", types, names_of),
                categories=_unique("categories", categories),
                streams=_unique("streams", streams),
                tags=_unique("tags", tags),
                correlation_id=correlation_id,
                causation_id=causation_id,
                actor=actor,
                recorded_after=_microseconds("recorded_after", recorded_after),
                recorded_until=_microseconds("recorded_until", recorded_until),
            ),
        )
    )


def _unique(
    argument: str,
    values: Sequence[Any],
    texts_of: Callable[[Any], Sequence[str]] = lambda value: (value,),
) -> tuple[str, ...]:
    if isinstance(values, str):
        reason = "must be a list of texts, not one text"
        raise InvalidInputError(argument=argument, found=repr(values), reason=reason)
    return tuple(dict.fromkeys(text for value in values for text in texts_of(value)))


def _is_event_class(given: Any) -> bool:
    return isinstance(given, type) and issubclass(given, Event) and bool(given.event_type)


def _microseconds(argument: str, moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        reason = "must have a time zone, such as datetime.now(UTC) has"
        raise InvalidInputError(argument=argument, found=repr(moment), reason=reason)
    return to_microseconds(moment)
