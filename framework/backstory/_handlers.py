"""`@on`: the one way to say what a class does with an event.

Aggregates and projections share it. A handler is a plain method that takes the event and, if it
wants, the recorded event around it. Handlers are found by the stored type, aliases included, so
that an event nobody asks for is never decoded.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast, overload

from backstory._codec import decode
from backstory._errors import ConfigurationError, UnknownEventTypeError
from backstory._events import Event, RawEvent, names_of
from backstory._recorded import RecordedEvent

S = TypeVar("S")
E1 = TypeVar("E1", bound=Event)
E2 = TypeVar("E2", bound=Event)
E3 = TypeVar("E3", bound=Event)
EventT = TypeVar("EventT", bound=Event)


class Handler(NamedTuple):
    """What a class does with an event. A tuple, because it is taken apart for every event."""

    method: Callable[..., None]
    takes_recorded: bool
    """Whether it takes the recorded event behind the event; an aggregate's never does."""


UNKNOWN: Final = ""
"""Where the handler of `RawEvent` is found among the handlers: no event has this type."""

_TAKES_EVENT: Final = 2
_TAKES_RECORDED: Final = 3


class Marker(Protocol[EventT]):
    """What `on(...)` returns: marks a method that takes the event, or the event and its record."""

    @overload
    def __call__(self, method: Callable[[S, EventT], None], /) -> Callable[[S, EventT], None]: ...
    @overload
    def __call__(
        self, method: Callable[[S, EventT, RecordedEvent], None], /
    ) -> Callable[[S, EventT, RecordedEvent], None]: ...


# Overloads, because mypy joins several type[E] arguments to Event where pyright makes a union.
@overload
def on(one: type[E1], /) -> Marker[E1]: ...
@overload
def on(one: type[E1], two: type[E2], /) -> Marker[E1 | E2]: ...
@overload
def on(one: type[E1], two: type[E2], three: type[E3], /) -> Marker[E1 | E2 | E3]: ...
@overload
def on(*types: type[Event]) -> Marker[Any]: ...
def on(*types: type[Event]) -> Marker[Any]:
    """Mark a method as the handler of one or more event classes.

        @on(TaskCreated)
        def _created(self, event: TaskCreated) -> None:
            self.title = event.title

    The method is a plain `def`, takes `(self, event)` or, in a projection, also the
    `RecordedEvent`, and only assigns. Each event class has one handler in a class.

    `@on(RawEvent)` is what a class does with events that this program does not know. For an
    aggregate these are all such events of its stream; for a projection, those of the types that it
    handles, in a newer schema version than its class. Without it, they are refused.

    Raises:
        ConfigurationError: An argument is no event class with a type, or the method has another
            shape.
    """
    for cls in types:
        given: Any = cls
        if not (isinstance(given, type) and issubclass(given, Event)):
            raise ConfigurationError(f"@on({cls!r}): name event classes")
        if not cls.event_type and cls is not RawEvent:
            raise ConfigurationError(f"@on({cls.__name__}): the class is abstract, it has no type=")
    if not types:
        raise ConfigurationError("@on(): name at least one event class")

    def mark(method: Any) -> Any:
        parameters = _parameter_count(method)
        if parameters not in (_TAKES_EVENT, _TAKES_RECORDED) or not is_plain(method):
            raise ConfigurationError(
                f"{method.__qualname__}: a handler is def (self, event) or (self, event, recorded)"
            )
        method.on_types, method.takes_recorded = types, parameters == _TAKES_RECORDED
        return method

    return cast("Marker[Any]", mark)


def _parameter_count(method: Any) -> int:
    """Return how many parameters a method takes by place; 0 where it wants others too."""
    parameters = inspect.signature(method).parameters.values()
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(parameter.kind not in by_place for parameter in parameters):
        return 0
    return len(parameters)


def is_plain(function: Any) -> bool:
    """Tell whether a function runs when it is called: no coroutine and no generator."""
    return not (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    )


def collect_handlers(cls: type) -> dict[str, Handler]:
    """Return the handlers of a class by stored type: its own before those of its bases.

    Raises:
        ConfigurationError: Two methods of one class handle one event class.
    """
    handlers: dict[str, Handler] = {}
    for base in reversed(cls.__mro__):
        handlers |= _own_handlers(base)
    return handlers


def _own_handlers(cls: type) -> dict[str, Handler]:
    own: dict[str, Handler] = {}
    for member in vars(cls).values():
        for event_class in getattr(member, "on_types", ()):
            for event_type in names_of(event_class):
                if event_type in own:
                    raise ConfigurationError(
                        f"{cls.__name__}: {event_type!r} has two handlers; keep one"
                    )
                own[event_type] = Handler(member, member.takes_recorded)
    return own


def fold_event(state: Any, handlers: Mapping[str, Handler], recorded: RecordedEvent) -> None:
    """Hand a recorded event to its handler; where there is none, nothing changes.

    Raises:
        DecodeError: The event's data does not fit its class.
        UnknownEventTypeError: It is stored in a newer schema version than this program knows, and
            there is no handler for `RawEvent`.
        Exception: Whatever the handler raises.
    """
    handler = handlers.get(recorded.type)
    if handler is None:
        return
    method, takes_recorded = handler
    # Kept with the recorded event only where the handler gets that, and may ask for it again.
    event = recorded.data if takes_recorded else decode(recorded)
    if type(event) is RawEvent:
        # A newer schema version of a type that was asked for: what it says would be a guess.
        meet_unknown(state, handlers, recorded)
    elif takes_recorded:
        method(state, event, recorded)
    else:
        method(state, event)


def meet_unknown(state: Any, handlers: Mapping[str, Handler], recorded: RecordedEvent) -> None:
    """Hand an event that this program does not know to the handler of `RawEvent`.

    Raises:
        UnknownEventTypeError: There is no such handler: what the event means to the state would be
            a guess.
    """
    handler = handlers.get(UNKNOWN)
    if handler is None:
        raise UnknownEventTypeError(
            event_type=recorded.type, stream_id=recorded.stream_id, version=recorded.version
        )
    if handler.takes_recorded:
        handler.method(state, recorded.data, recorded)
    else:
        handler.method(state, recorded.data)
