"""A store that fails when it is told to.

It stands in front of any other store, passes on what it is asked, and lets chosen calls fail, wait,
lose their answer, or take the whole store down. What is called is the side that a store supplies:
an `append` is a `commit` here, an iteration is a `read_page` or a `read_stream_page` for each page.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, get_args

import anyio
from msgspec import Struct

from backstory._errors import InvalidInputError, StoreUnavailableError
from backstory._limits import check_integer
from backstory._store import EventStore
from backstory.testing._forwarding_store import ForwardingStore, Verb

T = TypeVar("T")

_VERBS: Final[tuple[Verb, ...]] = get_args(Verb)
WRITING: Final = frozenset(
    {
        *("commit", "put_snapshot", "drop_snapshots"),
        *("put_progress", "drop_checkpoint", "put_notes"),
    }
)
"""The verbs that write, so that without an answer their outcome is unknown."""

_NAME: Final = "the faulty store"


class StoreCall(Struct, frozen=True):
    """A call that a `FaultyStore` was asked for."""

    verb: Verb
    """What was asked for."""
    arguments: tuple[object, ...]
    """With what."""


class Delay:
    """Calls that wait until the test lets them go; from `FaultyStore.delay`."""

    def __init__(self) -> None:
        self._reached = anyio.Event()
        self._released = anyio.Event()

    async def wait_reached(self) -> None:
        """Return when a call has begun to wait."""
        await self._reached.wait()

    def release(self) -> None:
        """Let go what waits, and what would have waited."""
        self._released.set()

    async def pause(self) -> None:
        """Wait to be released."""
        self._reached.set()
        await self._released.wait()


class _Fault:
    """What is to happen to some calls of one verb."""

    def __init__(
        self,
        verb: Verb,
        run: Callable[[Callable[[], Awaitable[object]]], Awaitable[object]],
        *,
        at: int,
        times: int | None,
        probability: float,
    ) -> None:
        if verb not in _VERBS:
            reason = f"must be one of {', '.join(_VERBS)}"
            raise InvalidInputError(argument="verb", found=repr(verb), reason=reason)
        check_integer("at", at, least=1)
        check_integer("times", 1 if times is None else times, least=1)
        self.verb = verb
        self.run = run
        self._calls_before = at - 1
        self._times_left = times
        self._probability = probability

    def count_call(self) -> bool:
        """Count a call, and tell whether it is one that may be struck."""
        is_reached = self._calls_before == 0
        self._calls_before -= not is_reached
        return is_reached and self._times_left != 0

    def strikes(self, chance: random.Random) -> bool:
        """Tell whether it strikes the call that was counted."""
        if chance.random() >= self._probability:
            return False
        if self._times_left is not None:
            self._times_left -= 1
        return True


class FaultyStore(ForwardingStore):
    """A store in front of another, which fails, waits or breaks down where a test says so.

        store = FaultyStore(InMemoryStore())
        store.lose_answer("commit")

        with pytest.raises(StoreUnavailableError):  # it was written all the same
            await store.append("task-1", events, expected_version=0)
        receipt = await store.append("task-1", events, expected_version=0)

    Faults strike calls of one verb: the next one when nothing else is said. They can be joined; the
    one that was told first strikes first, and a call is struck by one at most.
    """

    def __init__(self, store: EventStore, *, seed: int = 0) -> None:
        """Put a store behind this one.

        Args:
            store: Any store; opened and closed through this one.
            seed: What faults with a probability are drawn from: the same seed, the same faults.
        """
        super().__init__(store)
        self.calls: list[StoreCall] = []
        """Every call so far, struck or not, in its order."""
        self._chance = random.Random(seed)  # noqa: S311 - reproducible, and not for secrets
        self._faults: list[_Fault] = []
        self._under_way: set[anyio.CancelScope] = set()
        self._is_down = False

    def fail(
        self, verb: Verb, *, at: int = 1, times: int | None = 1, probability: float = 1.0
    ) -> None:
        """Let calls fail with nothing done: `StoreUnavailableError`.

        Args:
            verb: Calls of what.
            at: The first call that is struck, counted from now on; 1 is the next.
            times: How many calls are struck; None for all from then on.
            probability: How likely each of them is struck, drawn from the seed.

        Raises:
            InvalidInputError: There is no such verb, or a number is none.
        """

        async def fail(_call: Callable[[], Awaitable[object]]) -> object:
            raise unavailable(_NAME, verb, "a fault was asked for")

        self._add(_Fault(verb, fail, at=at, times=times, probability=probability))

    def lose_answer(
        self, verb: Verb, *, at: int = 1, times: int | None = 1, probability: float = 1.0
    ) -> None:
        """Let calls be done, and their answers be lost.

        What is raised is a `StoreUnavailableError`, with `outcome_unknown` where something was
        written. A call that the store refuses is refused as ever.

        Args:
            verb: As for `fail`.
            at: As for `fail`.
            times: As for `fail`.
            probability: As for `fail`.

        Raises:
            InvalidInputError: As for `fail`.
        """

        async def lose(call: Callable[[], Awaitable[object]]) -> object:
            await call()
            raise unavailable(_NAME, verb, "the answer was lost", is_begun=True)

        self._add(_Fault(verb, lose, at=at, times=times, probability=probability))

    def delay(self, verb: Verb, *, at: int = 1, times: int | None = 1) -> Delay:
        """Let calls wait before they are made, until the test releases them.

        Args:
            verb: As for `fail`.
            at: As for `fail`.
            times: As for `fail`.

        Returns:
            What tells when a call waits, and lets it go.

        Raises:
            InvalidInputError: As for `fail`.
        """
        delay = Delay()

        async def wait(call: Callable[[], Awaitable[object]]) -> object:
            await delay.pause()
            return await call()

        self._add(_Fault(verb, wait, at=at, times=times, probability=1.0))
        return delay

    def crash_at(self, verb: Verb, *, at: int = 1, is_done: bool = False) -> None:
        """Let the store break down in a call, as by `crash`.

        Args:
            verb: As for `fail`.
            at: As for `fail`.
            is_done: Whether the call is done before the store breaks down. Either way whoever made
                it cannot know.

        Raises:
            InvalidInputError: As for `fail`.
        """

        async def crash(call: Callable[[], Awaitable[object]]) -> object:
            if is_done:
                await call()
            self.crash()
            raise unavailable(_NAME, verb, "the store went down", is_begun=True)

        self._add(_Fault(verb, crash, at=at, times=1, probability=1.0))

    def crash(self) -> None:
        """Let the store break down: every call fails until it is opened again.

        Calls that are under way fail too: writing ones with `outcome_unknown`, since they may be
        done or not.
        """
        self._is_down = True
        for scope in self._under_way:
            scope.cancel()

    def heal(self) -> None:
        """Forget every fault that has not struck yet; what waits goes on waiting."""
        self._faults.clear()

    def count(self, verb: Verb) -> int:
        """Return how many calls of a verb there were."""
        return sum(call.verb == verb for call in self.calls)

    def _add(self, fault: _Fault) -> None:
        self._faults.append(fault)

    async def _call(self, verb: Verb, method: Callable[..., Awaitable[T]], *arguments: object) -> T:
        self.calls.append(StoreCall(verb, arguments))
        if self._is_down:
            raise unavailable(_NAME, verb, "the store is down until it is opened again")
        answer: list[T] = []

        async def call() -> None:
            answer.append(await method(*arguments))

        fault = self._fault(verb)
        # A crash ends what is under way: the store behind does not know that it is down.
        with anyio.CancelScope() as scope:
            self._under_way.add(scope)
            try:
                await (call() if fault is None else fault.run(call))
            finally:
                self._under_way.discard(scope)
        if scope.cancel_called:
            raise unavailable(_NAME, verb, "the store went down meanwhile", is_begun=True)
        return answer[0]

    def _fault(self, verb: Verb) -> _Fault | None:
        reached = [fault for fault in self._faults if fault.verb == verb and fault.count_call()]
        return next((fault for fault in reached if fault.strikes(self._chance)), None)

    async def open(self) -> None:
        """Open the store behind; after a crash, close it first and open it again."""
        await self._open(self._store.open)

    async def open_damaged(self) -> None:
        """Open the store behind to be looked at, whatever is wrong with it; else as `open`."""
        await self._open(self._store.open_damaged)

    async def _open(self, begin: Callable[[], Awaitable[None]]) -> None:
        if self._is_down:
            await self._store.aclose()
        await begin()
        self._is_down = False


def unavailable(
    store: str, verb: Verb, reason: str, *, is_begun: bool = False
) -> StoreUnavailableError:
    """Return the error of a call that fails: of unknown outcome where it writes and has begun."""
    return StoreUnavailableError(
        store=store,
        attempted=verb,
        reason=reason,
        outcome_unknown=is_begun and verb in WRITING,
    )
