"""What happens to agents: the published language of `agent-…` streams.

Every event has `details` for whatever else was recorded, and one time: when it happened, as far as
anybody said so. When the store accepted it is `recorded_at`, and not the same. Fields that name
other aggregates hold their full ids.
"""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from backstory import Event

Moment = Annotated[datetime, Meta(tz=True)]
"""A time with a zone; one without would mean something else on every machine."""


class AgentSpawned(Event, type="agent:spawned"):
    """An agent came into being; it does not work yet."""

    role: str | None = None
    """What it is for."""
    domain: str | None = None
    """The field it works in."""
    capabilities: tuple[str, ...] | None = None
    """What it can do."""
    spawned_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class AgentStarted(Event, type="agent:started"):
    """An agent began to work."""

    started_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class AgentStopped(Event, type="agent:stopped"):
    """An agent stopped working, on purpose."""

    reason: str | None = None
    """Why."""
    stopped_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class AgentFailed(Event, type="agent:failed"):
    """An agent broke down."""

    error: str | None = None
    """What went wrong."""
    stack: str | None = None
    """Where in its program."""
    failed_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class AgentStatusChanged(Event, type="agent:status-changed"):
    """An agent said what it is doing or is, in words of its own."""

    previous_status: str | None = None
    """What it was before."""
    new_status: str | None = None
    """What it is now."""
    changed_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class AgentTaskAssigned(Event, type="agent:task-assigned"):
    """An agent was given a task; others may have been given the same."""

    task_id: str | None = None
    """The task."""
    assigned_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class AgentTaskCompleted(Event, type="agent:task-completed"):
    """An agent completed its part of a task."""

    task_id: str | None = None
    """The task."""
    result: Any = None
    """What came of it, as JSON values."""
    # Not float alone, which would take 3 and give back 3.0.
    duration_seconds: int | float | None = None
    """How long it took."""
    completed_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""
