"""Specifications of decisions: what passes, and what a failed one says."""

import pytest

from backstory import (
    ConfigurationError,
    Decision,
    DomainError,
    Event,
    EventFilter,
    on,
    where,
)
from backstory.testing import DecisionSpec, recorded_on


class Taken(Event, type="spec:taken"):
    seat: str

    def event_tags(self) -> list[str]:
        return [f"seat:{self.seat}"]


class Take(Decision):
    seat: str
    by: str
    takers: int = 0

    def query(self) -> EventFilter:
        return where(types=[Taken], tags=[f"seat:{self.seat}"])

    @on(Taken)
    def _taken(self, event: Taken) -> None:
        self.takers += 1

    def decide(self) -> str:
        if self.takers:
            raise DomainError(f"seat {self.seat} is taken")
        self.emit(Taken(seat=self.seat), stream_id=f"buyer-{self.by}")
        return self.by


SPEC = DecisionSpec(Take(seat="1", by="ada"))


def test_decision_emits_returns_and_says_where() -> None:
    outcome = SPEC.when_decided()

    outcome.then(Taken(seat="1")).then_into("buyer-ada").then_returns("ada").then_state(takers=0)


def test_given_events_are_folded_as_far_as_they_are_meant() -> None:
    other = SPEC.given(recorded_on("buyer-bob", Taken(seat="2")))
    taken = other.given(Taken(seat="1"))

    other.when_decided().then(Taken(seat="1"))
    taken.when_decided().then_raises(DomainError, match="seat 1 is taken")
    taken.when_decided().then_state(takers=1)


def test_other_stream_is_named() -> None:
    with pytest.raises(AssertionError, match=r"emitted into \('buyer-ada',\), expected \('x-1',\)"):
        SPEC.when_decided().then_into("x-1")


def test_other_events_are_shown_side_by_side() -> None:
    with pytest.raises(AssertionError, match=r"(?s)- Taken\(seat='2'\).*\+ Taken\(seat='1'\)"):
        SPEC.when_decided().then(Taken(seat="2"))


def test_class_instead_of_an_instance_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no decision"):
        DecisionSpec(Take)  # type: ignore[arg-type]  # the mistake under test  # pyright: ignore[reportArgumentType]
