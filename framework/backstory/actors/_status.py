"""How an actor is, for people and dashboards."""

from msgspec import Struct

from backstory.actors._state import ActorState


class ActorStatus(Struct, frozen=True, kw_only=True):
    """How a living actor is at one moment."""

    name: str
    """Its name."""
    parent: str | None
    """The name of the actor that spawned it; None for one that the system spawned."""
    state: ActorState
    """What it is doing."""
    mailbox_depth: int
    """Messages that wait in its mailbox, the one that is being handled not counted."""
    restart_count: int
    """How often it was restarted."""
    handled_count: int
    """Messages that it has handled without an error."""
    failure_count: int
    """Errors that its supervision has judged."""
    refused_count: int
    """Messages and ticks that found its mailbox full, and did not wait for room."""
    idle_seconds: float
    """How long it has been idle; 0 when it is not."""
    last_error: str | None
    """The last of those errors, as text; None when there was none."""
