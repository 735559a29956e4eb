"""Swarms: what they may do when, and the ids of their members."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st
from tests.unit.aggregates.conftest import emitted, given

from backstory import Event
from backstory_aggregates.swarm import (
    Swarm,
    SwarmAgentCountError,
    SwarmAlreadyInitializedError,
    SwarmErrorOccurred,
    SwarmInitialized,
    SwarmMilestoneAlreadyReachedError,
    SwarmMilestoneReached,
    SwarmNotRunningError,
    SwarmPhaseChanged,
    SwarmScaled,
    SwarmTerminated,
    member_id,
    split_member_id,
    swarm_id,
)

NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)
RUNNING = (SwarmInitialized(max_agents=5),)
TERMINATED = (*RUNNING, SwarmTerminated())

COMMANDS: dict[str, Callable[[Swarm], None]] = {
    "scale": lambda swarm: swarm.scale(new_agent_count=1),
    "change_phase": lambda swarm: swarm.change_phase(new_phase="plan"),
    "reach_milestone": lambda swarm: swarm.reach_milestone(milestone_id="m1"),
    "report_error": lambda swarm: swarm.report_error(error="lost"),
    "terminate": lambda swarm: swarm.terminate(),
}


def test_initialize_keeps_its_settings() -> None:
    swarm = given(Swarm)

    swarm.initialize(topology="star", max_agents=5, config={"model": "m"}, initialized_at=NOON)

    assert emitted(swarm) == [
        SwarmInitialized(topology="star", max_agents=5, config={"model": "m"}, initialized_at=NOON)
    ]
    assert (swarm.status, swarm.config) == ("running", {"model": "m"})


def test_swarm_is_initialized_once() -> None:
    swarm = given(Swarm, *RUNNING)

    with pytest.raises(SwarmAlreadyInitializedError, match="exists already"):
        swarm.initialize()


@pytest.mark.parametrize(("history", "status"), [((), "new"), (TERMINATED, "terminated")])
@pytest.mark.parametrize("command", COMMANDS)
def test_swarm_that_does_not_run_refuses_everything(
    history: tuple[Event, ...], status: str, command: str
) -> None:
    swarm = given(Swarm, *history)

    with pytest.raises(SwarmNotRunningError, match=f"is {status}, not running"):
        COMMANDS[command](swarm)

    assert emitted(swarm) == []


def test_scale_says_from_where_to_where() -> None:
    swarm = given(Swarm, *RUNNING)

    swarm.scale(new_agent_count=5, reason="much to do", scaled_at=NOON)
    swarm.scale(new_agent_count=5)
    swarm.scale(new_agent_count=0)

    assert emitted(swarm) == [
        SwarmScaled(previous_agent_count=0, new_agent_count=5, reason="much to do", scaled_at=NOON),
        SwarmScaled(previous_agent_count=5, new_agent_count=0),
    ]


@pytest.mark.parametrize("agent_count", [-1, 6])
def test_swarm_cannot_have_just_any_number_of_agents(agent_count: int) -> None:
    swarm = given(Swarm, *RUNNING)

    with pytest.raises(SwarmAgentCountError, match="it may have from 0 to 5"):
        swarm.scale(new_agent_count=agent_count)


def test_swarm_of_fewer_than_no_agents_is_refused() -> None:
    with pytest.raises(SwarmAgentCountError, match="0 or more"):
        given(Swarm).initialize(max_agents=-1)


def test_swarm_without_a_maximum_grows_as_it_likes() -> None:
    swarm = given(Swarm, SwarmInitialized())

    swarm.scale(new_agent_count=10_000)

    assert swarm.agent_count == 10_000


def test_phase_changes_from_the_one_before() -> None:
    swarm = given(Swarm, *RUNNING)

    swarm.change_phase(new_phase="plan")
    swarm.change_phase(new_phase="plan")
    swarm.change_phase(new_phase="build", changed_at=NOON)

    assert emitted(swarm) == [
        SwarmPhaseChanged(new_phase="plan"),
        SwarmPhaseChanged(previous_phase="plan", new_phase="build", changed_at=NOON),
    ]


def test_milestone_is_reached_once() -> None:
    swarm = given(Swarm, *RUNNING)

    swarm.reach_milestone(milestone_id="m1", name="First", reached_at=NOON)

    assert emitted(swarm) == [
        SwarmMilestoneReached(milestone_id="m1", name="First", reached_at=NOON)
    ]
    with pytest.raises(SwarmMilestoneAlreadyReachedError, match="'m1'"):
        swarm.reach_milestone(milestone_id="m1")


def test_errors_are_counted_and_the_swarm_goes_on() -> None:
    swarm = given(Swarm, *RUNNING)

    swarm.report_error(error="lost", stack="x", context={"tool": "book"}, occurred_at=NOON)

    assert emitted(swarm) == [
        SwarmErrorOccurred(error="lost", stack="x", context={"tool": "book"}, occurred_at=NOON)
    ]
    assert (swarm.error_count, swarm.status) == (1, "running")


def test_terminate_keeps_the_last_figures() -> None:
    swarm = given(Swarm, *RUNNING)

    swarm.terminate(reason="done", metrics={"games": 60}, terminated_at=NOON)

    assert emitted(swarm) == [
        SwarmTerminated(reason="done", metrics={"games": 60}, terminated_at=NOON)
    ]
    assert swarm.status == "terminated"


def test_history_that_breaks_every_rule_is_folded_all_the_same() -> None:
    swarm = given(
        Swarm,
        SwarmTerminated(),
        SwarmScaled(),
        SwarmScaled(new_agent_count=-3),
        SwarmPhaseChanged(),
        SwarmMilestoneReached(),
        SwarmMilestoneReached(milestone_id="m1"),
        SwarmMilestoneReached(milestone_id="m1", name="again"),
        SwarmErrorOccurred(),
        SwarmInitialized(),
        SwarmInitialized(topology="star"),
    )

    assert (swarm.version, swarm.status, swarm.topology) == (10, "running", "star")
    assert (swarm.agent_count, swarm.milestones) == (-3, {"m1": "again"})


@pytest.mark.parametrize(
    ("swarm", "id", "expected"),
    [
        ("s", "a", "s/a"),
        ("s", "talk/g001/m1/0", "s/talk%2Fg001%2Fm1%2F0"),
        ("a/b", "100%", "a%2Fb/100%25"),
        ("s", "%2F", "s/%252F"),
        ("s", "a\0b", "s/a%00b"),
        ("schwärme", "Ω ü", "schwärme/Ω ü"),
        ("s", "", "s/"),
    ],
)
def test_member_id_escapes_what_would_divide_it(swarm: str, id: str, expected: str) -> None:
    assert member_id(swarm, id) == expected
    assert split_member_id(expected) == (swarm, id)


@settings(deadline=None)
@for_all(st.text(), st.text())
def test_member_id_gives_back_any_swarm_and_id(swarm: str, id: str) -> None:
    assert split_member_id(member_id(swarm, id)) == (swarm, id)


def test_id_without_a_slash_belongs_to_no_swarm() -> None:
    assert split_member_id("write%2Fdocs") == (None, "write%2Fdocs")


def test_first_slash_divides_whatever_comes_behind_it() -> None:
    assert split_member_id("s/a/b") == ("s", "a/b")


def test_escape_that_member_id_would_not_write_stays_as_it_is() -> None:
    assert split_member_id("100%/a%2fb%20c%") == ("100%", "a%2fb%20c%")


def test_swarm_id_is_the_name_of_the_swarm() -> None:
    assert [swarm_id(name) for name in ("s", "a/b", "100%", "a\0b")] == [
        "s",
        "a/b",
        "100%",
        "a%00b",
    ]
