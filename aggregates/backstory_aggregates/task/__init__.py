"""Tasks: what is to be done."""

from backstory_aggregates.task.aggregate import (
    Task,
    TaskAlreadyCompletedError,
    TaskAlreadyCreatedError,
    TaskAlreadyFailedError,
    TaskError,
    TaskNotCreatedError,
    TaskNotStartedError,
)
from backstory_aggregates.task.events import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)

__all__ = [
    "Task",
    "TaskAlreadyCompletedError",
    "TaskAlreadyCreatedError",
    "TaskAlreadyFailedError",
    "TaskBlocked",
    "TaskCompleted",
    "TaskCreated",
    "TaskError",
    "TaskFailed",
    "TaskNotCreatedError",
    "TaskNotStartedError",
    "TaskQueued",
    "TaskStarted",
]
