"""TaskHistory: every task, what became of it, and who worked on it."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct

from backstory import Projection, RecordedEvent, on
from backstory_aggregates.agent.events import AgentTaskAssigned
from backstory_aggregates.swarm.events import split_member_id
from backstory_aggregates.task.events import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)
from backstory_projections._durations import SECONDS_MAX


class TaskRow(Struct, kw_only=True):
    """One task."""

    id: str
    """Its aggregate id."""
    swarm: str | None
    """Its swarm's name; None where it belongs to none."""
    name: str
    """Its id inside the swarm."""
    type: str | None = None
    """Which sort of task."""
    title: str | None = None
    """What it is called."""
    description: str | None = None
    """What is to be done."""
    status: str = "unknown"
    """What last became of it: `created`, `queued`, `started`, `blocked`, `completed`, `failed`."""
    priority: str | int | None = None
    """How urgent it is."""
    assigned_agent: str | None = None
    """The agent that it was last assigned to, or that started it."""
    agents: dict[str, datetime] = {}
    """All agents that it was assigned to, or that started it, with when they last did."""
    dependencies: tuple[str, ...] = ()
    """The tasks that come first."""
    blocked_by: tuple[str, ...] = ()
    """The tasks that it waits for while it is blocked."""
    created_at: datetime | None = None
    """When it was created."""
    queued_at: datetime | None = None
    """When it was last queued."""
    started_at: datetime | None = None
    """When it was last started."""
    completed_at: datetime | None = None
    """When it was completed."""
    failed_at: datetime | None = None
    """When it last failed."""
    # Not float alone, which would take 3 and give back 3.0.
    duration_seconds: int | float | None = None
    """How long it took: as it was said, or else from the last start to the completion, where both
    times were said."""
    result: Any = None
    """What came of it."""
    error: str | None = None
    """Why it last failed; None once it is completed."""
    start_count: int = 0
    """How often it was started."""
    retry_count: int = 0
    """How often it was tried again after a failure."""


class TaskHistory(Projection, name="task-history"):
    """Every task. Queries return the live rows: read them, and change nothing."""

    tasks: dict[str, TaskRow] = {}
    """The tasks by id, in the order in which they first appeared."""
    said_starts: dict[str, datetime] = {}
    """When the tasks that are started now were started, where an event said so."""

    def get_task(self, task_id: str) -> TaskRow | None:
        """Return a task, or None where no event of its own has named it."""
        return self.tasks.get(task_id)

    def get_all_tasks(self, *, swarm: str | None = None) -> list[TaskRow]:
        """Return the tasks of a swarm, or all, in the order in which they first appeared."""
        return [row for row in self.tasks.values() if swarm in (None, row.swarm)]

    def get_tasks_by_status(self, status: str, *, swarm: str | None = None) -> list[TaskRow]:
        """Return the tasks of which this last became."""
        return [row for row in self.get_all_tasks(swarm=swarm) if row.status == status]

    def get_tasks_by_agent(self, agent_id: str) -> list[TaskRow]:
        """Return the tasks that an agent was assigned or has started, by its aggregate id."""
        return [row for row in self.tasks.values() if agent_id in row.agents]

    def get_tasks_by_type(self, type: str, *, swarm: str | None = None) -> list[TaskRow]:
        """Return the tasks of a sort."""
        return [row for row in self.get_all_tasks(swarm=swarm) if row.type == type]

    def get_completed_task_count(self, *, swarm: str | None = None) -> int:
        """Return how many tasks are completed."""
        return len(self.get_tasks_by_status("completed", swarm=swarm))

    def get_average_task_duration(self, *, swarm: str | None = None) -> float | None:
        """Return how many seconds a completed task took; None where that is known of none."""
        completed = self.get_tasks_by_status("completed", swarm=swarm)
        known = [row.duration_seconds for row in completed if row.duration_seconds is not None]
        possible = [seconds for seconds in known if 0 <= seconds <= SECONDS_MAX]
        return sum(possible) / len(possible) if possible else None

    def get_success_rate(self, *, swarm: str | None = None) -> float | None:
        """Return the share of completed tasks in those that have ended; None where none has."""
        completed = len(self.get_tasks_by_status("completed", swarm=swarm))
        failed = len(self.get_tasks_by_status("failed", swarm=swarm))
        return completed / (completed + failed) if completed or failed else None

    def get_failure_rate(self, *, swarm: str | None = None) -> float | None:
        """Return the share of failed tasks in those that have ended; None where none has."""
        success_rate = self.get_success_rate(swarm=swarm)
        return None if success_rate is None else 1 - success_rate

    def count_by_status(self, *, swarm: str | None = None) -> dict[str, int]:
        """Return how many tasks there are of each status that occurs."""
        return _counts(row.status for row in self.get_all_tasks(swarm=swarm))

    @on(TaskCreated)
    def _created(self, event: TaskCreated, recorded: RecordedEvent) -> None:
        row = self._row(recorded)
        row.type, row.title, row.description = event.task_type, event.title, event.description
        row.priority, row.dependencies = event.priority, event.dependencies or ()
        row.status, row.created_at = "created", event.created_at or recorded.recorded_at

    @on(TaskQueued)
    def _queued(self, event: TaskQueued, recorded: RecordedEvent) -> None:
        row = self._row(recorded)
        row.priority = row.priority if event.priority is None else event.priority
        row.retry_count += row.status == "failed"
        row.status, row.queued_at = "queued", event.queued_at or recorded.recorded_at

    @on(TaskStarted)
    def _started(self, event: TaskStarted, recorded: RecordedEvent) -> None:
        row = self._row(recorded)
        row.start_count += 1
        row.retry_count += row.status == "failed"
        row.blocked_by = ()
        row.status, row.started_at = "started", event.started_at or recorded.recorded_at
        if event.agent_id is not None:
            row.assigned_agent = event.agent_id
            row.agents[event.agent_id] = row.started_at
        # When the store heard of a start says nothing about how long the work took.
        self.said_starts.pop(row.id, None)
        if event.started_at is not None:
            self.said_starts[row.id] = event.started_at

    @on(TaskCompleted)
    def _completed(self, event: TaskCompleted, recorded: RecordedEvent) -> None:
        row = self._row(recorded)
        row.status, row.completed_at = "completed", event.completed_at or recorded.recorded_at
        row.result, row.error, row.blocked_by = event.result, None, ()
        row.duration_seconds = event.duration_seconds
        started_at = self.said_starts.pop(row.id, None)
        if event.duration_seconds is None and started_at and event.completed_at:
            seconds = (event.completed_at - started_at).total_seconds()
            # Recorded clocks may step back.
            row.duration_seconds = seconds if seconds >= 0 else None

    @on(TaskFailed)
    def _failed(self, event: TaskFailed, recorded: RecordedEvent) -> None:
        row = self._row(recorded)
        row.status, row.failed_at = "failed", event.failed_at or recorded.recorded_at
        row.error = event.error
        row.retry_count = row.retry_count if event.retry_count is None else event.retry_count
        self.said_starts.pop(row.id, None)

    @on(TaskBlocked)
    def _blocked(self, event: TaskBlocked, recorded: RecordedEvent) -> None:
        row = self._row(recorded)
        row.status, row.blocked_by = "blocked", event.blocked_by or ()

    @on(AgentTaskAssigned)
    def _assigned(self, event: AgentTaskAssigned, recorded: RecordedEvent) -> None:
        # A task that is only spoken of is none yet: it begins with an event of its own.
        row = self.tasks.get(event.task_id or "")
        if row is not None:
            row.assigned_agent = recorded.id
            row.agents[recorded.id] = event.assigned_at or recorded.recorded_at

    def _row(self, recorded: RecordedEvent) -> TaskRow:
        row = self.tasks.get(recorded.id)
        if row is None:
            swarm, name = split_member_id(recorded.id)
            row = self.tasks[recorded.id] = TaskRow(id=recorded.id, swarm=swarm, name=name)
        return row


def _counts(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts
