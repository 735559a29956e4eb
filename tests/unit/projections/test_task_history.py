"""TaskHistory: every task, what became of it, and who worked on it."""

import pytest
from tests.unit.projections.conftest import fold, minutes

from backstory import Event
from backstory_aggregates.agent.events import AgentTaskAssigned
from backstory_aggregates.task.events import (
    TaskBlocked,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    TaskQueued,
    TaskStarted,
)
from backstory_projections import TaskHistory, TaskRow

pytestmark = pytest.mark.anyio


def task(event: Event, id: str = "s/t") -> tuple[str, Event]:
    return f"task-{id}", event


def row_of(history: TaskHistory, task_id: str = "s/t") -> TaskRow:
    row = history.get_task(task_id)
    assert row is not None
    return row


async def test_life_of_a_task_fills_its_row() -> None:
    history = await fold(
        TaskHistory,
        task(
            TaskCreated(
                task_type="docs",
                title="Write",
                description="Write the docs",
                priority="high",
                dependencies=("s/u",),
            )
        ),
        task(TaskQueued()),
        task(TaskStarted(agent_id="s/ada")),
        task(TaskCompleted(result={"pages": 3}, duration_seconds=30)),
    )

    assert row_of(history) == TaskRow(
        id="s/t",
        swarm="s",
        name="t",
        type="docs",
        title="Write",
        description="Write the docs",
        status="completed",
        priority="high",
        assigned_agent="s/ada",
        agents={"s/ada": minutes(2)},
        dependencies=("s/u",),
        created_at=minutes(0),
        queued_at=minutes(1),
        started_at=minutes(2),
        completed_at=minutes(3),
        duration_seconds=30,
        result={"pages": 3},
        start_count=1,
    )


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (TaskCreated(), "created"),
        (TaskQueued(), "queued"),
        (TaskStarted(), "started"),
        (TaskBlocked(), "blocked"),
        (TaskCompleted(), "completed"),
        (TaskFailed(), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_status_is_what_last_became_of_the_task(event: Event, status: str) -> None:
    history = await fold(TaskHistory, task(TaskCompleted()), task(event))

    assert [row.id for row in history.get_tasks_by_status(status)] == ["s/t"]
    assert history.count_by_status() == {status: 1}


async def test_task_that_failed_and_succeeds_keeps_its_retries_and_no_error() -> None:
    history = [
        task(TaskStarted(agent_id="s/ada")),
        task(TaskFailed(error="lost")),
        task(TaskStarted(agent_id="s/bob")),
        task(TaskCompleted()),
    ]

    failed = row_of(await fold(TaskHistory, *history[:2]))
    completed = row_of(await fold(TaskHistory, *history))

    assert (failed.error, failed.failed_at, failed.retry_count) == ("lost", minutes(1), 0)
    assert (completed.error, completed.retry_count, completed.start_count) == (None, 1, 2)
    assert list(completed.agents) == ["s/ada", "s/bob"]


async def test_said_retries_go_before_counted_ones() -> None:
    history = await fold(TaskHistory, task(TaskFailed(retry_count=4)), task(TaskQueued()))

    assert row_of(history).retry_count == 5


async def test_blocked_task_says_what_it_waits_for_until_it_goes_on() -> None:
    history = [task(TaskBlocked(blocked_by=("s/u",))), task(TaskStarted())]

    assert row_of(await fold(TaskHistory, *history[:1])).blocked_by == ("s/u",)
    assert row_of(await fold(TaskHistory, *history)).blocked_by == ()


async def test_tasks_are_found_by_swarm_type_and_agent() -> None:
    history = await fold(
        TaskHistory,
        task(TaskCreated(task_type="docs")),
        task(TaskCreated(task_type="docs"), "other/t"),
        task(TaskCreated(), "alone"),
        task(TaskStarted(agent_id="s/ada"), "alone"),
        ("agent-s/ada", AgentTaskAssigned(task_id="s/t")),
        ("agent-s/bob", AgentTaskAssigned(task_id="s/t")),
    )

    assert [row.id for row in history.get_all_tasks(swarm="other")] == ["other/t"]
    assert [row.id for row in history.get_tasks_by_type("docs")] == ["s/t", "other/t"]
    assert [row.id for row in history.get_tasks_by_type("docs", swarm="s")] == ["s/t"]
    assert [row.id for row in history.get_tasks_by_agent("s/ada")] == ["s/t", "alone"]
    assert row_of(history).assigned_agent == "s/bob"
    assert history.get_task("nothing") is None


async def test_task_that_is_only_spoken_of_is_none_yet() -> None:
    history = await fold(
        TaskHistory,
        ("agent-s/ada", AgentTaskAssigned(task_id="s/t")),
        ("agent-s/ada", AgentTaskAssigned()),
    )

    assert history.get_all_tasks() == []


async def test_rates_count_what_has_ended() -> None:
    history = await fold(
        TaskHistory,
        *[task(TaskCompleted(), f"s/{n}") for n in range(3)],
        task(TaskFailed(), "s/3"),
        task(TaskStarted(), "s/4"),
        task(TaskFailed(), "other/t"),
    )

    assert history.get_completed_task_count() == 3
    assert (history.get_success_rate(swarm="s"), history.get_failure_rate(swarm="s")) == (
        0.75,
        0.25,
    )
    assert (history.get_success_rate(), history.get_failure_rate()) == (0.6, 0.4)
    assert history.get_success_rate(swarm="none") is None
    assert history.get_failure_rate(swarm="none") is None


async def test_duration_is_had_from_times_that_were_said() -> None:
    history = await fold(
        TaskHistory,
        task(TaskStarted(started_at=minutes(0))),
        task(TaskStarted(started_at=minutes(1))),
        task(TaskCompleted(completed_at=minutes(3))),
        task(TaskStarted(started_at=minutes(3)), "s/back"),
        task(TaskCompleted(completed_at=minutes(1)), "s/back"),
        task(TaskStarted(), "s/unsaid"),
        task(TaskCompleted(completed_at=minutes(9)), "s/unsaid"),
        task(TaskStarted(started_at=minutes(0)), "s/again"),
        task(TaskStarted(), "s/again"),
        task(TaskCompleted(completed_at=minutes(9)), "s/again"),
        task(TaskStarted(started_at=minutes(0)), "s/failed"),
        task(TaskFailed(), "s/failed"),
        task(TaskCompleted(completed_at=minutes(9)), "s/failed"),
    )

    durations = {row.id: row.duration_seconds for row in history.get_all_tasks()}
    assert durations.pop("s/t") == 120
    assert set(durations.values()) == {None}
    assert history.get_average_task_duration() == 120
    assert history.said_starts == {}


async def test_average_duration_leaves_impossible_ones_out() -> None:
    history = await fold(
        TaskHistory,
        *[
            task(TaskCompleted(duration_seconds=seconds), f"s/{n}")
            for n, seconds in enumerate((2, 4.0, -1, 10**400))
        ],
    )

    assert history.get_average_task_duration() == 3
    assert history.get_average_task_duration(swarm="none") is None
