"""Actors: private state behind a mailbox, supervision, timers, and an end in good order.

They know nothing of events and stores, and can be used without them. The names stand in the order
in which one meets them.
"""

# ruff: noqa: I001, RUF022 - the imports and __all__ are a table of contents, in teaching order

# Actors, and the system that they live in
from backstory.actors._actor import Actor, ActorContext, Overflow
from backstory.actors._ref import ActorRef
from backstory.actors._system import ActorSystem

# What becomes of a failure
from backstory.actors._supervisor import Directive, SupervisionPolicy
from backstory.actors._watch import Termination

# Time
from backstory.actors._timer import Timer

# What there is to see
from backstory.actors._state import ActorState
from backstory.actors._status import ActorStatus
from backstory.actors._dead_letters import DeadLetter, DeadLetters, Message

# What goes wrong
from backstory._errors import (
    ActorError,
    ActorStoppedError,
    ActorSystemFailedError,
    AskTimeoutError,
    MailboxFullError,
)

__all__ = [
    # Actors, and the system that they live in
    "Actor",
    "ActorSystem",
    "ActorRef",
    "ActorContext",
    "Overflow",
    # What becomes of a failure
    "SupervisionPolicy",
    "Directive",
    "Termination",
    # Time
    "Timer",
    # What there is to see
    "ActorStatus",
    "ActorState",
    "DeadLetters",
    "DeadLetter",
    "Message",
    # What goes wrong
    "ActorError",
    "ActorStoppedError",
    "MailboxFullError",
    "AskTimeoutError",
    "ActorSystemFailedError",
]
