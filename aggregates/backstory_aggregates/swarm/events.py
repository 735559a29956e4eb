"""What happens to swarms: the published language of `swarm-…` streams, and their members' ids.

Every event has `details` for whatever else was recorded, and one time: when it happened, as far as
anybody said so. When the store accepted it is `recorded_at`, and not the same.

A swarm's id is its own name. Agents, tasks and memories that belong to a swarm have an id that is
unique only inside it, so their aggregate's id is `<swarm>/<id>`, with `/` and `%` percent-escaped
in both parts: the first slash is always the one between them.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import Meta

from backstory import Event

Moment = Annotated[datetime, Meta(tz=True)]
"""A time with a zone; one without would mean something else on every machine."""


class SwarmInitialized(Event, type="swarm:initialized"):
    """A swarm came into being."""

    topology: str | None = None
    """How its agents are connected."""
    max_agents: int | None = None
    """How many agents it may have."""
    config: dict[str, Any] | None = None
    """Its settings, as JSON values."""
    initialized_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class SwarmScaled(Event, type="swarm:scaled"):
    """A swarm was made larger or smaller."""

    previous_agent_count: int | None = None
    """How many agents it had."""
    new_agent_count: int | None = None
    """How many agents it has now."""
    reason: str | None = None
    """Why."""
    scaled_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class SwarmTerminated(Event, type="swarm:terminated"):
    """A swarm has ended."""

    reason: str | None = None
    """Why."""
    metrics: dict[str, Any] | None = None
    """Its figures at the end, as JSON values."""
    terminated_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class SwarmPhaseChanged(Event, type="swarm:phase-changed"):
    """A swarm went on to another phase of its work."""

    previous_phase: str | None = None
    """The phase before."""
    new_phase: str | None = None
    """The phase now."""
    changed_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class SwarmMilestoneReached(Event, type="swarm:milestone-reached"):
    """A swarm has got somewhere."""

    milestone_id: str | None = None
    """Which milestone."""
    name: str | None = None
    """What it is called."""
    reached_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class SwarmErrorOccurred(Event, type="swarm:error"):
    """Something went wrong in a swarm, which goes on."""

    error: str | None = None
    """What went wrong."""
    stack: str | None = None
    """Where in the program."""
    context: dict[str, Any] | None = None
    """Under which circumstances, as JSON values."""
    occurred_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


# NUL is escaped too, because no id may hold it.
_ESCAPES: Final = {"%": "%25", "/": "%2F", "\0": "%00"}
_UNESCAPED: Final = re.compile("[%/\0]")
_ESCAPED: Final = re.compile("%(?:25|2F|00)")
_UNESCAPES: Final = {escape: character for character, escape in _ESCAPES.items()}


def member_id(swarm: str, id: str) -> str:
    """Return the aggregate id of a member of a swarm: `<swarm>/<id>`, both parts escaped.

    Different swarms and ids give different aggregate ids, whatever they hold.

    Args:
        swarm: The swarm's name.
        id: The id that the agent, task or memory has inside the swarm.
    """
    return f"{_escape(swarm)}/{_escape(id)}"


def split_member_id(aggregate_id: str) -> tuple[str | None, str]:
    """Return the swarm and the id inside it that `member_id` made an aggregate id of.

    An id without a slash belongs to no swarm: it is returned as it is, beside None.
    """
    swarm, slash, id = aggregate_id.partition("/")
    if not slash:
        return None, aggregate_id
    return _unescape(swarm), _unescape(id)


def swarm_id(swarm: str) -> str:
    """Return the aggregate id of a swarm: its own name, in which only NUL must be escaped."""
    return swarm.replace("\0", "%00")


def _escape(text: str) -> str:
    return _UNESCAPED.sub(lambda match: _ESCAPES[match[0]], text)


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda match: _UNESCAPES[match[0]], text) if "%" in text else text
