"""What happens to tasks: the published language of `task-…` streams.

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


class TaskCreated(Event, type="task:created"):
    """There is something to do."""

    task_type: str | None = None
    """Which sort of task."""
    title: str | None = None
    """What it is called."""
    description: str | None = None
    """What is to be done."""
    priority: str | int | None = None
    """How urgent it is, as a word or a number."""
    dependencies: tuple[str, ...] | None = None
    """The tasks that come first."""
    created_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class TaskQueued(Event, type="task:queued"):
    """A task was put where agents look for work."""

    priority: str | int | None = None
    """How urgent it is, as a word or a number."""
    queued_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class TaskStarted(Event, type="task:started"):
    """An agent began to work on a task; not always the first one to do so."""

    agent_id: str | None = None
    """The agent."""
    started_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class TaskCompleted(Event, type="task:completed"):
    """A task is done."""

    result: Any = None
    """What came of it, as JSON values."""
    # Not float alone, which would take 3 and give back 3.0.
    duration_seconds: int | float | None = None
    """How long it took."""
    completed_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class TaskFailed(Event, type="task:failed"):
    """A task came to nothing; it may be started again."""

    error: str | None = None
    """What went wrong."""
    stack: str | None = None
    """Where in the program."""
    retry_count: int | None = None
    """How often it had been tried again before this failure."""
    failed_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""


class TaskBlocked(Event, type="task:blocked"):
    """A task cannot go on."""

    blocked_by: tuple[str, ...] | None = None
    """The tasks that it waits for."""
    blocked_at: Moment | None = None
    """When it happened."""
    details: dict[str, Any] = {}
    """Whatever else was recorded, as JSON values."""
