"""The rules of supervision, their limit, and their pauses."""

import pytest

from backstory import InvalidInputError
from backstory.actors import Directive, SupervisionPolicy
from backstory.actors._supervisor import Restarts

POLICY = SupervisionPolicy(
    rules=((ValueError, Directive.RESUME), (Exception, Directive.RESTART)),
    restart_count_max=2,
    restart_window_seconds=10.0,
    backoff_seconds=1.0,
    backoff_seconds_max=3.0,
)


class LateError(ValueError):
    pass


@pytest.mark.parametrize(
    ("error", "directive"),
    [
        (ValueError("no"), Directive.RESUME),
        (LateError("no"), Directive.RESUME),
        (KeyError("no"), Directive.RESTART),
    ],
)
def test_first_rule_that_fits_decides(error: Exception, directive: Directive) -> None:
    assert POLICY.directive_for(error) is directive


def test_error_without_a_rule_is_escalated() -> None:
    policy = SupervisionPolicy(rules=((ValueError, Directive.RESUME),))

    assert policy.directive_for(KeyError("no")) is Directive.ESCALATE


def test_rule_that_is_never_reached_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="never reached"):
        SupervisionPolicy(rules=((ValueError, Directive.STOP), (LateError, Directive.RESUME)))


def test_rule_for_more_than_exceptions_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="subclasses of Exception"):
        SupervisionPolicy(rules=((KeyboardInterrupt, Directive.STOP),))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["restart_window_seconds", "backoff_seconds", "backoff_seconds_max"]
)
def test_impossible_time_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(InvalidInputError, match=name):
        SupervisionPolicy(**{name: seconds})  # type: ignore[arg-type]  # one name of many


def test_negative_number_of_restarts_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="restart_count_max"):
        SupervisionPolicy(restart_count_max=-1)


@pytest.mark.parametrize(
    ("restart_count", "chance", "seconds"),
    [(1, 1.0, 1.0), (1, 0.0, 0.5), (2, 1.0, 2.0), (3, 1.0, 3.0), (1_000_000, 1.0, 3.0)],
)
def test_pause_doubles_up_to_its_limit(restart_count: int, chance: float, seconds: float) -> None:
    assert POLICY.pause_seconds(restart_count, chance=chance) == seconds


def test_one_restart_too_many_is_not_counted() -> None:
    restarts = Restarts()

    assert [restarts.count_another(POLICY, now) for now in (0.0, 1.0, 2.0)] == [1, 2, 0]


def test_restarts_before_the_window_are_forgotten() -> None:
    restarts = Restarts()
    for now in (0.0, 1.0):
        restarts.count_another(POLICY, now)

    assert restarts.count_another(POLICY, 9.9) == 0
    assert restarts.count_another(POLICY, 10.0) == 2
