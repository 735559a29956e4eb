"""SwarmState: every swarm as it is now."""

import pytest
from tests.unit.projections.conftest import fold, minutes

from backstory import Event
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
)
from backstory_aggregates.task.events import TaskCompleted, TaskCreated, TaskFailed, TaskStarted
from backstory_projections import Milestone, SwarmFault, SwarmRow, SwarmState

pytestmark = pytest.mark.anyio


def swarm(event: Event, id: str = "s") -> tuple[str, Event]:
    return f"swarm-{id}", event


def row_of(state: SwarmState, name: str = "s") -> SwarmRow:
    row = state.get_swarm(name)
    assert row is not None
    return row


async def test_life_of_a_swarm_fills_its_row() -> None:
    state = await fold(
        SwarmState,
        swarm(SwarmInitialized(topology="star", max_agents=5, config={"model": "m"})),
        swarm(SwarmScaled(new_agent_count=3)),
        swarm(SwarmPhaseChanged(new_phase="plan")),
        swarm(SwarmMilestoneReached(milestone_id="m1", name="First")),
        swarm(SwarmErrorOccurred(error="lost")),
        swarm(SwarmTerminated(reason="done")),
        actor="s/ada",
    )

    assert row_of(state) == SwarmRow(
        id="s",
        status="terminated",
        topology="star",
        max_agents=5,
        config={"model": "m"},
        phase="plan",
        scaled_agent_count=3,
        milestones=[Milestone("m1", "First", minutes(3))],
        errors=[SwarmFault("lost", "s/ada", minutes(4))],
        error_count=1,
        initialized_at=minutes(0),
        terminated_at=minutes(5),
    )


async def test_agents_are_counted_once_and_active_as_long_as_they_are() -> None:
    history = [
        ("agent-s/a", AgentSpawned()),
        ("agent-s/a", AgentStarted()),
        ("agent-s/b", AgentStarted()),
        ("agent-s/b", AgentStarted()),
        ("agent-s/a", AgentStopped()),
        ("agent-s/a", AgentStopped()),
        ("agent-s/b", AgentFailed()),
        ("agent-other/c", AgentStopped()),
    ]

    counts = [
        (row.agent_count, row.active_agent_count)
        for end in range(1, len(history) + 1)
        for row in [row_of(await fold(SwarmState, *history[:end]))]
    ]

    assert counts == [(1, 0), (1, 1), (2, 2), (2, 2), (2, 1), (2, 1), (2, 0), (2, 0)]


async def test_tasks_are_counted_by_what_last_became_of_them() -> None:
    state = await fold(
        SwarmState,
        *[(f"task-s/{name}", TaskCreated()) for name in "abcd"],
        ("task-s/a", TaskStarted()),
        ("task-s/a", TaskStarted()),
        ("task-s/b", TaskStarted()),
        ("task-s/b", TaskFailed()),
        ("task-s/c", TaskCompleted()),
        ("task-other/a", TaskCreated()),
        ("task-other/a", TaskCompleted()),
    )

    row = row_of(state)
    assert row.task_count == 4
    assert row.tasks_by_status == {"created": 1, "started": 1, "failed": 1, "completed": 1}
    assert row_of(state, "other").tasks_by_status == {"completed": 1}


async def test_swarm_is_known_by_its_members_alone() -> None:
    state = await fold(
        SwarmState,
        ("task-a%2Fb/t", TaskCreated()),
        ("agent-a%2Fb/x", AgentSpawned()),
        swarm(SwarmPhaseChanged(new_phase="plan"), "a/b"),
        ("agent-alone", AgentStarted()),
        ("task-alone", TaskCreated()),
    )

    assert [row.id for row in state.get_all_swarms()] == ["a/b"]
    assert (row_of(state, "a/b").status, row_of(state, "a/b").agent_count) == ("unknown", 1)
    assert state.get_swarm("s") is None


async def test_swarms_are_found_by_status() -> None:
    state = await fold(
        SwarmState,
        swarm(SwarmInitialized()),
        swarm(SwarmInitialized(), "other"),
        swarm(SwarmTerminated(), "other"),
    )

    assert [row.id for row in state.get_swarms_by_status("running")] == ["s"]
    assert [row.id for row in state.get_swarms_by_status("terminated")] == ["other"]


async def test_only_the_last_hundred_errors_are_kept() -> None:
    state = await fold(SwarmState, *[swarm(SwarmErrorOccurred(error=str(n))) for n in range(130)])

    row = row_of(state)
    assert row.error_count == 130
    assert [fault.error for fault in row.errors] == [str(n) for n in range(30, 130)]


async def test_history_in_any_order_is_folded() -> None:
    state = await fold(
        SwarmState,
        swarm(SwarmTerminated(terminated_at=minutes(9))),
        swarm(SwarmScaled()),
        swarm(SwarmMilestoneReached()),
        swarm(SwarmMilestoneReached()),
        swarm(SwarmErrorOccurred()),
        swarm(SwarmPhaseChanged()),
        swarm(SwarmInitialized(initialized_at=minutes(-9))),
    )

    row = row_of(state)
    assert (row.status, len(row.milestones), row.error_count) == ("running", 2, 1)
    assert (row.initialized_at, row.terminated_at) == (minutes(-9), minutes(9))
