"""What an actor is doing, and what can follow: one table, and no other place changes a state.

    new ──▶ idle ◀──▶ running ◀──▶ backing off
     └───────┴───────────┴──────────────┴──▶ stopping ──▶ stopped

Idle is what thousands of actors are most of the time: they have no task. A message makes an idle
actor running, with a task of its own, and an empty mailbox makes it idle again. Between the look
into the mailbox and the step to idle nothing is awaited, and a message is put and its actor woken
in one go: so no message lies in the mailbox of an idle actor.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final


class ActorState(Enum):
    """What an actor is doing."""

    NEW = "new"
    """Spawned; its hook `started` has not begun."""
    IDLE = "idle"
    """Waiting for a message, without a task."""
    RUNNING = "running"
    """Handling messages."""
    BACKING_OFF = "backing off"
    """Failed, and waiting to be restarted; its mailbox waits with it."""
    STOPPING = "stopping"
    """Taking nothing more; handling what it has, where nothing went wrong."""
    STOPPED = "stopped"
    """Gone for good."""


class Trigger(Enum):
    """What happens to an actor."""

    WOKEN = "woken"
    """Something is to be done, and its task begins."""
    SETTLED = "settled"
    """Nothing is left to be done."""
    FAILED = "failed"
    """It is to be restarted."""
    RESTARTED = "restarted"
    """The pause is over."""
    STOPPED = "told to stop"
    """Somebody stops it, or its supervision does."""
    ENDED = "ended"
    """The last of it is done."""


TRANSITIONS: Final[Mapping[tuple[ActorState, Trigger], ActorState]] = MappingProxyType(
    {
        (ActorState.NEW, Trigger.WOKEN): ActorState.RUNNING,
        (ActorState.NEW, Trigger.SETTLED): ActorState.IDLE,
        (ActorState.NEW, Trigger.STOPPED): ActorState.STOPPING,
        (ActorState.IDLE, Trigger.WOKEN): ActorState.RUNNING,
        (ActorState.IDLE, Trigger.STOPPED): ActorState.STOPPING,
        (ActorState.RUNNING, Trigger.SETTLED): ActorState.IDLE,
        (ActorState.RUNNING, Trigger.FAILED): ActorState.BACKING_OFF,
        (ActorState.RUNNING, Trigger.STOPPED): ActorState.STOPPING,
        (ActorState.BACKING_OFF, Trigger.RESTARTED): ActorState.RUNNING,
        (ActorState.BACKING_OFF, Trigger.STOPPED): ActorState.STOPPING,
        (ActorState.STOPPING, Trigger.ENDED): ActorState.STOPPED,
    }
)
"""What follows from a state when something happens; what is not here never happens there."""


def follow(state: ActorState, trigger: Trigger) -> ActorState:
    """Return the state that follows.

    Raises:
        AssertionError: Nothing follows: a mistake of this package.
    """
    following = TRANSITIONS.get((state, trigger))
    if following is None:
        raise AssertionError(f"an actor that is {state.value} was {trigger.value}")
    return following
