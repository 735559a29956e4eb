"""Death watch: an actor that is told when another one has stopped for good."""

from collections.abc import Callable

from msgspec import Struct

from backstory.actors._envelope import Method


class Termination(Struct, frozen=True):
    """An actor has stopped for good."""

    name: str
    """Its name, which is free again."""
    error: Exception | None
    """Why, where its supervision or a cancellation stopped it; None where it was told to stop."""


class Watch:
    """One actor's watch over another."""

    __slots__ = ("_tell", "method")

    def __init__(self, tell: Callable[["Watch", Termination], None], method: Method) -> None:
        """Make a watch; `tell` has the watcher sent `method`."""
        self._tell = tell
        self.method = method

    def end(self, termination: Termination) -> None:
        """Say that the one who is watched has stopped."""
        self._tell(self, termination)
