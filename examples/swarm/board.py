"""The board: what waits for a decision in each swarm, with the event that it waits since.

It is a read model like any other, folded from the log alone. So whoever coordinates a swarm knows
after a crash exactly what the one before knew, and decides on the same grounds: beside everything
that waits stands the event that is the cause of what will be decided about it.
"""

from typing import Final

from msgspec import Struct

from backstory import Projection, RecordedEvent, on
from backstory_aggregates import split_member_id
from backstory_aggregates.agent import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStopped,
    AgentTaskAssigned,
    AgentTaskCompleted,
)
from backstory_aggregates.swarm import (
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmMilestoneReached,
    SwarmPhaseChanged,
    SwarmScaled,
    SwarmTerminated,
)
from backstory_aggregates.task import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
)

SURVEY, AUDIT, REPORT = "survey", "audit", "report"
"""The phases of a swarm, and the types of the tasks that make them up."""
ATTEMPT_COUNT_MAX: Final = 2
"""A task that has failed so often has failed for good."""
PAUSED: Final = "paused"
"""The phase of a swarm that was interrupted, until it is started again."""
RUN_TAG: Final = "run:"
"""What the tag begins with that every event has of the process that recorded it."""


class Cause(Struct, frozen=True, order=True):
    """An event that something will be decided because of; of two, the later one is the cause."""

    position: int = 0
    event_id: str = ""


class Place(Struct):
    """Where one task stands in the order of the others."""

    task_type: str | None = None
    waits_for: set[str] = set()
    """Tasks that come first and are not settled."""
    holds_up: list[str] = []
    """Tasks that wait for this one."""
    obstructed_by: list[str] = []
    """Tasks that it waited for in vain."""
    agent: str | None = None
    """Who has it, or had it last."""
    failed_agents: list[str] = []
    """Who failed at it."""


class SwarmBoard(Struct):
    """What waits in one swarm."""

    correlation_id: str | None = None
    folder: str = ""
    max_agents: int = 0
    is_terminated: bool = False
    run: str = ""
    """The tag of the process that coordinates it: the last one to begin, to go on, or to lead it
    into another phase."""
    run_cause: Cause = Cause()
    """What it said so with."""
    phase: str | None = None
    phase_before: str | None = None
    phase_cause: Cause = Cause()
    agent_count: int = 0
    """How many agents it is to have."""
    staffing_cause: Cause = Cause()
    """What last made their number differ from that."""
    milestones: list[str] = []
    audit_count: int = 0
    """How many files there are to audit."""
    audited_count: int = 0
    """How many of these tasks are settled."""

    places: dict[str, Place] = {}
    """Every task."""
    # A task stands in one of these piles, or in none while it waits for others.
    ready: dict[str, Cause] = {}
    """Tasks that could be queued."""
    queued: dict[str, Cause] = {}
    """Tasks that wait for an agent."""
    under_way: dict[str, Cause] = {}
    """Tasks that an agent has been given."""
    obstructed: dict[str, Cause] = {}
    """Tasks that will never have all they wait for."""
    blocked: dict[str, Cause] = {}
    """Tasks of which this is recorded."""
    settled: dict[str, Cause] = {}
    """Tasks that are completed or have failed for good; they stay here."""

    spawned_count: int = 0
    agents: dict[str, str] = {}
    """Agents that have neither stopped nor failed, with the tag of the process they belong to."""
    idle: dict[str, Cause] = {}
    """Those of them that wait for a task, with their causes."""
    departure_cause: Cause = Cause()
    """The last event that an agent left with."""

    @property
    def is_paused(self) -> bool:
        """Whether it was interrupted and nobody works any more."""
        return self.phase == PAUSED and not self.agents

    def lead(self, recorded: RecordedEvent) -> None:
        """Hand the swarm to the process that has recorded an event."""
        self.run, self.run_cause = _run(recorded), _cause(recorded)

    def place(self, task: str) -> Place:
        """Return the place of a task, which others may have named before it was created."""
        return self.places.setdefault(task, Place())

    def move(self, task: str, pile: dict[str, Cause], cause: Cause) -> None:
        """Put a task onto a pile, unless it is settled."""
        for other in (self.ready, self.queued, self.under_way, self.obstructed, self.blocked):
            other.pop(task, None)
        if task not in self.settled:
            pile[task] = cause

    def create(self, task: str, event: TaskCreated, cause: Cause) -> None:
        """Give a new task its place behind those that it depends on."""
        place = self.place(task)
        place.task_type = event.task_type
        place.waits_for = set(event.dependencies or ()) - self.settled.keys()
        self.audit_count += event.task_type == AUDIT
        for first in place.waits_for:
            self.place(first).holds_up.append(task)
        if not place.waits_for:
            self.move(task, self.ready, cause)

    def fail(self, task: str, cause: Cause) -> None:
        """Let a task be tried again, by somebody else, or settle it."""
        place = self.place(task)
        if place.agent is not None:
            place.failed_agents.append(place.agent)
            self.rest(place.agent, cause)
        if len(place.failed_agents) < ATTEMPT_COUNT_MAX:
            self.move(task, self.ready, cause)
        else:
            self.settle(task, cause)
            for waiting in place.holds_up:
                self.place(waiting).obstructed_by.append(task)
                self.move(waiting, self.obstructed, cause)

    def settle(self, task: str, cause: Cause) -> None:
        """Let go on what waited for a task."""
        if task in self.settled:
            return
        self.move(task, self.settled, cause)
        self.audited_count += self.place(task).task_type == AUDIT
        for waiting in self.place(task).holds_up:
            place = self.place(waiting)
            place.waits_for.discard(task)
            if not place.waits_for and not place.obstructed_by:
                self.move(waiting, self.ready, cause)

    def assign(self, task: str, agent: str, cause: Cause) -> None:
        """Give a task to an agent."""
        self.place(task).agent = agent
        self.idle.pop(agent, None)
        self.move(task, self.under_way, cause)

    def rest(self, agent: str, cause: Cause) -> None:
        """Let an agent wait for a task, if it is still there."""
        if agent in self.agents:
            self.idle[agent] = cause

    def leave(self, agent: str, cause: Cause) -> None:
        """Take an agent off the board; what it had under way can be queued again."""
        self.agents.pop(agent, None)
        self.idle.pop(agent, None)
        self.departure_cause = cause
        for task in [task for task in self.under_way if self.place(task).agent == agent]:
            self.move(task, self.ready, cause)


class Board(Projection):
    """What waits for a decision in each swarm."""

    swarms: dict[str, SwarmBoard] = {}

    def newest(self, folder: str) -> str | None:
        """Return the last swarm that was begun for a folder, or None."""
        ours = [swarm for swarm, board in self.swarms.items() if board.folder == folder]
        return ours[-1] if ours else None

    def _of(self, recorded: RecordedEvent) -> SwarmBoard:
        swarm = recorded.id if recorded.category == "swarm" else split_member_id(recorded.id)[0]
        # The store may hold other stories; who belongs to no swarm is none of ours.
        return SwarmBoard() if swarm is None else self.swarms.setdefault(swarm, SwarmBoard())

    @on(SwarmInitialized)
    def _initialized(self, event: SwarmInitialized, recorded: RecordedEvent) -> None:
        board = self._of(recorded)
        board.correlation_id = recorded.metadata.correlation_id
        board.folder = str((event.config or {}).get("folder", ""))
        board.max_agents = event.max_agents or 0
        board.phase_cause = _cause(recorded)
        board.lead(recorded)

    @on(SwarmPhaseChanged)
    def _phase_changed(self, event: SwarmPhaseChanged, recorded: RecordedEvent) -> None:
        board = self._of(recorded)
        board.phase_before, board.phase = board.phase, event.new_phase
        board.phase_cause = board.staffing_cause = _cause(recorded)
        board.lead(recorded)

    @on(SwarmErrorOccurred)
    def _error_occurred(self, event: SwarmErrorOccurred, recorded: RecordedEvent) -> None:
        self._of(recorded).lead(recorded)

    @on(SwarmScaled)
    def _scaled(self, event: SwarmScaled, recorded: RecordedEvent) -> None:
        board = self._of(recorded)
        board.agent_count, board.staffing_cause = event.new_agent_count or 0, _cause(recorded)

    @on(SwarmMilestoneReached)
    def _milestone_reached(self, event: SwarmMilestoneReached, recorded: RecordedEvent) -> None:
        self._of(recorded).milestones.append(event.milestone_id or "")

    @on(SwarmTerminated)
    def _terminated(self, event: SwarmTerminated, recorded: RecordedEvent) -> None:
        board = self._of(recorded)
        self.swarms[recorded.id] = SwarmBoard(
            correlation_id=board.correlation_id, folder=board.folder, is_terminated=True
        )

    @on(TaskCreated)
    def _created(self, event: TaskCreated, recorded: RecordedEvent) -> None:
        self._of(recorded).create(recorded.id, event, _cause(recorded))

    @on(TaskQueued)
    def _queued(self, event: TaskQueued, recorded: RecordedEvent) -> None:
        board = self._of(recorded)
        board.move(recorded.id, board.queued, _cause(recorded))

    @on(TaskBlocked)
    def _blocked(self, event: TaskBlocked, recorded: RecordedEvent) -> None:
        board = self._of(recorded)
        board.move(recorded.id, board.blocked, _cause(recorded))

    @on(TaskCompleted)
    def _completed(self, event: TaskCompleted, recorded: RecordedEvent) -> None:
        self._of(recorded).settle(recorded.id, _cause(recorded))

    @on(TaskFailed)
    def _failed(self, event: TaskFailed, recorded: RecordedEvent) -> None:
        self._of(recorded).fail(recorded.id, _cause(recorded))

    @on(AgentSpawned)
    def _spawned(self, event: AgentSpawned, recorded: RecordedEvent) -> None:
        board = self._of(recorded)
        board.spawned_count += 1
        board.agents[recorded.id] = _run(recorded)

    @on(AgentStarted)
    def _started(self, event: AgentStarted, recorded: RecordedEvent) -> None:
        self._of(recorded).rest(recorded.id, _cause(recorded))

    @on(AgentTaskAssigned)
    def _assigned(self, event: AgentTaskAssigned, recorded: RecordedEvent) -> None:
        self._of(recorded).assign(event.task_id or "", recorded.id, _cause(recorded))

    @on(AgentTaskCompleted)
    def _task_completed(self, event: AgentTaskCompleted, recorded: RecordedEvent) -> None:
        self._of(recorded).rest(recorded.id, _cause(recorded))

    @on(AgentStopped)
    def _stopped(self, event: AgentStopped, recorded: RecordedEvent) -> None:
        self._of(recorded).leave(recorded.id, _cause(recorded))

    @on(AgentFailed)
    def _agent_failed(self, event: AgentFailed, recorded: RecordedEvent) -> None:
        board = self._of(recorded)
        board.leave(recorded.id, _cause(recorded))
        board.staffing_cause = _cause(recorded)


def _cause(recorded: RecordedEvent) -> Cause:
    return Cause(recorded.position, recorded.event_id)


def _run(recorded: RecordedEvent) -> str:
    return next((tag for tag in recorded.metadata.tags if tag.startswith(RUN_TAG)), "")
