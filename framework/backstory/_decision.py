"""Decisions over several streams: what to look at, what it means, and what follows.

An aggregate decides on one stream. Some rules reach further: a seat is sold once, whoever buys it.
A decision reads the events that a filter means, wherever they lie, folds them as a projection does,
and emits events into whatever streams they belong to. They are appended in one commit, on condition
that no further event matches the filter; else the decision is made again on what has come.

A decision that is run is a copy of the one that was given, fresh for each attempt, so that no
attempt sees what another has folded.
"""

from copy import deepcopy
from typing import Any, ClassVar, Final, Protocol, Self, TypeVar, dataclass_transform

import msgspec
from msgspec import Struct, StructMeta

from backstory._aggregate import EmittedEvent, check_fields, check_names, emitted_event
from backstory._errors import ConfigurationError
from backstory._events import Event
from backstory._filter import EventFilter
from backstory._handlers import Handler, collect_handlers, is_plain
from backstory._ids import check_stream_id

R_co = TypeVar("R_co", covariant=True)

_RESERVED: Final = frozenset({"emitted", "emit", "query", "decide", "fresh", "handlers"})


class _Emitting:
    """One slot beside the struct's fields: not compared, copied or pickled."""

    __slots__ = ("emitted",)
    emitted: list[tuple[str, EmittedEvent]]


class DecisionMeta(StructMeta):
    """Makes decision classes: collects handlers, and refuses what cannot work."""

    def __new__(
        mcls: type[Any],
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        /,
        *,
        kw_only: bool = True,
    ) -> Any:
        """Make the class.

        Raises:
            ConfigurationError: `query` or `decide` is missing or a coroutine, two handlers take one
                event class, or a field has a name of the framework's.
        """
        cls = StructMeta.__new__(mcls, name, bases, namespace, kw_only=kw_only)
        cls.handlers = collect_handlers(cls)
        check_fields(cls, _RESERVED)
        if any(isinstance(base, DecisionMeta) for base in bases):
            check_names(cls, namespace, _RESERVED - {"query", "decide"})
            _check_methods(cls)
        return cls


def _check_methods(cls: Any) -> None:
    for name in ("query", "decide"):
        method = getattr(cls, name)
        if method is getattr(Decision, name):
            raise ConfigurationError(f"decision {cls.__name__}: define {name}(self)")
        if not is_plain(method):
            raise ConfigurationError(
                f"decision {cls.__name__}: {name} is a plain def; do I/O before or after decide"
            )


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class Decision(_Emitting, Struct, kw_only=True, metaclass=DecisionMeta):
    """A decision on events of several streams. Subclass it.

        class BookSeat(Decision):
            seat: str
            buyer: str
            is_taken: bool = False

            def query(self) -> EventFilter:
                return where(types=[SeatBooked, SeatReleased], tags=[f"seat:{self.seat}"])

            @on(SeatBooked)
            def _booked(self, event: SeatBooked) -> None:
                self.is_taken = True

            @on(SeatReleased)
            def _released(self, event: SeatReleased) -> None:
                self.is_taken = False

            def decide(self) -> None:
                if self.is_taken:
                    raise SeatTakenError(f"seat {self.seat} is taken")
                event = SeatBooked(seat=self.seat, buyer=self.buyer)
                self.emit(event, stream_id=stream_id_of("buyer", self.buyer))

        await story.decide(BookSeat(seat="12A", buyer="ada"))

    Fields are what it is about, and what it knows; those of the second kind have defaults. `@on`
    methods only assign, and may take the `RecordedEvent` too. No method reads a clock, draws a
    random number or does I/O, since a decision may be made several times before it holds.
    """

    handlers: ClassVar[dict[str, Handler]]
    """What folds an event in, by stored type."""

    def query(self) -> EventFilter:
        """Return which events it is made on; define it.

        The narrower it is, the fewer others get into its way. It looks at what was given, not at
        what was folded. Tags find the events of a subject in all streams; see `Event.event_tags`.
        """
        raise NotImplementedError

    def decide(self) -> Any:
        """Emit, or raise a `DomainError`, and perhaps return something; define it."""
        raise NotImplementedError

    def emit(self, event: Event, *, stream_id: str) -> None:
        """Keep a new event for the append; the state does not evolve by it.

        Raises:
            EncodeError: The event would not come back equal.
            InvalidInputError: The stream id is not valid.
        """
        check_stream_id(stream_id)
        self.emitted.append((stream_id, emitted_event(event)))

    def fresh(self) -> Self:
        """Return a copy that shares nothing, and has emitted nothing."""
        copy = deepcopy(self)
        copy.emitted = []
        return copy


class Decides(Protocol[R_co]):
    """A decision, for a type checker that asks what its `decide` returns."""

    emitted: list[tuple[str, EmittedEvent]]

    def query(self) -> EventFilter:
        """Return which events it is made on."""
        ...

    def decide(self) -> R_co:
        """Emit, or refuse, and return something."""
        ...
