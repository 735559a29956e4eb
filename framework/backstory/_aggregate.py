"""Aggregates: typed state, commands that decide, and `@on` methods that evolve.

An aggregate is a struct, and its fields are its state: a snapshot is one encode, and a changed
list of fields is noticed. What the framework keeps of a live aggregate (its id, its version, the
events it has emitted) lies in one slot beside the fields. That slot is not encoded, compared or
copied; so an aggregate is never copied. A command runs on the live instance, and when anything goes
wrong the instance is dropped and loaded again.

`emit` encodes at once. A bad value is refused in the command that made it, before any state moves,
and the state evolves from the decoded copy: what the state keeps is what a later load will see, and
it shares no list with the caller.
"""

import inspect
from functools import update_wrapper
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, dataclass_transform

import msgspec
from msgspec import Struct, StructMeta

from backstory._codec import decode, encode
from backstory._errors import (
    ConfigurationError,
    CorruptLogError,
    InvalidInputError,
)
from backstory._events import Event, RawEvent, is_known, own_tags
from backstory._handlers import Handler, collect_handlers, is_plain, meet_unknown
from backstory._ids import stream_id_of
from backstory._limits import check_category, check_integer
from backstory._recorded import RecordedEvent

_RESERVED: Final = frozenset(
    {
        *("id", "version", "stream_id", "emit", "blank"),
        *("category", "revision", "snapshot_every", "snapshot_version", "handlers"),
    }
)


_PLAIN: Final = (bool, int, float, str, bytes, list, dict, set, tuple, frozenset, type(None))
"""Values that are meant as a field's default, where a name has no type."""


class EmittedEvent(Struct, frozen=True):
    """An event that a command has emitted, encoded, and not yet appended."""

    event: Event
    data_json: bytes
    tags: tuple[str, ...]
    """The event's own, without the context's."""


def emitted_event(event: Event) -> EmittedEvent:
    """Return an event as it will be read, apart from whatever the caller does with it.

    Raises:
        EncodeError: The event would not come back equal.
        InvalidInputError: Its tags are not valid.
    """
    data_json, copy = encode(event)
    return EmittedEvent(copy, data_json, own_tags(copy))


class Book:
    """What the framework knows of one live aggregate."""

    __slots__ = ("emitted", "has_met_unknown", "id", "snapshot_version", "version")

    def __init__(self, id: str) -> None:
        self.id = id
        self.version = 0
        self.snapshot_version = 0
        # Such a state is not kept: a program that knows the event would come to another.
        self.has_met_unknown = False
        self.emitted: list[EmittedEvent] = []


class _Booked:
    """One slot beside the struct's fields: not encoded, compared, copied or pickled."""

    __slots__ = ("_book",)
    _book: Book

    if not TYPE_CHECKING:
        # Called for what is not there. Hidden, or every attribute would type-check.
        def __getattr__(self, name: str) -> object:
            cls = type(self).__name__
            # A property that misses the book is asked for here too.
            if name not in {"_book", *_RESERVED}:
                raise AttributeError(f"{cls!r} object has no attribute {name!r}")
            raise AttributeError(
                f"this {cls} was made by itself and belongs to no stream: load it, or take "
                f"{cls}.blank(id)"
            )


class AggregateMeta(StructMeta):
    """Makes aggregate classes: collects commands and handlers, and refuses what cannot work."""

    # The class keywords are spelt out, so that a type checker reports a misspelt one.
    def __new__(
        mcls: type[Any],
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        category: str = "",
        revision: int = 1,
        snapshot_every: int = 100,
        kw_only: bool = True,
    ) -> Any:
        """Make the class; one without a category is abstract.

        Raises:
            ConfigurationError: The definition cannot work; the message says why.
        """
        for base in bases:
            if getattr(base, "category", ""):
                raise ConfigurationError(
                    f"{name}: {base.__name__} is concrete, and its commands would run on "
                    f"{base.__name__}; move what they share into a class without a category"
                )
        cls = StructMeta.__new__(mcls, name, bases, namespace, kw_only=kw_only)
        cls.category, cls.revision, cls.snapshot_every = category, revision, snapshot_every
        cls.handlers = collect_handlers(cls)
        check_fields(cls, _RESERVED)
        if any(isinstance(base, AggregateMeta) for base in bases):
            check_names(cls, namespace, _RESERVED)
        if category:
            _check_definition(cls)
            _own_commands(cls)
        return cls


def _commands_of(cls: type) -> dict[str, FunctionType]:
    return {
        key: member
        for key in dir(cls)
        if not key.startswith("_")
        and isinstance(member := inspect.getattr_static(cls, key), FunctionType)
        and key not in _RESERVED
    }


def _own_commands(cls: Any) -> None:
    """Give a concrete class commands that know it, so that execute(Task.create, …) finds Task.

    Each is a copy, because the function itself may stand in several classes: inherited from an
    abstract aggregate, mixed in, or assigned.
    """
    for key, command in _commands_of(cls).items():
        copy = FunctionType(
            command.__code__,
            command.__globals__,
            command.__name__,
            command.__defaults__,
            command.__closure__,
        )
        copy.__kwdefaults__ = command.__kwdefaults__
        update_wrapper(copy, command)
        copy.__dict__.pop("__wrapped__")  # it wraps nothing: it is the command
        copy.__dict__.update(command.__dict__, aggregate=cls)
        setattr(cls, key, copy)


def _check_definition(cls: Any) -> None:
    try:
        check_category(cls.category)
    except InvalidInputError as error:
        raise ConfigurationError(f"aggregate {cls.__name__}: {error}") from None
    check_defaults(cls)
    for key, command in _commands_of(cls).items():
        if not is_plain(command):
            raise ConfigurationError(
                f"{cls.__name__}.{key}: a command is a plain def; do I/O before or after execute"
            )
    members: list[Any] = [getattr(cls, key) for key in dir(cls)]
    for member in members:
        if getattr(member, "takes_recorded", False):
            raise ConfigurationError(
                f"{member.__qualname__}: an aggregate's handler is def (self, event); while a "
                "command decides, the event is not recorded yet"
            )
    check_number(cls, "revision", least=1)
    check_number(cls, "snapshot_every", least=0)


def check_number(cls: type, keyword: str, *, least: int) -> None:
    """Refuse a class keyword that is no whole number from `least`.

    Raises:
        ConfigurationError: It is not.
    """
    try:
        check_integer(keyword, getattr(cls, keyword), least=least)
    except InvalidInputError as error:
        raise ConfigurationError(f"{cls.__name__}: {error}") from None


def check_fields(cls: type[Struct], reserved: frozenset[str]) -> None:
    """Refuse a state class whose fields hide what the framework keeps under their names.

    Raises:
        ConfigurationError: They do.
    """
    if taken := reserved & set(cls.__struct_fields__):
        raise ConfigurationError(f"{cls.__name__}.{min(taken)} is the framework's; rename it")


def check_names(cls: type[Struct], namespace: dict[str, Any], reserved: frozenset[str]) -> None:
    """Refuse a state class that defines what is the framework's, or a field without its type.

    Raises:
        ConfigurationError: It does.
    """
    if taken := reserved & namespace.keys():
        raise ConfigurationError(f"{cls.__name__}.{min(taken)} is the framework's; rename it")
    if any(name.startswith("__annotate") for name in namespace):
        return  # Python 3.14 keeps the types in a function that may not be called yet
    typed = {*namespace.get("__annotations__", ()), *cls.__struct_fields__}
    for name in namespace.keys() - typed:
        if isinstance(namespace[name], _PLAIN) and not (name.startswith("_") or name.isupper()):
            raise ConfigurationError(
                f"{cls.__name__}.{name} has no type, and so is no field: write {name}: "
                f"{type(namespace[name]).__name__} = …, or NAME it like a constant"
            )


def check_defaults(cls: type[Struct]) -> None:
    """Refuse a state class with a field that has no default: a blank one could not be made.

    Raises:
        ConfigurationError: A field has no default.
    """
    if bare := [field.name for field in msgspec.structs.fields(cls) if field.required]:
        raise ConfigurationError(
            f"{cls.__name__}: give a default to {', '.join(bare)}, which is the state before the "
            "first event"
        )


A = TypeVar("A", bound="Aggregate")


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class Aggregate(_Booked, Struct, kw_only=True, metaclass=AggregateMeta):
    """A consistency boundary: typed state, commands and handlers. Subclass it.

        class Task(Aggregate, category="task"):
            status: str = "new"

            def complete(self, pages: int) -> None:
                if self.status != "created":
                    raise DomainError(f"task {self.id} is {self.status}, cannot complete")
                self.emit(TaskCompleted(pages=pages))

            @on(TaskCompleted)
            def _completed(self, event: TaskCompleted) -> None:
                self.status = "completed"

    Fields are the state and have defaults, which are the state before the first event; mutable
    defaults are fresh for each instance. A public method is a command: a plain `def` that checks,
    emits or raises a `DomainError`, and may return something. `@on` methods only assign. Neither
    reads a clock, draws a random number or does I/O: what a command needs, it is passed.

    Class keywords:
        category: The category of its streams. A class without one is abstract: it can be
            subclassed, and not executed on. A class with one cannot be subclassed.
        revision: Raise it when the meaning of the state changes in a way that fields and handlers
            do not show, as by a change in another package; older snapshots are then ignored.
        snapshot_every: A snapshot is taken when this many events came since the last one; 0 never.
    """

    category: ClassVar[str]
    """The category of its streams; empty for an abstract class."""
    revision: ClassVar[int]
    """Part of what a snapshot must agree with."""
    snapshot_every: ClassVar[int]
    """How many events after the last snapshot the next one is due; 0 for never."""
    handlers: ClassVar[dict[str, Handler]]
    """What evolves the state, by stored type."""

    @property
    def id(self) -> str:
        """The aggregate's id, without its category."""
        return self._book.id

    @property
    def version(self) -> int:
        """How many events the state has seen, emitted ones included; 0 before the first."""
        return self._book.version

    @property
    def snapshot_version(self) -> int:
        """The version of the snapshot it was loaded from, or that was taken since; 0 for none."""
        return self._book.snapshot_version

    @property
    def stream_id(self) -> str:
        """The stream that the aggregate's events lie in: `category-id`."""
        return f"{self.category}-{self._book.id}"

    def emit(self, event: Event) -> None:
        """Evolve the state by a new event, and keep the event for the append.

        Raises:
            EncodeError: The event would not come back equal; the state has not moved.
            InvalidInputError: Its own tags are not valid; likewise.
        """
        emitted = emitted_event(event)
        handler = self.handlers.get(event.event_type)
        if handler is not None:
            handler.method(self, emitted.event)
        self._book.emitted.append(emitted)
        self._book.version += 1

    @classmethod
    def blank(cls, id: str) -> Self:
        """Return an aggregate before its first event.

        Raises:
            ConfigurationError: The class is abstract.
            InvalidInputError: The id is empty, too long or no text.
        """
        if not cls.category:
            raise ConfigurationError(f"{cls.__name__} is abstract: give the class a category=")
        stream_id_of(cls.category, id)  # refuses an id that is not valid
        return start_book(cls(), id)


def book_of(aggregate: "Aggregate") -> Book:
    """Return what the framework knows of a live aggregate."""
    # The name is private, because `book` is a command in many a domain.
    return aggregate._book  # noqa: SLF001 - as said  # pyright: ignore[reportPrivateUsage]


def start_book(state: A, id: str) -> A:
    """Give a state its book, which makes it a live aggregate, and return it."""
    state._book = Book(id)  # noqa: SLF001 - as above  # pyright: ignore[reportPrivateUsage]
    return state


def evolve(aggregate: Aggregate, *events: RecordedEvent) -> None:
    """Evolve an aggregate by the next events of its stream.

    Raises:
        UnknownEventTypeError: This program does not know an event, and the class has no handler
            for `RawEvent`.
        DecodeError: An event's data does not fit its class.
        CorruptLogError: One is not the next one.
    """
    handlers, book = aggregate.handlers, book_of(aggregate)
    for recorded in events:
        version = book.version + 1
        if recorded.version != version:
            raise CorruptLogError(
                where=f"stream {recorded.stream_id!r}",
                position=recorded.position,
                reason=f"version {recorded.version} follows version {version - 1}",
            )
        handler = handlers.get(recorded.type)
        if handler is None:
            if not is_known(recorded.type, recorded.schema_version):
                _meet_unknown(aggregate, recorded)
        elif type(event := decode(recorded)) is RawEvent:
            _meet_unknown(aggregate, recorded)
        else:
            handler.method(aggregate, event)
        book.version = version


def _meet_unknown(aggregate: Aggregate, recorded: RecordedEvent) -> None:
    meet_unknown(aggregate, aggregate.handlers, recorded)
    book_of(aggregate).has_met_unknown = True
