"""Events: immutable facts in the past tense, each with a stable type string and a schema version.

A class registers itself under its type when it is defined, so that what is stored under the type
can be read again. The registry is the process's: a type means one thing in one program. A type may
have aliases, which are types it was stored under before it was renamed.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, cast, dataclass_transform

import msgspec
from msgspec import Struct, StructMeta

from backstory._errors import ConfigurationError, InvalidInputError
from backstory._limits import (
    METADATA_ID_BYTES_MAX,
    TAG_BYTES_MAX,
    TAG_COUNT_MAX,
    check_event_type,
    check_integer,
    check_text,
    shorten,
)
from backstory._upcasting import Upcaster, check_upcasters

_RESERVED: Final = frozenset(
    {"event_type", "event_aliases", "event_tags", "event_upcasters", "schema_version"}
)
_NO_UPCASTERS: Final[Mapping[int, Upcaster]] = MappingProxyType({})


class EventMeta(StructMeta):
    """Makes event classes: frozen, keyword-only, registered under their type."""

    # The class keywords are spelt out, so that a type checker reports a misspelt one.
    def __new__(
        mcls: type[Any],
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        type: str = "",
        schema_version: int = 1,
        aliases: tuple[str, ...] = (),
        upcasters: Mapping[int, Upcaster] = _NO_UPCASTERS,
        frozen: bool = True,
        kw_only: bool = True,
    ) -> Any:
        """Make the class and register it; a class without a type is abstract.

        Raises:
            ConfigurationError: The type is taken by another class, a keyword or field is unfit, or
                an older schema version is not translated.
        """
        if not frozen or not kw_only:
            raise ConfigurationError(f"event {name}: events are frozen and keyword-only")
        cls = StructMeta.__new__(mcls, name, bases, namespace, frozen=True, kw_only=True)
        cls.event_type, cls.schema_version, cls.event_aliases = type, schema_version, aliases
        cls.event_upcasters = upcasters
        if type:
            _check_definition(cls)
            _register(cls)
        return cls


# On the class and not on the metaclass, because mypy reads it only here; `frozen=True` is repeated
# beside it for the same reason.
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Event(Struct, frozen=True, kw_only=True, metaclass=EventMeta):
    """An immutable fact. Subclass it in the past tense, and give the type that it is stored under.

        class TaskCompleted(Event, type="task:completed"):
            pages: int

    Class keywords:
        type: The stable type string, independent of the class's name and place. A class without
            one is abstract: it can be subclassed, and not emitted.
        schema_version: The shape number of the fields, from 1. Raise it when a change of the
            fields needs translating.
        aliases: Types that these events were stored under before.
        upcasters: For each older schema version a function that turns its data, as a JSON object,
            into that of the next.

    Fields hold what JSON and msgspec can carry exactly. An event whose values would not come back
    equal is refused before anything is written.
    """

    event_type: ClassVar[str]
    """The type that events of this class are stored under; empty for an abstract class."""
    schema_version: ClassVar[int]
    """The shape number of the fields, from 1."""
    event_aliases: ClassVar[tuple[str, ...]]
    """Further types that are read as this class."""
    event_upcasters: ClassVar[Mapping[int, Upcaster]]
    """What translates older schema versions, by the version that it takes."""

    def event_tags(self) -> Sequence[str]:
        """Return the tags that the event has by itself; override it, such as with its subject's.

            def event_tags(self) -> Sequence[str]:
                return [f"seat:{self.seat}"]

        They are stored beside those of the context, once, when the event is emitted.
        """
        return ()


class RawEvent(Event):
    """A stored event whose type, or newer schema version, this program does not know.

    It is passed on as it is, never lost and never a crash. `RecordedEvent.type` says what it is.
    """

    content: Any = None
    """The data, as JSON values."""


_registry: Final[dict[str, type[Event]]] = {}


def _register(cls: type[Event]) -> None:
    for event_type in names_of(cls):
        known = _registry.get(event_type)
        # The same module and name again is a notebook cell that ran twice: the newer class counts.
        if known is not None and _place(known) != _place(cls):
            raise ConfigurationError(
                f"event type {event_type!r} belongs to {_place(known)}; "
                f"give {_place(cls)} a type of its own"
            )
    _registry.update(dict.fromkeys(names_of(cls), cls))


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _check_definition(cls: type[Event]) -> None:
    if not isinstance(cast("object", cls.event_aliases), tuple):
        raise ConfigurationError(f"event {cls.__name__}: aliases is a tuple of types")
    try:
        for known_as in names_of(cls):
            check_event_type(known_as)
        check_integer("schema_version", cls.schema_version, least=1)
    except InvalidInputError as error:
        raise ConfigurationError(f"event {cls.__name__}: {error}") from None
    check_upcasters(cls.__name__, cls.schema_version, cls.event_upcasters)
    if taken := _RESERVED & set(cls.__struct_fields__):
        raise ConfigurationError(
            f"event {cls.__name__}: field {min(taken)!r} is the framework's; rename it"
        )


event_class: Final[Callable[[str], type[Event] | None]] = _registry.get
"""Returns the class that a type is read as, or None where this program has none. The dict's own
method, because it is called for every event that is read."""


def is_known(event_type: str, schema_version: int) -> bool:
    """Tell whether this program can say what events of a type and schema version mean."""
    cls = _registry.get(event_type)
    return cls is not None and schema_version <= cls.schema_version


def event_types() -> list[str]:
    """Return all types that this program can read, aliases included, sorted."""
    return sorted(_registry)


def names_of(event: type[Event] | str) -> tuple[str, ...]:
    """Return every type that events of a class are stored under; a string stands for itself."""
    if isinstance(event, str):
        return (event,)
    return (event.event_type, *event.event_aliases)


class Metadata(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Facts about an event that are not its data: who caused it, and because of what."""

    correlation_id: str | None = None
    """Shared by everything that one request set in motion."""
    causation_id: str | None = None
    """The id of the one command or event that directly caused this event."""
    actor: str | None = None
    """Who: a domain agent, a person, a system."""
    tags: tuple[str, ...] = ()
    """Words to find the event by; at most 64."""
    free: dict[str, Any] = {}
    """The program's own keys, as JSON values."""


def own_tags(event: Event) -> tuple[str, ...]:
    """Return the tags that an event has by itself.

    Raises:
        InvalidInputError: It says one text instead of a list of texts.
    """
    tags = event.event_tags()
    if isinstance(tags, str):
        reason = "must be a list of texts, not one text"
        raise InvalidInputError(argument="event_tags", found=repr(tags), reason=reason)
    return tuple(tags)


def tagged(metadata: Metadata, tags: Sequence[str]) -> Metadata:
    """Return metadata with further tags, each once."""
    if not tags:
        return metadata
    return msgspec.structs.replace(metadata, tags=tuple(dict.fromkeys((*metadata.tags, *tags))))


def check_metadata(metadata: Metadata) -> None:
    """Refuse metadata outside the limits.

    Raises:
        InvalidInputError: An id or a tag is empty, too long or no text, or there are too many tags.
    """
    if metadata.correlation_id is not None:
        check_text("correlation id", metadata.correlation_id, METADATA_ID_BYTES_MAX)
    if metadata.causation_id is not None:
        check_text("causation id", metadata.causation_id, METADATA_ID_BYTES_MAX)
    if metadata.actor is not None:
        check_text("actor", metadata.actor, METADATA_ID_BYTES_MAX)
    if not isinstance(cast("object", metadata.tags), tuple):
        reason = "must be a tuple of texts"
        raise InvalidInputError(argument="tags", found=shorten(metadata.tags), reason=reason)
    if len(metadata.tags) > TAG_COUNT_MAX:
        reason = f"at most {TAG_COUNT_MAX} are allowed"
        raise InvalidInputError(argument="tags", found=str(len(metadata.tags)), reason=reason)
    for tag in metadata.tags:
        check_text("tag", tag, TAG_BYTES_MAX)
    if len(set(metadata.tags)) < len(metadata.tags):
        found = shorten(metadata.tags)
        raise InvalidInputError(argument="tags", found=found, reason="name each tag once")
