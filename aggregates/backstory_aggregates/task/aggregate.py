"""The task: what may become of it when.

    new ── create ──▶ created ── queue ──▶ queued ── start ──▶ started ── complete ──▶ completed
                         │                   │                  │  ▲
                         └─────── block ─────┴───▶ blocked ◀────┤  │ start
                                                                ▼  │
                                              fail ─────────▶ failed

A task that is created, queued, started or blocked can take each of the steps of the others too:
real work does not go in a straight line. Only two things end it. A completed task stays completed.
A failed one can be queued or started again, and that is a retry.

A task that is started can be started again, by the same agent or another: whoever worked on it may
have crashed without a word, and a fact that nobody could record must not hold up the rest.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from backstory import Aggregate, DomainError, on
from backstory_aggregates.task.events import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)

TaskStatus = Literal["new", "created", "queued", "started", "blocked", "completed", "failed"]
"""What last became of a task."""


class TaskError(DomainError):
    """A task refused a command."""


class TaskAlreadyCreatedError(TaskError):
    """There is a task with this id."""

    def __init__(self, *, task_id: str) -> None:
        super().__init__(f"task {task_id!r} exists already; create another one under its own id")
        self.task_id = task_id
        """The task."""


class TaskNotCreatedError(TaskError):
    """There is no task with this id."""

    def __init__(self, *, task_id: str) -> None:
        super().__init__(f"task {task_id!r} does not exist; create it first")
        self.task_id = task_id
        """The task."""


class TaskAlreadyCompletedError(TaskError):
    """The task is done."""

    def __init__(self, *, task_id: str) -> None:
        super().__init__(f"task {task_id!r} is completed; create another one for more work")
        self.task_id = task_id
        """The task."""


class TaskAlreadyFailedError(TaskError):
    """The task has failed."""

    def __init__(self, *, task_id: str) -> None:
        super().__init__(f"task {task_id!r} has failed; start it to try it again")
        self.task_id = task_id
        """The task."""


class TaskNotStartedError(TaskError):
    """Nobody works on the task."""

    def __init__(self, *, task_id: str, status: str) -> None:
        super().__init__(f"task {task_id!r} is {status}, and nobody works on it; start it first")
        self.task_id = task_id
        """The task."""
        self.status = status
        """What last became of it."""


class Task(Aggregate, category="task"):
    """Something to do."""

    task_type: str | None = None
    """Which sort of task."""
    title: str | None = None
    """What it is called."""
    description: str | None = None
    """What is to be done."""
    priority: str | int | None = None
    """How urgent it is."""
    dependencies: tuple[str, ...] = ()
    """The tasks that come first."""
    status: TaskStatus = "new"
    """What last became of it."""
    agent_id: str | None = None
    """Who started it last."""
    blocked_by: tuple[str, ...] = ()
    """The tasks that it waits for while it is blocked."""
    start_count: int = 0
    """How often it was started."""
    retry_count: int = 0
    """How often it was tried again after a failure."""

    def create(
        self,
        *,
        title: str | None = None,
        task_type: str | None = None,
        description: str | None = None,
        priority: str | int | None = None,
        dependencies: Sequence[str] | None = None,
        created_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that there is something to do.

        Args:
            title: What it is called.
            task_type: Which sort of task.
            description: What is to be done.
            priority: How urgent it is, as a word or a number.
            dependencies: The aggregate ids of the tasks that come first.
            created_at: When.
            details: Whatever else there is to say.

        Raises:
            TaskAlreadyCreatedError: It exists.
        """
        if self.status != "new":
            raise TaskAlreadyCreatedError(task_id=self.id)
        self.emit(
            TaskCreated(
                task_type=task_type,
                title=title,
                description=description,
                priority=priority,
                dependencies=None if dependencies is None else tuple(dependencies),
                created_at=created_at,
                details=dict(details or {}),
            )
        )

    def queue(
        self,
        *,
        priority: str | int | None = None,
        queued_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Put it where agents look for work; again, where the one who had it is lost.

        Args:
            priority: How urgent it is now; as before by default.
            queued_at: When.
            details: Whatever else there is to say.

        Raises:
            TaskNotCreatedError: It does not exist.
            TaskAlreadyCompletedError: It is done.
        """
        self._check_open()
        urgency = self.priority if priority is None else priority
        self.emit(TaskQueued(priority=urgency, queued_at=queued_at, details=dict(details or {})))

    def start(
        self,
        *,
        agent_id: str | None = None,
        started_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Let an agent work on it: for the first time, after a failure, or after a crash.

        Args:
            agent_id: The agent's aggregate id.
            started_at: When.
            details: Whatever else there is to say.

        Raises:
            TaskNotCreatedError: It does not exist.
            TaskAlreadyCompletedError: It is done.
        """
        self._check_open()
        self.emit(
            TaskStarted(agent_id=agent_id, started_at=started_at, details=dict(details or {}))
        )

    def complete(
        self,
        *,
        result: Any = None,
        duration_seconds: float | None = None,
        completed_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that it is done.

        Args:
            result: What came of it, as JSON values.
            duration_seconds: How long it took.
            completed_at: When.
            details: Whatever else there is to say.

        Raises:
            TaskNotCreatedError: It does not exist.
            TaskAlreadyCompletedError: It is done.
            TaskNotStartedError: Nobody works on it.
        """
        self._check_open()
        if self.status != "started":
            raise TaskNotStartedError(task_id=self.id, status=self.status)
        self.emit(
            TaskCompleted(
                result=result,
                duration_seconds=duration_seconds,
                completed_at=completed_at,
                details=dict(details or {}),
            )
        )

    def fail(
        self,
        *,
        error: str | None = None,
        stack: str | None = None,
        failed_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that it came to nothing; `start` tries it again.

        Raises:
            TaskNotCreatedError: It does not exist.
            TaskAlreadyCompletedError: It is done.
            TaskAlreadyFailedError: It has failed, and was not started since.
        """
        self._check_open()
        if self.status == "failed":
            raise TaskAlreadyFailedError(task_id=self.id)
        self.emit(
            TaskFailed(
                error=error,
                stack=stack,
                retry_count=self.retry_count,
                failed_at=failed_at,
                details=dict(details or {}),
            )
        )

    def block(
        self,
        *,
        blocked_by: Sequence[str] | None = None,
        blocked_at: datetime | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Say that it cannot go on; `start` lets it go on.

        Args:
            blocked_by: The aggregate ids of the tasks that it waits for.
            blocked_at: When.
            details: Whatever else there is to say, such as a reason.

        Raises:
            TaskNotCreatedError: It does not exist.
            TaskAlreadyCompletedError: It is done.
            TaskAlreadyFailedError: It has failed, and was not started since.
        """
        self._check_open()
        if self.status == "failed":
            raise TaskAlreadyFailedError(task_id=self.id)
        self.emit(
            TaskBlocked(
                blocked_by=None if blocked_by is None else tuple(blocked_by),
                blocked_at=blocked_at,
                details=dict(details or {}),
            )
        )

    def _check_open(self) -> None:
        if self.status == "new":
            raise TaskNotCreatedError(task_id=self.id)
        if self.status == "completed":
            raise TaskAlreadyCompletedError(task_id=self.id)

    @on(TaskCreated)
    def _created(self, event: TaskCreated) -> None:
        self.task_type, self.title = event.task_type, event.title
        self.description, self.priority = event.description, event.priority
        self.dependencies = event.dependencies or ()
        self.status = "created"

    @on(TaskQueued)
    def _queued(self, event: TaskQueued) -> None:
        self.priority = self.priority if event.priority is None else event.priority
        self.retry_count += self.status == "failed"
        self.status = "queued"

    @on(TaskStarted)
    def _started(self, event: TaskStarted) -> None:
        self.agent_id, self.blocked_by = event.agent_id, ()
        self.start_count += 1
        self.retry_count += self.status == "failed"
        self.status = "started"

    @on(TaskCompleted)
    def _completed(self, event: TaskCompleted) -> None:
        self.blocked_by = ()
        self.status = "completed"

    @on(TaskFailed)
    def _failed(self, event: TaskFailed) -> None:
        self.retry_count = self.retry_count if event.retry_count is None else event.retry_count
        self.status = "failed"

    @on(TaskBlocked)
    def _blocked(self, event: TaskBlocked) -> None:
        self.blocked_by = event.blocked_by or ()
        self.status = "blocked"
