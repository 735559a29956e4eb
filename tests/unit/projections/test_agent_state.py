"""AgentState: every agent as it is now, and what it has done."""

import pytest
from tests.unit.projections.conftest import fold, minutes

from backstory import Event
from backstory_aggregates.agent.events import (
    AgentFailed,
    AgentSpawned,
    AgentStarted,
    AgentStatusChanged,
    AgentStopped,
    AgentTaskAssigned,
    AgentTaskCompleted,
)
from backstory_aggregates.task.events import TaskCompleted, TaskFailed
from backstory_projections import AgentHealth, AgentRow, AgentState, CompletionMetrics

pytestmark = pytest.mark.anyio


def ada(event: Event) -> tuple[str, Event]:
    return "agent-s/ada", event


def bob(event: Event) -> tuple[str, Event]:
    return "agent-other/bob", event


def agent(state: AgentState, agent_id: str = "s/ada") -> AgentRow:
    row = state.get_agent(agent_id)
    assert row is not None
    return row


async def test_life_of_an_agent_fills_its_row() -> None:
    state = await fold(
        AgentState,
        ada(AgentSpawned(role="writer", domain="docs", capabilities=("edit",))),
        ada(AgentStarted()),
        ada(AgentTaskAssigned(task_id="s/t")),
        ada(AgentTaskCompleted(task_id="s/t", duration_seconds=30)),
        ada(AgentStopped()),
    )

    assert agent(state) == AgentRow(
        id="s/ada",
        swarm="s",
        name="ada",
        role="writer",
        domain="docs",
        capabilities=("edit",),
        status="stopped",
        completed_tasks=["s/t"],
        task_count=1,
        total_task_duration_seconds=30.0,
        timed_task_count=1,
        spawned_at=minutes(0),
        started_at=minutes(1),
        stopped_at=minutes(4),
        last_activity_at=minutes(4),
    )


async def test_own_time_of_an_event_goes_before_that_of_the_store() -> None:
    state = await fold(AgentState, ada(AgentSpawned(spawned_at=minutes(-90))))

    assert agent(state).spawned_at == agent(state).last_activity_at == minutes(-90)


async def test_status_is_what_the_agent_last_said_of_itself() -> None:
    state = await fold(
        AgentState,
        ada(AgentStarted()),
        ada(AgentStatusChanged(new_status="thinking")),
        bob(AgentStarted()),
        bob(AgentStatusChanged()),
    )

    assert [row.id for row in state.get_agents_by_status("thinking")] == ["s/ada"]
    assert [row.id for row in state.get_agents_by_status("active")] == ["other/bob"]
    assert state.get_active_agent_count() == 2


async def test_agents_are_found_by_swarm_role_and_domain() -> None:
    state = await fold(
        AgentState,
        ada(AgentSpawned(role="writer", domain="docs")),
        bob(AgentSpawned(role="writer", domain="code")),
        ("agent-carol", AgentSpawned(role="critic")),
    )

    assert [row.id for row in state.get_all_agents()] == ["s/ada", "other/bob", "carol"]
    assert [row.id for row in state.get_all_agents(swarm="other")] == ["other/bob"]
    assert [row.id for row in state.get_agents_by_role("writer")] == ["s/ada", "other/bob"]
    assert [row.id for row in state.get_agents_by_role("writer", swarm="s")] == ["s/ada"]
    assert [row.id for row in state.get_agents_by_domain("code")] == ["other/bob"]
    assert agent(state, "carol").swarm is None
    assert state.get_agent("nobody") is None


async def test_active_agents_are_those_that_neither_stopped_nor_failed() -> None:
    state = await fold(
        AgentState,
        *[("agent-s/" + name, AgentStarted()) for name in "abcd"],
        ("agent-s/a", AgentStopped()),
        ("agent-s/b", AgentFailed()),
        ("agent-s/c", AgentFailed()),
        ("agent-s/c", AgentStarted()),
        ("agent-other/e", AgentSpawned()),
    )

    assert state.get_active_agent_count() == 2
    assert state.get_active_agent_count(swarm="other") == 0
    assert state.get_health() == AgentHealth(
        agent_count=5, active_count=2, stopped_count=1, failed_count=1, error_count=2
    )


async def test_current_task_is_the_last_one_that_is_open() -> None:
    history = [
        ada(AgentTaskAssigned(task_id="s/one")),
        ada(AgentTaskAssigned(task_id="s/two")),
        ada(AgentTaskAssigned(task_id="s/one")),
        ada(AgentTaskAssigned(task_id="s/three")),
        ada(AgentTaskCompleted(task_id="s/three")),
        ada(AgentTaskCompleted(task_id="s/two")),
        ada(AgentTaskCompleted(task_id="s/one")),
    ]

    states = [await fold(AgentState, *history[:end]) for end in range(1, 8)]

    assert [agent(state).current_task for state in states] == [
        "s/one",
        "s/two",
        "s/one",
        "s/three",
        "s/one",
        "s/one",
        None,
    ]
    assert states[-1].holders == {}


async def test_task_that_fails_is_a_failed_task_of_all_who_have_it() -> None:
    state = await fold(
        AgentState,
        ada(AgentTaskAssigned(task_id="s/t")),
        bob(AgentTaskAssigned(task_id="s/t")),
        ada(AgentTaskCompleted(task_id="s/t")),
        ("task-s/t", TaskFailed()),
        ("task-s/t", TaskFailed()),
    )

    assert agent(state).failed_tasks == []
    assert agent(state, "other/bob").failed_tasks == ["s/t"]
    assert agent(state, "other/bob").current_task is None
    assert state.holders == {}


async def test_task_that_is_completed_is_open_for_nobody() -> None:
    state = await fold(
        AgentState,
        ada(AgentTaskAssigned(task_id="s/t")),
        ("task-s/t", TaskCompleted()),
        ("task-s/t", TaskFailed()),
    )

    assert (agent(state).current_task, agent(state).failed_tasks) == (None, [])


async def test_completion_metrics_are_had_for_an_agent_a_swarm_and_all() -> None:
    state = await fold(
        AgentState,
        ada(AgentTaskAssigned(task_id="s/one")),
        ada(AgentTaskAssigned(task_id="s/two")),
        ada(AgentTaskCompleted(task_id="s/one", duration_seconds=2.5)),
        ("task-s/two", TaskFailed()),
        bob(AgentTaskAssigned(task_id="other/t")),
        bob(AgentTaskCompleted(task_id="other/t", duration_seconds=1)),
    )

    assert state.get_completion_metrics(swarm="s") == CompletionMetrics(2, 1, 1, 0.5, 2.5)
    assert state.get_completion_metrics(agent_id="other/bob") == CompletionMetrics(1, 1, 0, 1, 1)
    assert state.get_completion_metrics() == CompletionMetrics(3, 2, 1, 2 / 3, 1.75)
    assert state.get_completion_metrics(swarm="x") == CompletionMetrics(0, 0, 0, None, None)
    assert agent(state).average_task_duration_seconds == 2.5


async def test_impossible_durations_spoil_no_average() -> None:
    state = await fold(
        AgentState,
        *[
            ada(AgentTaskCompleted(task_id="s/t", duration_seconds=seconds))
            for seconds in (-1, 10**400, 1e300, 3)
        ],
    )

    assert state.get_completion_metrics().average_duration_seconds == 3
    assert len(agent(state).completed_tasks) == 4


async def test_history_in_any_order_is_folded() -> None:
    state = await fold(
        AgentState,
        ada(AgentTaskCompleted(task_id="s/t")),
        ada(AgentTaskCompleted()),
        ada(AgentTaskAssigned()),
        ada(AgentStopped(stopped_at=minutes(9))),
        ada(AgentSpawned(spawned_at=minutes(-9))),
        ("task-s/t", TaskFailed()),
        ("agent-s/e", AgentStatusChanged()),
    )

    row = agent(state)
    assert (row.status, row.task_count, row.completed_tasks) == ("spawned", 1, ["s/t"])
    assert row.average_task_duration_seconds is None
    assert agent(state, "s/e").status == "unknown"
