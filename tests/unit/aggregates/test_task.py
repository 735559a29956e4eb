"""Tasks: what may become of them when."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.unit.aggregates.conftest import emitted, given

from backstory import Event
from backstory_aggregates.task import (
    Task,
    TaskAlreadyCompletedError,
    TaskAlreadyCreatedError,
    TaskAlreadyFailedError,
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskNotCreatedError,
    TaskNotStartedError,
    TaskQueued,
    TaskStarted,
)

NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)
CREATED = (TaskCreated(priority="high"),)
QUEUED = (*CREATED, TaskQueued())
STARTED = (*CREATED, TaskStarted(agent_id="s/ada"))
BLOCKED = (*STARTED, TaskBlocked(blocked_by=("s/other",)))
COMPLETED = (*STARTED, TaskCompleted())
FAILED = (*STARTED, TaskFailed())

COMMANDS: dict[str, Callable[[Task], None]] = {
    "queue": lambda task: task.queue(),
    "start": lambda task: task.start(),
    "complete": lambda task: task.complete(),
    "fail": lambda task: task.fail(),
    "block": lambda task: task.block(),
}


def test_create_keeps_what_is_to_be_done() -> None:
    task = given(Task)

    task.create(
        title="Write",
        task_type="docs",
        description="Write the docs",
        priority=3,
        dependencies=["s/read"],
        created_at=NOON,
        details={"size": 3},
    )

    assert emitted(task) == [
        TaskCreated(
            title="Write",
            task_type="docs",
            description="Write the docs",
            priority=3,
            dependencies=("s/read",),
            created_at=NOON,
            details={"size": 3},
        )
    ]
    assert (task.status, task.title, task.dependencies) == ("created", "Write", ("s/read",))


def test_task_is_created_once() -> None:
    task = given(Task, *CREATED)

    with pytest.raises(TaskAlreadyCreatedError, match="exists already"):
        task.create()


@pytest.mark.parametrize("command", COMMANDS)
def test_task_that_was_never_created_refuses_everything(command: str) -> None:
    task = given(Task)

    with pytest.raises(TaskNotCreatedError, match="create it first"):
        COMMANDS[command](task)


@pytest.mark.parametrize("command", COMMANDS)
def test_completed_task_stays_completed(command: str) -> None:
    task = given(Task, *COMPLETED)

    with pytest.raises(TaskAlreadyCompletedError, match="is completed"):
        COMMANDS[command](task)

    assert emitted(task) == []


@pytest.mark.parametrize("history", [CREATED, QUEUED, STARTED, BLOCKED, FAILED])
def test_open_task_is_queued_and_keeps_its_priority(history: tuple[Event, ...]) -> None:
    task = given(Task, *history)

    task.queue(queued_at=NOON)

    assert emitted(task) == [TaskQueued(priority="high", queued_at=NOON)]
    assert task.status == "queued"


@pytest.mark.parametrize("history", [CREATED, QUEUED, BLOCKED, FAILED])
def test_task_is_started_from_wherever_it_waits(history: tuple[Event, ...]) -> None:
    task = given(Task, *history)

    task.start(agent_id="s/bob", started_at=NOON)

    assert emitted(task) == [TaskStarted(agent_id="s/bob", started_at=NOON)]
    assert (task.status, task.agent_id, task.blocked_by) == ("started", "s/bob", ())


def test_started_task_is_started_again_after_a_crash() -> None:
    task = given(Task, *STARTED)

    task.start(agent_id="s/bob")

    assert (task.agent_id, task.start_count, task.retry_count) == ("s/bob", 2, 0)


def test_start_after_a_failure_is_a_retry() -> None:
    task = given(Task, *FAILED)

    task.start(agent_id="s/bob")
    task.fail(error="again", failed_at=NOON)

    assert emitted(task) == [
        TaskStarted(agent_id="s/bob"),
        TaskFailed(error="again", retry_count=1, failed_at=NOON),
    ]


def test_retry_through_the_queue_counts_once() -> None:
    task = given(Task, *FAILED)

    task.queue()
    task.start()

    assert task.retry_count == 1


def test_only_a_started_task_is_completed() -> None:
    task = given(Task, *QUEUED)

    with pytest.raises(TaskNotStartedError, match="is queued, and nobody works on it"):
        task.complete()

    task.start()
    task.complete(result=[1], duration_seconds=2, completed_at=NOON)
    assert emitted(task)[-1] == TaskCompleted(result=[1], duration_seconds=2, completed_at=NOON)


@pytest.mark.parametrize("command", ["fail", "block"])
def test_failed_task_waits_for_a_retry(command: str) -> None:
    task = given(Task, *FAILED)

    with pytest.raises(TaskAlreadyFailedError, match="start it to try it again"):
        COMMANDS[command](task)


def test_blocked_task_says_what_it_waits_for() -> None:
    task = given(Task, *STARTED)

    task.block(blocked_by=["s/other"], blocked_at=NOON, details={"reason": "no data"})

    assert emitted(task) == [
        TaskBlocked(blocked_by=("s/other",), blocked_at=NOON, details={"reason": "no data"})
    ]
    assert (task.status, task.blocked_by) == ("blocked", ("s/other",))


def test_history_that_breaks_every_rule_is_folded_all_the_same() -> None:
    task = given(
        Task,
        TaskCompleted(),
        TaskStarted(),
        TaskStarted(agent_id="s/bob"),
        TaskCreated(title="late"),
        TaskCompleted(),
        TaskFailed(retry_count=7),
        TaskBlocked(),
        TaskCompleted(),
    )

    assert (task.version, task.title, task.status) == (8, "late", "completed")
    assert (task.start_count, task.retry_count) == (2, 7)
