"""Given events, when a command, then events: an aggregate's behaviour as data.

No store takes part, and yet everything goes the way it would go with one: given events are encoded
and decoded before they are folded, and the command runs on a live aggregate.

After the command its state is compared with the state that is folded from the events alone. Where
they differ, the command has assigned a field itself. Such a field is right until the aggregate is
loaded again, and then it is gone; so the specification fails, whatever it goes on to ask. A command
that refuses is another matter: its aggregate is dropped, and what it did to it with it.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

from msgspec import Struct

from backstory._aggregate import Aggregate, book_of, evolve
from backstory._errors import DomainError, InvalidInputError
from backstory._events import Event
from backstory._recorded import NewEvent
from backstory.testing._difference import differing_fields, event_difference, listing
from backstory.testing._events import new_event, recorded_event

A = TypeVar("A", bound=Aggregate)
S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")

_NOT_RETURNED: Final[Any] = object()


class AggregateSpec(Generic[A]):
    """The start of a specification: an aggregate class, and what has happened to it.

        spec = AggregateSpec(Task).given(TaskCreated(title="a"))

        completed = spec.when(Task.complete, pages=3)
        completed.then(TaskCompleted(pages=3)).then_state(status="completed")
        spec.when(Task.create, title="b").then_raises(DomainError, match="already exists")

    Nothing here changes: each step returns something new, so that one beginning can be shared.
    """

    def __init__(self, aggregate: type[A], *, id: str = "1") -> None:
        """Begin with an aggregate to which nothing has happened.

        Args:
            aggregate: Its class.
            id: Its id, without the category.

        Raises:
            ConfigurationError: The class is abstract.
            InvalidInputError: The id is empty, too long or no text.
        """
        self._class = aggregate
        aggregate.blank(id)  # refuses what is none
        self._id = id
        self._given: tuple[NewEvent, ...] = ()

    def given(self, *events: Event | NewEvent) -> "AggregateSpec[A]":
        """Return the specification with more that has happened, behind what was given before.

        Args:
            events: Facts of the aggregate's stream, in their order; a `NewEvent` where the JSON
                matters, as that of an older schema version (`NewEvent.raw`).

        Raises:
            EncodeError: An event would not come back equal from a store.
        """
        spec = AggregateSpec(self._class, id=self._id)
        spec._given = (*self._given, *map(_as_new, events))
        return spec

    def when(
        self, command: Callable[Concatenate[A, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> "Outcome[A, R]":
        """Run a command, and return what came of it.

        Args:
            command: A method of the class, as `Task.complete`.
            args: The command's own arguments.
            kwargs: Likewise.

        Raises:
            AssertionError: The command changed the state without an event.
            BackstoryError: The given events cannot be folded, as a store's could not.
            InvalidInputError: `command` belongs to another class.
        """
        if getattr(command, "aggregate", None) is not self._class:
            found = getattr(command, "__qualname__", repr(command))
            reason = f"must be a command of {self._class.__name__}"
            raise InvalidInputError(argument="command", found=found, reason=reason)
        name = f"{self._class.__name__}.{getattr(command, '__name__', command)}"
        aggregate = self._fold(())
        try:
            returned = command(aggregate, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - what was raised is what the test may be about
            return Outcome(name, self._fold(()), (), _NOT_RETURNED, error)
        events = tuple(emitted.event for emitted in book_of(aggregate).emitted)
        folded = self._fold(events)
        _check_state(name, aggregate, folded)
        return Outcome(name, folded, events, returned, None)

    def _fold(self, emitted: Sequence[Event]) -> A:
        """Return the aggregate as a repository would load it, behind these events too."""
        aggregate = self._class.blank(self._id)
        for place, event in enumerate((*self._given, *map(_as_new, emitted)), 1):
            evolve(
                aggregate,
                recorded_event(event, stream_id=aggregate.stream_id, version=place, position=place),
            )
        return aggregate


def _as_new(event: Event | NewEvent) -> NewEvent:
    return event if isinstance(event, NewEvent) else new_event(event)


def _check_state(command: str, live: Aggregate, folded: Aggregate) -> None:
    if changed := differing_fields(live, folded):
        fields = "\n".join(
            f"  {name}: {getattr(live, name)!r} after the command, "
            f"{getattr(folded, name)!r} when it is folded from the events"
            for name in changed
        )
        raise AssertionError(
            f"{command} changed the state without an event; emit one, and assign in its @on "
            f"method, or the change is gone after the next load:\n{fields}"
        )


class Outcome(Struct, Generic[S, R], frozen=True):
    """What came of a command or a decision; each `then` asks one thing."""

    command: str
    """The command's name, for messages."""
    state: S
    """The aggregate as it would be loaded now: after a refusal, as it was before. Of a decision,
    what it has folded."""
    events: tuple[Event, ...]
    """What the command emitted; nothing after a refusal."""
    returned: R
    """What the command returned."""
    error: Exception | None
    """What the command raised, if it did."""
    streams: tuple[str, ...] = ()
    """Of a decision, the stream that each event goes into."""

    def then(self, *events: Event) -> Self:
        """Ask for these events and no others, in this order.

        Raises:
            AssertionError: The command emitted others, or raised.
        """
        self._check_success(f"expected\n{listing(events)}" if events else "expected no event")
        if self.events != events:
            raise AssertionError(
                f"{self.command} emitted other events (- expected, + found):\n"
                f"{event_difference(events, self.events)}"
            )
        return self

    def then_into(self, *streams: str) -> Self:
        """Ask for the streams that a decision's events go into, one for each event, in order.

        Raises:
            AssertionError: They go into others, or it raised.
        """
        self._check_success(f"expected events in {', '.join(streams) or 'no stream'}")
        if self.streams != streams:
            raise AssertionError(
                f"{self.command} emitted into {self.streams!r}, expected {streams!r}"
            )
        return self

    def then_nothing(self) -> Self:
        """Ask for a command that emits nothing, and raises nothing.

        Raises:
            AssertionError: It did.
        """
        return self.then()

    def then_returns(self, value: object) -> Self:
        """Ask for what the command returns.

        Raises:
            AssertionError: It returned something else, or raised.
        """
        self._check_success(f"expected it to return {value!r}")
        if self.returned != value:
            raise AssertionError(f"{self.command} returned {self.returned!r}, expected {value!r}")
        return self

    def then_raises(self, error: type[Exception] = DomainError, *, match: str = "") -> Self:
        """Ask for a command that refuses.

        Args:
            error: The class of what it raises.
            match: A regular expression that is found in the message.

        Raises:
            AssertionError: It did not raise, or something else.
        """
        if problem := self._unlike(error, match):
            raise AssertionError(
                f"{self.command} was to raise {error.__name__}, and {problem}"
            ) from self.error
        return self

    def _unlike(self, error: type[Exception], match: str) -> str:
        """Say what happened instead of a refusal; nothing where it is the one asked for."""
        if self.error is None:
            return f"emitted\n{listing(self.events)}" if self.events else "emitted nothing"
        if not isinstance(self.error, error):
            return f"raised {_said(self.error)}"
        if not re.search(match, str(self.error)):
            return f"said {str(self.error)!r}, which does not match {match!r}"
        return ""

    def then_state(self, **fields: object) -> Self:
        """Ask for fields of the state, as the next load would have them.

        Args:
            fields: Fields by their names, or attributes such as `version`; others may be anything.

        Raises:
            AssertionError: One has another value, or there is none of this name.
        """
        if self.error is not None and not isinstance(self.error, DomainError):
            self._check_success("expected a state")
        check_fields(f"after {self.command}", self.state, fields)
        return self

    def _check_success(self, wanted: str) -> None:
        if self.error is not None:
            raise AssertionError(
                f"{self.command} raised {_said(self.error)}; {wanted}"
            ) from self.error


def check_fields(when: str, state: object, fields: dict[str, object]) -> None:
    """Compare fields of a state with what is expected of them.

    Raises:
        AssertionError: One has another value, or there is none of this name.
    """
    cls = type(state).__name__
    if missing := [name for name in fields if not hasattr(state, name)]:
        raise AssertionError(f"{cls} has no {missing[0]!r}")
    wrong = [
        f"  {name}: expected {value!r}, found {found!r}"
        for name, value in fields.items()
        if (found := getattr(state, name)) != value
    ]
    if wrong:
        lines = "\n".join(wrong)
        raise AssertionError(f"{cls} is not as expected {when}:\n{lines}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
