"""A message on its way to an actor, and whoever waits for what becomes of it."""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, Protocol

import anyio

Method = Callable[..., Awaitable[Any]]
"""A method of an actor class, or a function that takes the actor first."""


class Place(Enum):
    """Where an envelope is."""

    OUTSIDE = "outside"
    LINE = "line"
    """Its sender waits for room in the mailbox."""
    MAILBOX = "mailbox"
    BEGUN = "begun"
    DONE = "done"
    WITHDRAWN = "withdrawn"


class Receiver(Protocol):
    """What an envelope knows of the actor that it goes to."""

    @property
    def parent(self) -> "Receiver | None":
        """The actor that spawned it."""
        ...

    @property
    def turn(self) -> "Envelope | None":
        """What it is handling."""
        ...


class Envelope:
    """A message that nobody waits for; at most for its being in the mailbox."""

    __slots__ = (
        *("args", "error", "kwargs", "method", "place"),
        *("receiver", "sender", "settled"),
    )

    def __init__(
        self,
        receiver: Receiver,
        sender: "Envelope | None",
        method: Method,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Address a message.

        Args:
            receiver: Whom it goes to.
            sender: The envelope that is being handled where this one is sent; None outside actors.
            method: What is to be called.
            args: The arguments behind the actor.
            kwargs: Likewise.
        """
        self.receiver = receiver
        self.sender = sender
        self.method = method
        self.args = args
        self.kwargs: Mapping[str, Any] = {} if kwargs is None else kwargs
        self.place = Place.OUTSIDE
        self.error: Exception | None = None
        self.settled: anyio.Event | None = None
        """Set when there is nothing more to wait for; None where nobody waits."""

    @property
    def label(self) -> str:
        """The method's name, for messages and log entries."""
        return str(getattr(self.method, "__qualname__", None) or repr(self.method))

    @property
    def is_question(self) -> bool:
        """Whether somebody waits for an answer."""
        return False

    def call(self, actor: object) -> Awaitable[Any]:
        """Call the method on an actor; where a subclass has its own, that one."""
        return _own(type(actor), self.method)(actor, *self.args, **self.kwargs)

    def admit(self) -> None:
        """Say that it is in the mailbox."""
        self.place = Place.MAILBOX
        if self.settled is not None:
            self.settled.set()

    def refuse(self, error: Exception) -> None:
        """Say that it will not be handled."""
        self.place = Place.WITHDRAWN
        self._finish(error)

    def answer(self, value: object) -> None:  # noqa: ARG002 - nobody waits for it
        """Say that it was handled."""
        self.place = Place.DONE
        self.sender = None

    def fail(self, error: Exception) -> bool:
        """Say that it was handled and raised; return whether anybody is told."""
        self.place = Place.DONE
        self._finish(error)
        return False

    def leave(self) -> None:
        """Note that the one who waited has gone."""
        # The chain of those who wait for each other ends here; a circle is none any more.
        self.sender = None

    def _finish(self, error: Exception) -> None:
        self.error = error
        # What it was sent for would otherwise be kept by what was sent for it, and so on.
        self.sender = None
        if self.settled is not None:
            self.settled.set()


class Question(Envelope):
    """A message whose sender waits for the answer."""

    __slots__ = ("answered", "is_awaited", "value")

    def __init__(
        self,
        receiver: Receiver,
        sender: Envelope | None,
        method: Method,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Address a question; as `Envelope`."""
        super().__init__(receiver, sender, method, args, kwargs)
        self.settled = self.answered = anyio.Event()
        self.is_awaited = True
        self.value: Any = None

    @property
    def is_question(self) -> bool:
        """Whether somebody waits for an answer."""
        return True

    def admit(self) -> None:
        """Say that it is in the mailbox, which tells the asker nothing yet."""
        self.place = Place.MAILBOX

    def answer(self, value: object) -> None:
        """Give the answer."""
        self.place = Place.DONE
        self.value = value
        self.sender = None
        self.answered.set()

    def fail(self, error: Exception) -> bool:
        """Give the error as the answer; return whether anybody is told."""
        super().fail(error)
        return self.is_awaited

    def leave(self) -> None:
        """Note that the asker has gone."""
        super().leave()
        self.is_awaited = False


def closes_a_circle(receiver: Receiver, sender: Envelope | None) -> bool:
    """Return whether whoever sends would wait for what waits for it.

    Each question that is being handled names what it was asked from; so one goes back from the
    sender to the first who did not ask. If the receiver is among them, and still at it, it cannot
    begin anything before the sender has its answer.
    """
    turn = sender
    while turn is not None:
        if turn.receiver is receiver and receiver.turn is turn:
            return True
        turn = turn.sender if turn.is_question else None
    return False


def is_from_below(receiver: Receiver, sender: Envelope | None) -> bool:
    """Return whether the sender is a child of the receiver, or a child's child, and so on."""
    above = None if sender is None else sender.receiver.parent
    while above is not None:
        if above is receiver:
            return True
        above = above.parent
    return False


def _own(cls: type, method: Method) -> Method:
    """Return what a class has for a method that may have been named on a class above it."""
    name = getattr(method, "__name__", "")
    own: Method = getattr(cls, name, method)
    if own is method or not any(vars(above).get(name) is method for above in cls.__mro__):
        return method
    return own
