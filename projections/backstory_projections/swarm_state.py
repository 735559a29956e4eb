"""SwarmState: every swarm as it is now: phase, agents, tasks, milestones, errors."""

from datetime import datetime
from typing import Any, Final

from msgspec import Struct

from backstory import Event, Projection, RecordedEvent, on
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStopped,
)
from backstory_aggregates.swarm.events import (
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmMilestoneReached,
    SwarmPhaseChanged,
    SwarmScaled,
    SwarmTerminated,
    split_member_id,
    swarm_id,
)
from backstory_aggregates.task.events import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)

_ERROR_COUNT_MAX: Final = 100


class Milestone(Struct, frozen=True):
    """Something that a swarm has reached."""

    id: str | None
    """Which milestone."""
    name: str | None
    """What it is called."""
    reached_at: datetime
    """When."""


class SwarmFault(Struct, frozen=True):
    """An error that a swarm has met."""

    error: str | None
    """What went wrong."""
    agent_id: str | None
    """Who met it."""
    occurred_at: datetime
    """When."""


class SwarmRow(Struct, kw_only=True):
    """One swarm."""

    id: str
    """Its aggregate id, which is its name."""
    status: str = "unknown"
    """`running`, `terminated`, or `unknown` where it never said that it began."""
    topology: str | None = None
    """How its agents are connected."""
    max_agents: int | None = None
    """How many agents it may have."""
    config: dict[str, Any] = {}
    """Its settings."""
    phase: str | None = None
    """The phase of its work."""
    scaled_agent_count: int | None = None
    """How many agents it was last scaled to."""
    agent_count: int = 0
    """How many agents it has had."""
    active_agent_count: int = 0
    """How many of them work."""
    task_count: int = 0
    """How many tasks it has had."""
    tasks_by_status: dict[str, int] = {}
    """How many of them last became what; a status that none has is not there."""
    milestones: list[Milestone] = []
    """What it has reached, in order."""
    errors: list[SwarmFault] = []
    """The last 100 errors that it has met, in order."""
    error_count: int = 0
    """How many errors it has met."""
    initialized_at: datetime | None = None
    """When it began."""
    terminated_at: datetime | None = None
    """When it ended."""


class SwarmState(Projection, name="swarm-state"):
    """Every swarm. Queries return the live rows: read them, and change nothing."""

    swarms: dict[str, SwarmRow] = {}
    """The swarms by id, in the order in which they first appeared."""
    activity: dict[str, bool] = {}
    """Whether an agent works, by its id."""
    task_status: dict[str, str] = {}
    """What last became of a task, by its id."""

    def get_swarm(self, swarm: str) -> SwarmRow | None:
        """Return a swarm by its name, or None where no event has named it."""
        return self.swarms.get(swarm_id(swarm))

    def get_all_swarms(self) -> list[SwarmRow]:
        """Return all swarms, in the order in which they first appeared."""
        return list(self.swarms.values())

    def get_swarms_by_status(self, status: str) -> list[SwarmRow]:
        """Return the swarms with a status."""
        return [row for row in self.swarms.values() if row.status == status]

    @on(SwarmInitialized)
    def _initialized(self, event: SwarmInitialized, recorded: RecordedEvent) -> None:
        row = self._row(recorded.id)
        row.topology, row.max_agents = event.topology, event.max_agents
        row.config = event.config or {}
        row.status, row.initialized_at = "running", event.initialized_at or recorded.recorded_at

    @on(SwarmScaled)
    def _scaled(self, event: SwarmScaled, recorded: RecordedEvent) -> None:
        row = self._row(recorded.id)
        if event.new_agent_count is not None:
            row.scaled_agent_count = event.new_agent_count

    @on(SwarmPhaseChanged)
    def _phase_changed(self, event: SwarmPhaseChanged, recorded: RecordedEvent) -> None:
        self._row(recorded.id).phase = event.new_phase

    @on(SwarmMilestoneReached)
    def _milestone_reached(self, event: SwarmMilestoneReached, recorded: RecordedEvent) -> None:
        reached_at = event.reached_at or recorded.recorded_at
        milestone = Milestone(event.milestone_id, event.name, reached_at)
        self._row(recorded.id).milestones.append(milestone)

    @on(SwarmErrorOccurred)
    def _error_occurred(self, event: SwarmErrorOccurred, recorded: RecordedEvent) -> None:
        row = self._row(recorded.id)
        occurred_at = event.occurred_at or recorded.recorded_at
        row.errors.append(SwarmFault(event.error, recorded.metadata.actor, occurred_at))
        del row.errors[:-_ERROR_COUNT_MAX]
        row.error_count += 1

    @on(SwarmTerminated)
    def _terminated(self, event: SwarmTerminated, recorded: RecordedEvent) -> None:
        row = self._row(recorded.id)
        row.status, row.terminated_at = "terminated", event.terminated_at or recorded.recorded_at

    @on(AgentSpawned)
    def _agent_spawned(self, _event: AgentSpawned, recorded: RecordedEvent) -> None:
        self._count_agent(recorded.id, is_active=False)

    @on(AgentStarted)
    def _agent_started(self, _event: AgentStarted, recorded: RecordedEvent) -> None:
        self._count_agent(recorded.id, is_active=True)

    @on(AgentStopped, AgentFailed)
    def _agent_ended(self, _event: AgentStopped | AgentFailed, recorded: RecordedEvent) -> None:
        self._count_agent(recorded.id, is_active=False)

    @on(TaskCreated, TaskQueued, TaskStarted, TaskBlocked, TaskCompleted, TaskFailed)
    def _task_moved(self, _event: Event, recorded: RecordedEvent) -> None:
        # The type says what became of the task: `task:completed`.
        self._count_task(recorded.id, recorded.type.partition(":")[2])

    def _count_agent(self, agent_id: str, *, is_active: bool) -> None:
        row = self._row_of_member(agent_id)
        was_active = self.activity.get(agent_id)
        if row is not None:
            row.agent_count += was_active is None
            row.active_agent_count += is_active - bool(was_active)
            self.activity[agent_id] = is_active

    def _count_task(self, task_id: str, status: str) -> None:
        row = self._row_of_member(task_id)
        if row is None:
            return
        before = self.task_status.get(task_id)
        if before is None:
            row.task_count += 1
        else:
            row.tasks_by_status[before] -= 1
            if not row.tasks_by_status[before]:
                del row.tasks_by_status[before]
        row.tasks_by_status[status] = row.tasks_by_status.get(status, 0) + 1
        self.task_status[task_id] = status

    def _row_of_member(self, aggregate_id: str) -> SwarmRow | None:
        swarm, _ = split_member_id(aggregate_id)
        return None if swarm is None else self._row(swarm_id(swarm))

    def _row(self, id: str) -> SwarmRow:
        row = self.swarms.get(id)
        if row is None:
            row = self.swarms[id] = SwarmRow(id=id)
        return row
