"""The agent: what it may do when.

    new ── spawn ──▶ spawned ── start ──▶ active ── stop ──▶ stopped
                        │                 │   ▲                │
                        └───── fail ──────┤   └──── start ─────┤
                                          ▼                    │
                                        failed ── stop ────────┘

Only an active agent is given tasks, and completes them. Its status is another thing: a word that
it chooses itself, such as "thinking", beside the word for where it stands in the picture above.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from backstory import Aggregate, DomainError, on
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStatusChanged,
    AgentStopped,
    AgentTaskAssigned,
    AgentTaskCompleted,
)

Lifecycle = Literal["new", "spawned", "active", "stopped", "failed"]
"""Where an agent stands."""


class AgentError(DomainError):
    """An agent refused a command."""


class AgentAlreadySpawnedError(AgentError):
    """There is an agent with this id."""

    def __init__(self, *, agent_id: str) -> None:
        super().__init__(f"agent {agent_id!r} exists already; spawn another one under its own id")
        self.agent_id = agent_id
        """The agent."""


class AgentNotSpawnedError(AgentError):
    """There is no agent with this id."""

    def __init__(self, *, agent_id: str) -> None:
        super().__init__(f"agent {agent_id!r} does not exist; spawn it first")
        self.agent_id = agent_id
        """The agent."""


class AgentAlreadyActiveError(AgentError):
    """The agent works already."""

    def __init__(self, *, agent_id: str) -> None:
        super().__init__(f"agent {agent_id!r} is active already; stop it before it starts again")
        self.agent_id = agent_id
        """The agent."""


class AgentNotActiveError(AgentError):
    """The agent does not work, or no longer."""

    def __init__(self, *, agent_id: str, lifecycle: str, command: str) -> None:
        super().__init__(f"agent {agent_id!r} is {lifecycle} and cannot {command}; start it first")
        self.agent_id = agent_id
        """The agent."""
        self.lifecycle = lifecycle
        """Where it stands."""
        self.command = command
        """What was asked of it."""


class AgentTaskAlreadyAssignedError(AgentError):
    """The agent has this task and has not completed it."""

    def __init__(self, *, agent_id: str, task_id: str) -> None:
        super().__init__(f"agent {agent_id!r} has task {task_id!r} already; let it complete it")
        self.agent_id = agent_id
        """The agent."""
        self.task_id = task_id
        """The task."""


class AgentTaskNotAssignedError(AgentError):
    """The agent does not have this task."""

    def __init__(self, *, agent_id: str, task_id: str) -> None:
        super().__init__(f"agent {agent_id!r} does not have task {task_id!r}; assign it first")
        self.agent_id = agent_id
        """The agent."""
        self.task_id = task_id
        """The task."""


class Agent(Aggregate, category="agent"):
    """Somebody who works on tasks: a model with a role, a program, a person."""

    role: str | None = None
    """What it is for."""
    domain: str | None = None
    """The field it works in."""
    capabilities: tuple[str, ...] = ()
    """What it can do."""
    lifecycle: Lifecycle = "new"
    """Where it stands."""
    status: str = "new"
    """What it last said of itself, or else where it stands."""
    assigned_tasks: dict[str, datetime | None] = {}
    """The tasks that it was given and has not completed, by id, each with when it was given."""
    completed_task_count: int = 0
    """How many tasks it has completed."""
    error_count: int = 0
    """How often it has failed."""

    def spawn(
        self,
        *,
        role: str | None = None,
        domain: str | None = None,
        capabilities: Sequence[str] | None = None,
        spawned_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Bring the agent into being.

        Raises:
            AgentAlreadySpawnedError: It exists.
        """
        if self.lifecycle != "new":
            raise AgentAlreadySpawnedError(agent_id=self.id)
        self.emit(
            AgentSpawned(
                role=role,
                domain=domain,
                capabilities=None if capabilities is None else tuple(capabilities),
                spawned_at=spawned_at,
                details=dict(details or {}),
            )
        )

    def start(
        self, *, started_at: datetime | None = None, details: Mapping[str, Any] | None = None
    ) -> None:
        """Let it begin to work, for the first time or again.

        Raises:
            AgentNotSpawnedError: It does not exist.
            AgentAlreadyActiveError: It works.
        """
        self._check_spawned()
        if self.lifecycle == "active":
            raise AgentAlreadyActiveError(agent_id=self.id)
        self.emit(AgentStarted(started_at=started_at, details=dict(details or {})))

    def stop(
        self,
        *,
        reason: str | None = None,
        stopped_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Let it stop working; one that has failed can be stopped too, one that is stopped not.

        Raises:
            AgentNotSpawnedError: It does not exist.
            AgentNotActiveError: It is stopped.
        """
        self._check_spawned()
        if self.lifecycle == "stopped":
            raise self._not_active("stop")
        self.emit(AgentStopped(reason=reason, stopped_at=stopped_at, details=dict(details or {})))

    def fail(
        self,
        *,
        error: str | None = None,
        stack: str | None = None,
        failed_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that it broke down.

        Raises:
            AgentNotSpawnedError: It does not exist.
            AgentNotActiveError: It is stopped, or has failed.
        """
        self._check_spawned()
        if self.lifecycle in ("stopped", "failed"):
            raise self._not_active("fail")
        self.emit(
            AgentFailed(error=error, stack=stack, failed_at=failed_at, details=dict(details or {}))
        )

    def change_status(
        self,
        *,
        new_status: str,
        changed_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what it is doing or is; nothing happens where that is known.

        Raises:
            AgentNotSpawnedError: It does not exist.
            AgentNotActiveError: It is stopped, or has failed.
        """
        self._check_spawned()
        if self.lifecycle in ("stopped", "failed"):
            raise self._not_active("change its status")
        if new_status == self.status and not details:
            return
        self.emit(
            AgentStatusChanged(
                previous_status=self.status,
                new_status=new_status,
                changed_at=changed_at,
                details=dict(details or {}),
            )
        )

    def assign_task(
        self,
        *,
        task_id: str,
        assigned_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Give it a task.

        Args:
            task_id: The task's aggregate id.
            assigned_at: When.
            details: Whatever else there is to say.

        Raises:
            AgentNotSpawnedError: It does not exist.
            AgentNotActiveError: It does not work.
            AgentTaskAlreadyAssignedError: It has the task.
        """
        self._check_active("take a task")
        if task_id in self.assigned_tasks:
            raise AgentTaskAlreadyAssignedError(agent_id=self.id, task_id=task_id)
        self.emit(
            AgentTaskAssigned(task_id=task_id, assigned_at=assigned_at, details=dict(details or {}))
        )

    def complete_task(
        self,
        *,
        task_id: str,
        result: Any = None,
        duration_seconds: float | None = None,
        completed_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that it completed a task that it was given.

        Args:
            task_id: The task's aggregate id.
            result: What came of it, as JSON values.
            duration_seconds: How long it took.
            completed_at: When.
            details: Whatever else there is to say.

        Raises:
            AgentNotSpawnedError: It does not exist.
            AgentNotActiveError: It does not work.
            AgentTaskNotAssignedError: It does not have the task.
        """
        self._check_active("complete a task")
        if task_id not in self.assigned_tasks:
            raise AgentTaskNotAssignedError(agent_id=self.id, task_id=task_id)
        self.emit(
            AgentTaskCompleted(
                task_id=task_id,
                result=result,
                duration_seconds=duration_seconds,
                completed_at=completed_at,
                details=dict(details or {}),
            )
        )

    def _check_spawned(self) -> None:
        if self.lifecycle == "new":
            raise AgentNotSpawnedError(agent_id=self.id)

    def _check_active(self, command: str) -> None:
        self._check_spawned()
        if self.lifecycle != "active":
            raise self._not_active(command)

    def _not_active(self, command: str) -> AgentNotActiveError:
        return AgentNotActiveError(agent_id=self.id, lifecycle=self.lifecycle, command=command)

    @on(AgentSpawned)
    def _spawned(self, event: AgentSpawned) -> None:
        self.role, self.domain = event.role, event.domain
        self.capabilities = event.capabilities or ()
        self.lifecycle = self.status = "spawned"

    @on(AgentStarted)
    def _started(self, event: AgentStarted) -> None:
        self.lifecycle = self.status = "active"

    @on(AgentStopped)
    def _stopped(self, event: AgentStopped) -> None:
        self.lifecycle = self.status = "stopped"

    @on(AgentFailed)
    def _failed(self, event: AgentFailed) -> None:
        self.lifecycle = self.status = "failed"
        self.error_count += 1

    @on(AgentStatusChanged)
    def _status_changed(self, event: AgentStatusChanged) -> None:
        self.status = event.new_status or self.status

    @on(AgentTaskAssigned)
    def _task_assigned(self, event: AgentTaskAssigned) -> None:
        if event.task_id is not None:
            self.assigned_tasks[event.task_id] = event.assigned_at

    @on(AgentTaskCompleted)
    def _task_completed(self, event: AgentTaskCompleted) -> None:
        self.completed_task_count += 1
        if event.task_id is not None:
            self.assigned_tasks.pop(event.task_id, None)
