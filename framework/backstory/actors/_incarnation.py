"""What a cell knows of the instance in it: its two hooks, and whether they do anything."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

H = TypeVar("H", bound=Callable[..., Awaitable[None]])

_EMPTY: Final[set[Any]] = set()


class Incarnation(Protocol):
    """One life of an actor: from its making to a restart or to the end."""

    async def started(self) -> None:
        """Prepare for messages."""
        ...

    async def stopped(self, error: Exception | None) -> None:
        """Clean up behind them."""
        ...


def empty(hook: H) -> H:
    """Mark a hook that does nothing, for which no task need be begun."""
    _EMPTY.add(hook)
    return hook


def starts(incarnation: Incarnation) -> bool:
    """Return whether its hook `started` does anything."""
    return type(incarnation).started not in _EMPTY


def stops(incarnation: Incarnation) -> bool:
    """Return whether its hook `stopped` does anything."""
    return type(incarnation).stopped not in _EMPTY
