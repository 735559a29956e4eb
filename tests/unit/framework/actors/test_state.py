"""The states of an actor: a table, of which nothing is left out and nothing goes beyond."""

import re
from itertools import product
from pathlib import Path

import pytest

from backstory.actors import ActorState
from backstory.actors._state import TRANSITIONS, Trigger, follow

PAGE = Path(__file__).parents[4] / "docs" / "explanation" / "actors.md"
ILLEGAL = sorted(
    set(product(ActorState, Trigger)) - TRANSITIONS.keys(),
    key=lambda pair: (pair[0].value, pair[1].value),
)


@pytest.mark.parametrize(("state", "trigger"), TRANSITIONS)
def test_what_is_in_the_table_follows(state: ActorState, trigger: Trigger) -> None:
    assert follow(state, trigger) is TRANSITIONS[state, trigger]


@pytest.mark.parametrize(("state", "trigger"), ILLEGAL)
def test_what_is_not_in_the_table_is_a_mistake(state: ActorState, trigger: Trigger) -> None:
    with pytest.raises(AssertionError, match=state.value):
        follow(state, trigger)


def test_every_state_leads_to_the_end() -> None:
    ending = {ActorState.STOPPED}

    for _ in ActorState:
        ending |= {source for (source, _), target in TRANSITIONS.items() if target in ending}

    assert ending == set(ActorState)


def test_every_living_state_can_be_stopped() -> None:
    stoppable = {source for source, trigger in TRANSITIONS if trigger is Trigger.STOPPED}

    assert stoppable == set(ActorState) - {ActorState.STOPPING, ActorState.STOPPED}


def test_page_shows_the_table() -> None:
    shown = re.findall(
        r"^\| (\S[^|]*) \| (\S[^|]*) \| (\S[^|]*) \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )

    table = [
        (source.value, trigger.value, target.value)
        for (source, trigger), target in TRANSITIONS.items()
    ]
    assert [row for row in shown if row[2] in {state.value for state in ActorState}] == table
