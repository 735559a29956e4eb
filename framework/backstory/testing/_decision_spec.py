"""Given a log, when it is decided, then events: a decision over several streams as data.

Given events that the decision's `query` does not mean are passed over, as a store passes over them.
So a query that is too narrow, or asks for a tag that no event has, is found here.
"""

from typing import Any, Final, Generic, TypeVar, cast

from backstory._aggregate import EmittedEvent
from backstory._decision import Decides, Decision
from backstory._errors import ConfigurationError
from backstory._events import Event
from backstory._handlers import fold_event
from backstory._recorded import NewEvent
from backstory.testing._aggregate_spec import Outcome
from backstory.testing._events import GivenEvent, as_given, recorded_log

R = TypeVar("R")

_NOT_RETURNED: Final[Any] = object()


class DecisionSpec(Generic[R]):
    """A decision, and the log that it is made on.

        spec = DecisionSpec(BookSeat(seat="12A", buyer="ada"))

        spec.when_decided().then(SeatBooked(seat="12A"))
        taken = spec.given(recorded_on("buyer-bob", SeatBooked(seat="12A")))
        taken.when_decided().then_raises(SeatTakenError)

    Nothing here changes: each step returns something new, so that one log can be shared.
    """

    def __init__(self, decision: Decides[R]) -> None:
        """Begin with an empty log.

        Args:
            decision: An instance of a subclass of `Decision`.

        Raises:
            ConfigurationError: It is no decision.
        """
        if not isinstance(decision, Decision):
            raise ConfigurationError(f"{decision!r} is no decision: pass an instance of a Decision")
        self._decision: Decision = decision
        self._given: tuple[GivenEvent, ...] = ()

    def given(self, *events: Event | NewEvent | GivenEvent) -> "DecisionSpec[R]":
        """Return the specification with more in the log, behind what was given before.

        Args:
            events: Facts in the order of the log; `recorded_on(...)` says where one lies and who
                caused it. One that is passed as it is lies on the stream `test-1`.
        """
        spec = DecisionSpec(cast("Decides[R]", self._decision))
        spec._given = (*self._given, *map(as_given, events))
        return spec

    def when_decided(self) -> "Outcome[Decision, R]":
        """Make the decision on the log, and return what came of it.

        Its `state` is the decision as it has folded the log; `streams` says where the events go.

        Raises:
            BackstoryError: The given events cannot be folded, as a store's could not.
        """
        name = f"{type(self._decision).__name__}.decide"
        fresh = self._decision.fresh()
        query = fresh.query()
        for recorded in recorded_log(self._given):
            if query.matches(recorded):
                fold_event(fresh, fresh.handlers, recorded)
        try:
            returned = cast("R", fresh.decide())
        except Exception as error:  # noqa: BLE001 - what was raised is what the test may be about
            return Outcome(name, fresh, (), _NOT_RETURNED, error)
        return Outcome(name, fresh, _events(fresh.emitted), returned, None, _streams(fresh.emitted))


def _events(emitted: list[tuple[str, EmittedEvent]]) -> tuple[Event, ...]:
    return tuple(one.event for _, one in emitted)


def _streams(emitted: list[tuple[str, EmittedEvent]]) -> tuple[str, ...]:
    return tuple(stream_id for stream_id, _ in emitted)
