"""The swarm: agents that work together towards something.

    new ── initialize ──▶ running ── terminate ──▶ terminated

Everything else happens while it runs: it is scaled, changes its phase, reaches milestones, meets
errors.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from backstory import Aggregate, DomainError, on
from backstory_aggregates.swarm.events import (
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmMilestoneReached,
    SwarmPhaseChanged,
    SwarmScaled,
    SwarmTerminated,
)

SwarmStatus = Literal["new", "running", "terminated"]
"""Where a swarm stands."""


class SwarmError(DomainError):
    """A swarm refused a command."""


class SwarmAlreadyInitializedError(SwarmError):
    """There is a swarm with this id."""

    def __init__(self, *, swarm_id: str) -> None:
        super().__init__(f"swarm {swarm_id!r} exists already; initialize another one")
        self.swarm_id = swarm_id
        """The swarm."""


class SwarmNotRunningError(SwarmError):
    """The swarm has not begun, or has ended."""

    def __init__(self, *, swarm_id: str, status: str) -> None:
        remedy = "initialize it first" if status == "new" else "initialize another one"
        super().__init__(f"swarm {swarm_id!r} is {status}, not running; {remedy}")
        self.swarm_id = swarm_id
        """The swarm."""
        self.status = status
        """Where it stands."""


class SwarmAgentCountError(SwarmError):
    """The swarm cannot have this number of agents."""

    def __init__(self, *, swarm_id: str, agent_count: int, max_agents: int | None) -> None:
        bound = "0 or more" if max_agents is None else f"from 0 to {max_agents}"
        super().__init__(
            f"swarm {swarm_id!r} cannot have {agent_count} agents; it may have {bound}"
        )
        self.swarm_id = swarm_id
        """The swarm."""
        self.agent_count = agent_count
        """How many it was to have."""
        self.max_agents = max_agents
        """How many it may have; None for any number."""


class SwarmMilestoneAlreadyReachedError(SwarmError):
    """The swarm has been there."""

    def __init__(self, *, swarm_id: str, milestone_id: str) -> None:
        super().__init__(f"swarm {swarm_id!r} has reached {milestone_id!r}; name the next one")
        self.swarm_id = swarm_id
        """The swarm."""
        self.milestone_id = milestone_id
        """The milestone."""


class Swarm(Aggregate, category="swarm"):
    """Agents that work together towards something."""

    topology: str | None = None
    """How its agents are connected."""
    max_agents: int | None = None
    """How many agents it may have; None for any number."""
    config: dict[str, Any] = {}
    """Its settings."""
    status: SwarmStatus = "new"
    """Where it stands."""
    agent_count: int = 0
    """How many agents it was last scaled to."""
    phase: str | None = None
    """The phase of its work."""
    milestones: dict[str, str | None] = {}
    """The milestones that it has reached: their names by their ids."""
    error_count: int = 0
    """How many errors it has met."""

    def initialize(
        self,
        *,
        topology: str | None = None,
        max_agents: int | None = None,
        config: Mapping[str, Any] | None = None,
        initialized_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Bring the swarm into being.

        Args:
            topology: How its agents are connected.
            max_agents: How many agents it may have; None for any number.
            config: Its settings, as JSON values.
            initialized_at: When.
            details: Whatever else there is to say.

        Raises:
            SwarmAlreadyInitializedError: It exists.
            SwarmAgentCountError: It could have no agents.
        """
        if self.status != "new":
            raise SwarmAlreadyInitializedError(swarm_id=self.id)
        if max_agents is not None and max_agents < 0:
            raise SwarmAgentCountError(swarm_id=self.id, agent_count=max_agents, max_agents=None)
        self.emit(
            SwarmInitialized(
                topology=topology,
                max_agents=max_agents,
                config=None if config is None else dict(config),
                initialized_at=initialized_at,
                details=dict(details or {}),
            )
        )

    def scale(
        self,
        *,
        new_agent_count: int,
        reason: str | None = None,
        scaled_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Make it larger or smaller; nothing happens where it has this size.

        Raises:
            SwarmNotRunningError: It has not begun, or has ended.
            SwarmAgentCountError: It cannot have so many agents.
        """
        self._check_running()
        most = new_agent_count if self.max_agents is None else self.max_agents
        if not 0 <= new_agent_count <= most:
            raise SwarmAgentCountError(
                swarm_id=self.id, agent_count=new_agent_count, max_agents=self.max_agents
            )
        if new_agent_count == self.agent_count:
            return
        self.emit(
            SwarmScaled(
                previous_agent_count=self.agent_count,
                new_agent_count=new_agent_count,
                reason=reason,
                scaled_at=scaled_at,
                details=dict(details or {}),
            )
        )

    def change_phase(
        self,
        *,
        new_phase: str,
        changed_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on to another phase; nothing happens where it is in this one.

        Raises:
            SwarmNotRunningError: It has not begun, or has ended.
        """
        self._check_running()
        if new_phase == self.phase:
            return
        self.emit(
            SwarmPhaseChanged(
                previous_phase=self.phase,
                new_phase=new_phase,
                changed_at=changed_at,
                details=dict(details or {}),
            )
        )

    def reach_milestone(
        self,
        *,
        milestone_id: str,
        name: str | None = None,
        reached_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that it has got somewhere.

        Raises:
            SwarmNotRunningError: It has not begun, or has ended.
            SwarmMilestoneAlreadyReachedError: It has been there.
        """
        self._check_running()
        if milestone_id in self.milestones:
            raise SwarmMilestoneAlreadyReachedError(swarm_id=self.id, milestone_id=milestone_id)
        self.emit(
            SwarmMilestoneReached(
                milestone_id=milestone_id,
                name=name,
                reached_at=reached_at,
                details=dict(details or {}),
            )
        )

    def report_error(
        self,
        *,
        error: str,
        stack: str | None = None,
        context: Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that something went wrong in it; it goes on.

        Raises:
            SwarmNotRunningError: It has not begun, or has ended.
        """
        self._check_running()
        self.emit(
            SwarmErrorOccurred(
                error=error,
                stack=stack,
                context=None if context is None else dict(context),
                occurred_at=occurred_at,
                details=dict(details or {}),
            )
        )

    def terminate(
        self,
        *,
        reason: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        terminated_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """End it.

        Raises:
            SwarmNotRunningError: It has not begun, or has ended.
        """
        self._check_running()
        self.emit(
            SwarmTerminated(
                reason=reason,
                metrics=None if metrics is None else dict(metrics),
                terminated_at=terminated_at,
                details=dict(details or {}),
            )
        )

    def _check_running(self) -> None:
        if self.status != "running":
            raise SwarmNotRunningError(swarm_id=self.id, status=self.status)

    @on(SwarmInitialized)
    def _initialized(self, event: SwarmInitialized) -> None:
        self.topology, self.max_agents = event.topology, event.max_agents
        self.config = event.config or {}
        self.status = "running"

    @on(SwarmScaled)
    def _scaled(self, event: SwarmScaled) -> None:
        count = event.new_agent_count
        self.agent_count = self.agent_count if count is None else count

    @on(SwarmPhaseChanged)
    def _phase_changed(self, event: SwarmPhaseChanged) -> None:
        self.phase = event.new_phase

    @on(SwarmMilestoneReached)
    def _milestone_reached(self, event: SwarmMilestoneReached) -> None:
        if event.milestone_id is not None:
            self.milestones[event.milestone_id] = event.name

    @on(SwarmErrorOccurred)
    def _error_occurred(self, event: SwarmErrorOccurred) -> None:
        self.error_count += 1

    @on(SwarmTerminated)
    def _terminated(self, event: SwarmTerminated) -> None:
        self.status = "terminated"
