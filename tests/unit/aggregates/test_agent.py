"""Agents: what they may do when."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.unit.aggregates.conftest import emitted, given

from backstory import EncodeError, Event
from backstory_aggregates.agent import (
    Agent,
    AgentAlreadyActiveError,
    AgentAlreadySpawnedError,
    AgentFailed,
    AgentNotActiveError,
    AgentNotSpawnedError,
    AgentSpawned,
    AgentStarted,
    AgentStatusChanged,
    AgentStopped,
    AgentTaskAlreadyAssignedError,
    AgentTaskAssigned,
    AgentTaskCompleted,
    AgentTaskNotAssignedError,
)

NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)
SPAWNED = (AgentSpawned(),)
ACTIVE = (AgentSpawned(), AgentStarted())
STOPPED = (*ACTIVE, AgentStopped())
FAILED = (*ACTIVE, AgentFailed())

COMMANDS: dict[str, Callable[[Agent], None]] = {
    "start": lambda agent: agent.start(),
    "stop": lambda agent: agent.stop(),
    "fail": lambda agent: agent.fail(error="lost"),
    "change_status": lambda agent: agent.change_status(new_status="thinking"),
    "assign_task": lambda agent: agent.assign_task(task_id="s/t"),
    "complete_task": lambda agent: agent.complete_task(task_id="s/t"),
}


def test_spawn_keeps_what_the_agent_is_for() -> None:
    agent = given(Agent)

    agent.spawn(role="planner", domain="travel", capabilities=["search"], spawned_at=NOON)

    assert emitted(agent) == [
        AgentSpawned(role="planner", domain="travel", capabilities=("search",), spawned_at=NOON)
    ]
    assert (agent.role, agent.domain, agent.capabilities) == ("planner", "travel", ("search",))
    assert (agent.lifecycle, agent.status) == ("spawned", "spawned")


def test_agent_is_spawned_once() -> None:
    agent = given(Agent, *SPAWNED)

    with pytest.raises(AgentAlreadySpawnedError, match="'s/7' exists already"):
        agent.spawn()

    assert emitted(agent) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_agent_that_was_never_spawned_refuses_everything(command: str) -> None:
    agent = given(Agent)

    with pytest.raises(AgentNotSpawnedError, match="spawn it first"):
        COMMANDS[command](agent)

    assert emitted(agent) == []


@pytest.mark.parametrize("history", [SPAWNED, STOPPED, FAILED])
def test_agent_starts_for_the_first_time_or_again(history: tuple[Event, ...]) -> None:
    agent = given(Agent, *history)

    agent.start(started_at=NOON)

    assert emitted(agent) == [AgentStarted(started_at=NOON)]
    assert (agent.lifecycle, agent.status) == ("active", "active")


def test_active_agent_does_not_start_again() -> None:
    agent = given(Agent, *ACTIVE)

    with pytest.raises(AgentAlreadyActiveError):
        agent.start()


@pytest.mark.parametrize("history", [SPAWNED, ACTIVE, FAILED])
def test_agent_stops_unless_it_is_stopped(history: tuple[Event, ...]) -> None:
    agent = given(Agent, *history)

    agent.stop(reason="done", stopped_at=NOON)

    assert emitted(agent) == [AgentStopped(reason="done", stopped_at=NOON)]
    with pytest.raises(AgentNotActiveError, match="is stopped and cannot stop"):
        agent.stop()


@pytest.mark.parametrize("history", [SPAWNED, ACTIVE])
def test_agent_fails_once_until_it_starts_again(history: tuple[Event, ...]) -> None:
    agent = given(Agent, *history)

    agent.fail(error="lost", stack="main.py:7", failed_at=NOON)

    assert emitted(agent) == [AgentFailed(error="lost", stack="main.py:7", failed_at=NOON)]
    assert agent.error_count == 1
    with pytest.raises(AgentNotActiveError):
        agent.fail()


@pytest.mark.parametrize("history", [STOPPED, FAILED])
@pytest.mark.parametrize("command", ["change_status", "assign_task", "complete_task"])
def test_agent_that_has_ended_takes_nothing_on(history: tuple[Event, ...], command: str) -> None:
    agent = given(Agent, *history)

    with pytest.raises(AgentNotActiveError, match="start it first"):
        COMMANDS[command](agent)


def test_status_is_a_word_beside_the_lifecycle() -> None:
    agent = given(Agent, *ACTIVE)

    agent.change_status(new_status="thinking")

    assert emitted(agent) == [AgentStatusChanged(previous_status="active", new_status="thinking")]
    assert (agent.lifecycle, agent.status) == ("active", "thinking")


def test_status_that_is_known_is_not_said_again() -> None:
    agent = given(Agent, *ACTIVE, AgentStatusChanged(new_status="thinking"))

    agent.change_status(new_status="thinking")

    assert emitted(agent) == []


def test_agent_completes_a_task_that_it_was_assigned() -> None:
    agent = given(Agent, *ACTIVE)

    agent.assign_task(task_id="s/t", assigned_at=NOON)
    agent.complete_task(task_id="s/t", result={"pages": 3}, duration_seconds=1.5)

    assert emitted(agent) == [
        AgentTaskAssigned(task_id="s/t", assigned_at=NOON),
        AgentTaskCompleted(task_id="s/t", result={"pages": 3}, duration_seconds=1.5),
    ]
    assert (agent.assigned_tasks, agent.completed_task_count) == ({}, 1)


def test_agent_has_several_tasks_and_each_once() -> None:
    agent = given(Agent, *ACTIVE)

    agent.assign_task(task_id="s/one")
    agent.assign_task(task_id="s/two")

    assert list(agent.assigned_tasks) == ["s/one", "s/two"]
    with pytest.raises(AgentTaskAlreadyAssignedError, match="'s/two'"):
        agent.assign_task(task_id="s/two")


def test_agent_completes_no_task_of_somebody_else() -> None:
    agent = given(Agent, *ACTIVE)

    with pytest.raises(AgentTaskNotAssignedError, match="assign it first"):
        agent.complete_task(task_id="s/t")


def test_time_without_a_zone_is_refused() -> None:
    agent = given(Agent)

    with pytest.raises(EncodeError, match="spawned_at"):
        agent.spawn(spawned_at=datetime(2026, 1, 7))  # noqa: DTZ001 - that is the point


def test_details_are_the_callers_no_longer() -> None:
    details = {"model": "m"}
    agent = given(Agent)

    agent.spawn(details=details)
    details["model"] = "other"

    assert emitted(agent) == [AgentSpawned(details={"model": "m"})]


def test_history_that_breaks_every_rule_is_folded_all_the_same() -> None:
    agent = given(
        Agent,
        AgentTaskCompleted(task_id="s/t"),
        AgentTaskCompleted(),
        AgentTaskAssigned(),
        AgentStopped(),
        AgentStatusChanged(),
        AgentStarted(),
        AgentStarted(),
        AgentSpawned(role="late"),
        AgentSpawned(role="twice"),
        AgentFailed(),
        AgentTaskAssigned(task_id="s/t"),
    )

    assert (agent.version, agent.role, agent.lifecycle) == (11, "twice", "failed")
    assert (agent.completed_task_count, list(agent.assigned_tasks)) == (2, ["s/t"])
