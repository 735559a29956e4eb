"""Who does something, and because of what: the facts that flow from event to command to event.

They flow in two ways. `using(...)` hands them to one command; the same object as a context manager
hands them to every command inside the block, and in the child tasks that are started there.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from backstory._events import Metadata
from backstory._recorded import RecordedEvent


class Context(Struct, frozen=True, kw_only=True):
    """What the events of a command will say about where they come from."""

    correlation_id: str | None = None
    """Shared by everything that one request set in motion; the command's own id when None."""
    causation_id: str | None = None
    """What directly caused the command; the command's own id when None."""
    actor: str | None = None
    """Who."""
    tags: tuple[str, ...] = ()
    """Words to find the events by."""
    free: dict[str, Any] = {}
    """The program's own keys."""
    outer: "Context | None" = None
    """The context of the block around this one's block."""

    def narrowed(
        self,
        *,
        actor: str | None,
        correlation_id: str | None,
        caused_by: RecordedEvent | None,
        tags: Sequence[str],
        free: Mapping[str, Any],
    ) -> "Context":
        """Return this context with more said: what is given wins, tags and free keys are added."""
        context = self if caused_by is None else self._caused_by(caused_by)
        return replace(
            context,
            actor=context.actor if actor is None else actor,
            correlation_id=context.correlation_id if correlation_id is None else correlation_id,
            tags=tuple(dict.fromkeys((*context.tags, *tags))),
            free={**context.free, **free},
        )

    def _caused_by(self, event: RecordedEvent) -> "Context":
        correlation_id = event.metadata.correlation_id or event.event_id
        return replace(self, correlation_id=correlation_id, causation_id=event.event_id)

    def metadata(self, command_id: str) -> Metadata:
        """Return the metadata of the events of one command."""
        return Metadata(
            correlation_id=command_id if self.correlation_id is None else self.correlation_id,
            causation_id=command_id if self.causation_id is None else self.causation_id,
            actor=self.actor,
            tags=self.tags,
            free=self.free,
        )


_AMBIENT: Final[ContextVar[Context]] = ContextVar("backstory_context", default=Context())  # noqa: B039 - a Context is frozen


def ambient() -> Context:
    """Return the context of the block that is running."""
    return _AMBIENT.get()


def enter(context: Context) -> None:
    """Begin a block in a context."""
    _AMBIENT.set(replace(context, outer=_AMBIENT.get()))


def leave() -> None:
    """End the block that is running; the one around it goes on."""
    # Each block remembers the one around it, and not a token: so one context can be entered twice,
    # and by several tasks at a time, which each have blocks of their own.
    _AMBIENT.set(_AMBIENT.get().outer or Context())
