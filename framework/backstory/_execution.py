"""One call of a command: load or take what was kept, decide, append, and on conflict once more.

Why the retry is sound. A command is pure: it looks at nothing but the aggregate's state and its own
arguments, and what it decides is not yet a fact. The append names the version that the decision was
made on. If another writer was first, the store refuses and nothing has happened; then the aggregate
is dropped, loaded again with the other writer's events, and the command decides anew, as if it had
come later. It never appends to a state that it has not seen. An aggregate on which anything went
wrong is never used again: its state has moved ahead of the facts.

Why a kept state is as good as a loaded one. It is the outcome of a command whose events, all of
them, are recorded; so it is what a load gave at that moment. Others may have appended since:
another process, or this one by another way. Where the command emits, the append finds that out, as
above. Where it emits nothing, or refuses, nothing is appended, and it would answer from a state
that is past. So the end of the stream is looked at afterwards, and where it is not what was decided
on, the aggregate is loaded and the command runs again. A conflict of a kept state counts as no
attempt: whoever asked has not been overtaken, the state had been before.

Why a key is looked up as safely. What must hold is that the state was read before the look (see
`_idempotency`), and a kept one was read long before. It may hold what a first call with the key has
done; but a kept state holds only what is recorded, so then the look finds it, and the command runs
on another instance, at the version before. What others did since the state was read, the append
notices by its version, and then everything begins anew with a load, the look included.

What is kept may have come from a snapshot, and a snapshot may be found to be wrong (see
`_snapshots`). From then on nothing that was loaded before is used.

What is kept is nobody else's. An answer that could be changed may be a part of the state; so after
such an answer the aggregate is its caller's, as one that was loaded for him alone.
"""

from collections.abc import Callable, Mapping
from contextvars import copy_context
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from inspect import ismethod
from typing import Any, Final, Generic, Protocol, TypeVar, cast
from uuid import UUID

from msgspec import Struct

from backstory._aggregate import Aggregate, book_of
from backstory._attempts import until_first
from backstory._commit import Receipt
from backstory._context import Context
from backstory._errors import ConfigurationError, ConflictError, StoreError
from backstory._idempotency import EventNaming, Repetitions
from backstory._ids import stream_id_of
from backstory._logging import STREAM_ID, VERSION, log
from backstory._recorded import RecordedEvent
from backstory._snapshots import Snapshots
from backstory._store import EventStore

A = TypeVar("A", bound=Aggregate)
R = TypeVar("R")

_UNCHANGING: Final = (
    *(type(None), bool, int, float, complex, str, bytes),
    *(date, time, timedelta, Decimal, UUID, Enum),
)


class Aggregates(Protocol):
    """What an execution needs of a repository."""

    store: EventStore
    snapshots: Snapshots

    async def load(self, aggregate: type[A], id: str, *, at_version: int | None = None) -> A:
        """Return an aggregate as it is, or as it was at a version."""
        ...

    async def save(
        self, aggregate: Aggregate, *, context: Context | None, idempotency_key: str | None
    ) -> Receipt | None:
        """Append what the commands on an aggregate have decided."""
        ...


class Kept(Struct, frozen=True):
    """An instance that has seen recorded events only, all of them when it was last used."""

    aggregate: Aggregate
    difference_count: int
    """How many snapshots had been found wrong before it was loaded."""


class Outcome(Struct, Generic[R], frozen=True):
    """What came of an execution."""

    answer: R
    """What the command returned."""
    kept: Kept | None
    """What the next execution may run on; None where it is to load."""


class Execution(Generic[R]):
    """One call of a command, by whom and because of what; to be run once."""

    __slots__ = (
        *("stream_id", "_aggregates", "_class", "_id", "_decide"),
        *("_context", "_naming", "_repetitions", "_attempt_count_max"),
    )

    def __init__(
        self,
        aggregates: Aggregates,
        command: Callable[..., R],
        id: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        context: Context,
        naming: EventNaming,
        attempt_count_max: int,
    ) -> None:
        """Take down a call, with the context variables of its caller.

        Raises:
            ConfigurationError: `command` is no command of a concrete aggregate class.
            InvalidInputError: The id is outside the limits.
        """
        self._class = _aggregate_of(command)
        self._id = id
        self.stream_id = stream_id_of(self._class.category, id)
        """The stream of the aggregate."""
        self._aggregates = aggregates
        # It may run in another task than its caller's.
        self._decide = partial(_decide, partial(copy_context().run, command), args, kwargs)
        self._context = context
        self._naming = naming
        self._repetitions = Repetitions(aggregates.store, naming)
        self._attempt_count_max = attempt_count_max

    async def run(self, kept: Kept | None = None) -> Outcome[R]:
        """Run the command, and append what it decides.

        Args:
            kept: From the last outcome of an execution on this stream. Whatever is raised, it is
                not to be used again.

        Raises:
            Exception: As `Repository.execute`.
        """
        if kept is not None and self._can_use(kept):
            version = kept.aggregate.version
            outcome = await self._run_on_kept(kept, version)
            if outcome is not None:
                return outcome
            log.debug("aggregate.outdated", **{STREAM_ID: self.stream_id, VERSION: version})
        return await until_first(
            self._run_on_loaded,
            {STREAM_ID: self.stream_id},
            attempt_count_max=self._attempt_count_max,
        )

    def _can_use(self, kept: Kept) -> bool:
        # A notebook cell that ran again has made another class of the same category.
        is_of_class = type(kept.aggregate) is self._class
        return is_of_class and kept.difference_count == self._aggregates.snapshots.difference_count

    async def _run_on_loaded(self) -> Outcome[R]:
        difference_count = self._aggregates.snapshots.difference_count
        loaded = await self._aggregates.load(self._class, self._id)
        return await self._run_on(Kept(loaded, difference_count))

    async def _run_on_kept(self, kept: Kept, version: int) -> Outcome[R] | None:
        """Run on a state that may be past; return None where it was."""
        try:
            outcome = await self._run_on(kept)
        except ConflictError:
            return None
        except StoreError:
            raise
        except Exception:
            if await self._ends_at(version):
                raise
            return None
        if kept.aggregate.version == version and not await self._ends_at(version):
            return None
        return outcome

    async def _run_on(self, kept: Kept) -> Outcome[R]:
        aggregate = kept.aggregate
        # What has met an unknown event is another once the program has learnt of it.
        worth = None if book_of(aggregate).has_met_unknown else kept
        first = await self._repetitions.find(self.stream_id, 0)
        if first is not None:
            return Outcome(await self._repeat(first), worth)
        answer = self._decide(aggregate)
        with self._repetitions.in_a_race():
            await self._aggregates.save(
                aggregate, context=self._context, idempotency_key=self._naming.key
            )
        return Outcome(answer, worth if _is_unchanging(answer) else None)

    async def _repeat(self, first: RecordedEvent) -> R:
        """Return what the command answered when its first event was recorded."""
        former = await self._aggregates.load(self._class, self._id, at_version=first.version - 1)
        answer = self._decide(former)
        emitted = [(self.stream_id, event) for event in book_of(former).emitted]
        await self._repetitions.check(self.stream_id, emitted, first)
        return answer

    async def _ends_at(self, version: int) -> bool:
        """Return whether the stream ends at a version; at most two events are read."""
        # The last of ours too: a stream is shorter where an older backup was put back.
        tail = self._aggregates.store.read_stream(
            self.stream_id, after_version=max(version - 1, 0), limit=2
        )
        found = [recorded.version async for recorded in tail]
        return found == ([version] if version else [])


def _decide(
    command: Callable[..., R],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    aggregate: Aggregate,
) -> R:
    return command(aggregate, *args, **kwargs)


def _aggregate_of(command: Callable[..., Any]) -> type[Aggregate]:
    cls = None if ismethod(command) else getattr(command, "aggregate", None)
    if not (isinstance(cls, type) and issubclass(cls, Aggregate)):
        raise ConfigurationError(
            f"{getattr(command, '__qualname__', command)!r} is no command: pass a public method of "
            "a concrete aggregate class, such as Task.complete"
        )
    return cls


def _is_unchanging(answer: object) -> bool:
    if isinstance(answer, tuple | frozenset):
        return all(_is_unchanging(part) for part in cast("tuple[object, ...]", answer))
    return isinstance(answer, _UNCHANGING)
