"""What becomes of an actor that has failed: a table of rules, and a limit to restarts.

The table is read from the top, and the first rule whose class fits the error decides. An error that
no rule fits is escalated: nobody has said what it means for the actor's state.

A restart gives up what the actor knew and keeps what waits for it, on the assumption that the
state was at fault. Where that is wrong, the new instance fails as well, and restarting would go on
for ever. So restarts within a window are counted, and one too many is not made: the failure is
escalated instead. The pause before each grows with the number of restarts in the window.
"""

from collections import deque
from enum import Enum
from typing import Final

from msgspec import Struct

from backstory._errors import InvalidInputError
from backstory._limits import check_integer, shorten
from backstory.actors._seconds import check_seconds

_DOUBLINGS_MAX: Final = 64
"""More than any pause needs; a float holds it."""


class Directive(Enum):
    """What is to be done with an actor that has failed."""

    RESUME = "resume"
    """Keep the instance, and go on with the next message."""
    RESTART = "restart"
    """Go on with the next message after a pause, with a new instance from the factory."""
    STOP = "stop"
    """Stop it for good; what waits for it becomes dead letters."""
    ESCALATE = "escalate"
    """Stop it for good, and let its parent fail with the error; without a parent, the system."""


class SupervisionPolicy(Struct, frozen=True, kw_only=True):
    """When an actor goes on, is restarted, or is given up.

        SupervisionPolicy(
            rules=((ValueError, Directive.RESUME), (Exception, Directive.RESTART)),
            restart_count_max=3,
            restart_window_seconds=10.0,
        )

    It is a value: it can be shared by many actors, compared and printed.

    Raises:
        InvalidInputError: A rule has no class of `Exception`, or can never be reached because of
            one above it; or a number is outside its range.
    """

    rules: tuple[tuple[type[Exception], Directive], ...] = ((Exception, Directive.RESTART),)
    """Which directive an error has: that of the first rule whose class it is an instance of.
    An error that no rule fits is escalated."""
    restart_count_max: int = 5
    """How many restarts there may be within the window; the next failure that would be one is
    escalated. 0: none."""
    restart_window_seconds: float = 60.0
    """How long a restart counts."""
    backoff_seconds: float = 0.1
    """The pause before the first restart within the window; each further one doubles it."""
    backoff_seconds_max: float = 10.0
    """The longest pause. Each is drawn between half of what is due and the whole."""

    def __post_init__(self) -> None:
        """Refuse what can never work."""
        for place, (error, _) in enumerate(self.rules):
            if not issubclass(error, Exception):  # pyright: ignore[reportUnnecessaryIsInstance]  # not everybody runs a type checker
                _refuse_rule(error, "must name subclasses of Exception")
            if any(issubclass(error, above) for above, _ in self.rules[:place]):
                _refuse_rule(error, "is never reached: a rule above fits first")
        check_integer("restart_count_max", self.restart_count_max, least=0)
        check_seconds("restart_window_seconds", self.restart_window_seconds)
        check_seconds("backoff_seconds", self.backoff_seconds)
        check_seconds("backoff_seconds_max", self.backoff_seconds_max)

    def directive_for(self, error: Exception) -> Directive:
        """Return the directive of the first rule that fits an error."""
        for cls, directive in self.rules:
            if isinstance(error, cls):
                return directive
        return Directive.ESCALATE

    def pause_seconds(self, restart_count: int, *, chance: float) -> float:
        """Return how long to wait before a restart.

        Args:
            restart_count: Which restart within the window it is, from 1.
            chance: From 0 for half of the pause that is due to 1 for the whole.
        """
        doublings = min(restart_count - 1, _DOUBLINGS_MAX)
        due = min(self.backoff_seconds * 2.0**doublings, self.backoff_seconds_max)
        return due * (1 + chance) / 2


def _refuse_rule(error: object, reason: str) -> None:
    raise InvalidInputError(argument="the rule for", found=shorten(error), reason=reason)


class Restarts:
    """When an actor was restarted, as far back as its policy's window goes."""

    __slots__ = ("_moments",)

    def __init__(self) -> None:
        self._moments: deque[float] = deque()

    def count_another(self, policy: SupervisionPolicy, now: float) -> int:
        """Count a restart, if the policy still allows one.

        Returns:
            Which one within the window it is; 0 when it is one too many, and was not counted.
        """
        while self._moments and self._moments[0] <= now - policy.restart_window_seconds:
            self._moments.popleft()
        if len(self._moments) >= policy.restart_count_max:
            return 0
        self._moments.append(now)
        return len(self._moments)
