"""AgentState: every agent as it is now, and what it has done."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from backstory import Projection, RecordedEvent, on
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStatusChanged,
    AgentStopped,
    AgentTaskAssigned,
    AgentTaskCompleted,
)
from backstory_aggregates.swarm.events import split_member_id
from backstory_aggregates.task.events import TaskCompleted, TaskFailed
from backstory_projections._durations import SECONDS_MAX


class AgentRow(Struct, kw_only=True):
    """One agent."""

    id: str
    """Its aggregate id."""
    swarm: str | None
    """Its swarm's name; None where it belongs to none."""
    name: str
    """Its id inside the swarm."""
    role: str | None = None
    """What it is for."""
    domain: str | None = None
    """The field it works in."""
    capabilities: tuple[str, ...] = ()
    """What it can do."""
    status: str = "unknown"
    """`spawned`, `active`, `stopped`, `failed`, or what it last said of itself."""
    is_active: bool = False
    """Whether it was started, and has neither stopped nor failed since."""
    current_task: str | None = None
    """The task that it was last assigned, of those that are open."""
    open_tasks: dict[str, datetime] = {}
    """The tasks that it was assigned and that have not come to an end, in order, with when."""
    completed_tasks: list[str] = []
    """The tasks that it completed, in order; one that it completed twice stands there twice."""
    failed_tasks: list[str] = []
    """The tasks that failed while it had them."""
    task_count: int = 0
    """How often it was assigned a task."""
    total_task_duration_seconds: float = 0.0
    """How long its completed tasks took together, as far as that was said."""
    timed_task_count: int = 0
    """Of how many completed tasks the duration was said."""
    error_count: int = 0
    """How often it failed."""
    spawned_at: datetime | None = None
    """When it came into being."""
    started_at: datetime | None = None
    """When it last began to work."""
    stopped_at: datetime | None = None
    """When it last stopped; None while it works."""
    last_activity_at: datetime | None = None
    """When the last of its events happened."""

    @property
    def average_task_duration_seconds(self) -> float | None:
        """How long its tasks took; None where that was never said."""
        if not self.timed_task_count:
            return None
        return self.total_task_duration_seconds / self.timed_task_count


class CompletionMetrics(Struct, frozen=True):
    """How much of what agents were assigned they completed."""

    assigned_count: int
    """Assignments."""
    completed_count: int
    """Completions."""
    failed_count: int
    """Assignments whose task failed."""
    completion_rate: float | None
    """Completions for each assignment; None where nothing was assigned."""
    average_duration_seconds: float | None
    """How long a task took; None where that was never said."""


class AgentHealth(Struct, frozen=True):
    """How agents are."""

    agent_count: int
    """All agents."""
    active_count: int
    """Those that work."""
    stopped_count: int
    """Those that were stopped, and not started since."""
    failed_count: int
    """Those that have failed, and were neither started nor stopped since."""
    error_count: int
    """Failures of all time."""


class AgentState(Projection, name="agent-state"):
    """Every agent as it is now. Queries return the live rows: read them, and change nothing."""

    agents: dict[str, AgentRow] = {}
    """The agents by id, in the order in which they first appeared."""
    holders: dict[str, dict[str, None]] = {}
    """The agents that have an open task, by the task's id; the values say nothing."""

    def get_agent(self, agent_id: str) -> AgentRow | None:
        """Return an agent, or None where no event has named it."""
        return self.agents.get(agent_id)

    def get_all_agents(self, *, swarm: str | None = None) -> list[AgentRow]:
        """Return the agents of a swarm, or all, in the order in which they first appeared."""
        return [row for row in self.agents.values() if swarm in (None, row.swarm)]

    def get_agents_by_status(self, status: str, *, swarm: str | None = None) -> list[AgentRow]:
        """Return the agents with a status."""
        return [row for row in self.get_all_agents(swarm=swarm) if row.status == status]

    def get_agents_by_domain(self, domain: str, *, swarm: str | None = None) -> list[AgentRow]:
        """Return the agents that work in a domain."""
        return [row for row in self.get_all_agents(swarm=swarm) if row.domain == domain]

    def get_agents_by_role(self, role: str, *, swarm: str | None = None) -> list[AgentRow]:
        """Return the agents with a role."""
        return [row for row in self.get_all_agents(swarm=swarm) if row.role == role]

    def get_active_agent_count(self, *, swarm: str | None = None) -> int:
        """Return how many agents work: were started, and have neither stopped nor failed since."""
        return sum(row.is_active for row in self.get_all_agents(swarm=swarm))

    def get_completion_metrics(
        self, *, swarm: str | None = None, agent_id: str | None = None
    ) -> CompletionMetrics:
        """Return how much was completed: of one agent, of a swarm, or of all."""
        rows = [
            row
            for row in self.get_all_agents(swarm=swarm)
            if agent_id is None or row.id == agent_id
        ]
        return _metrics(rows)

    def get_health(self, *, swarm: str | None = None) -> AgentHealth:
        """Return how the agents of a swarm, or all, are."""
        rows = self.get_all_agents(swarm=swarm)
        return AgentHealth(
            agent_count=len(rows),
            active_count=sum(row.is_active for row in rows),
            stopped_count=sum(row.stopped_at is not None for row in rows),
            failed_count=sum(row.status == "failed" for row in rows),
            error_count=sum(row.error_count for row in rows),
        )

    @on(AgentSpawned)
    def _spawned(self, event: AgentSpawned, recorded: RecordedEvent) -> None:
        row = self._row(recorded, event.spawned_at)
        row.role, row.domain = event.role, event.domain
        row.capabilities = event.capabilities or ()
        row.status, row.spawned_at = "spawned", row.last_activity_at

    @on(AgentStarted)
    def _started(self, event: AgentStarted, recorded: RecordedEvent) -> None:
        row = self._row(recorded, event.started_at)
        row.status, row.is_active = "active", True
        row.started_at, row.stopped_at = row.last_activity_at, None

    @on(AgentStopped)
    def _stopped(self, event: AgentStopped, recorded: RecordedEvent) -> None:
        row = self._row(recorded, event.stopped_at)
        row.status, row.is_active = "stopped", False
        row.stopped_at = row.last_activity_at

    @on(AgentFailed)
    def _failed(self, event: AgentFailed, recorded: RecordedEvent) -> None:
        row = self._row(recorded, event.failed_at)
        row.status, row.is_active = "failed", False
        row.error_count += 1

    @on(AgentStatusChanged)
    def _status_changed(self, event: AgentStatusChanged, recorded: RecordedEvent) -> None:
        row = self._row(recorded, event.changed_at)
        row.status = row.status if event.new_status is None else event.new_status

    @on(AgentTaskAssigned)
    def _task_assigned(self, event: AgentTaskAssigned, recorded: RecordedEvent) -> None:
        row = self._row(recorded, event.assigned_at)
        row.task_count += 1
        if (task_id := event.task_id) is not None:
            row.open_tasks.pop(task_id, None)
            row.open_tasks[task_id] = event.assigned_at or recorded.recorded_at
            row.current_task = task_id
            self.holders.setdefault(task_id, {})[row.id] = None

    @on(AgentTaskCompleted)
    def _task_completed(self, event: AgentTaskCompleted, recorded: RecordedEvent) -> None:
        row = self._row(recorded, event.completed_at)
        seconds = event.duration_seconds
        if seconds is not None and 0 <= seconds <= SECONDS_MAX:
            row.total_task_duration_seconds += seconds
            row.timed_task_count += 1
        if (task_id := event.task_id) is not None:
            row.completed_tasks.append(task_id)
            _close(row, task_id)
            holders = self.holders.get(task_id, {})
            holders.pop(row.id, None)
            if not holders:
                self.holders.pop(task_id, None)

    @on(TaskCompleted)
    def _completed(self, _event: TaskCompleted, recorded: RecordedEvent) -> None:
        # Not everybody says that their part is done.
        for agent_id in self.holders.pop(recorded.id, {}):
            _close(self.agents[agent_id], recorded.id)

    @on(TaskFailed)
    def _task_failed(self, _event: TaskFailed, recorded: RecordedEvent) -> None:
        for agent_id in self.holders.pop(recorded.id, {}):
            row = self.agents[agent_id]
            row.failed_tasks.append(recorded.id)
            _close(row, recorded.id)

    def _row(self, recorded: RecordedEvent, moment: datetime | None) -> AgentRow:
        """Return the row of the agent that an event is about, touched."""
        row = self.agents.get(recorded.id)
        if row is None:
            swarm, name = split_member_id(recorded.id)
            row = self.agents[recorded.id] = AgentRow(id=recorded.id, swarm=swarm, name=name)
        row.last_activity_at = moment or recorded.recorded_at
        return row


def _close(row: AgentRow, task_id: str) -> None:
    row.open_tasks.pop(task_id, None)
    row.current_task = next(reversed(row.open_tasks), None)


def _metrics(rows: Iterable[AgentRow]) -> CompletionMetrics:
    assigned = completed = failed = timed = 0
    seconds = 0.0
    for row in rows:
        assigned += row.task_count
        completed += len(row.completed_tasks)
        failed += len(row.failed_tasks)
        timed += row.timed_task_count
        seconds += row.total_task_duration_seconds
    return CompletionMetrics(
        assigned_count=assigned,
        completed_count=completed,
        failed_count=failed,
        completion_rate=completed / assigned if assigned else None,
        average_duration_seconds=seconds / timed if timed else None,
    )
