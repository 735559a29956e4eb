"""Loads aggregates, runs commands and decisions, appends what they decide, retries on conflict.

How a command runs, and why it may run again, is told in `_execution`; what an idempotency key does,
in `_idempotency`.

A decision over several streams goes the same way as a command, with a condition in the place of the
version. It names the position of the last event that the decision has folded, or 0. That is safe
wherever the log ended meanwhile: the condition excludes exactly the events that match and were not
folded.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from anyio.abc import TaskGroup

from backstory._aggregate import Aggregate, book_of, evolve
from backstory._attempts import ATTEMPT_COUNT_MAX, until_first
from backstory._commit import AppendCondition, Receipt, StreamAppend
from backstory._context import Context, ambient, enter, leave
from backstory._decision import Decides, Decision
from backstory._errors import ConfigurationError, InvalidInputError, VersionConflictError
from backstory._execution import Execution
from backstory._filter import where
from backstory._handlers import fold_event
from backstory._idempotency import EventNaming, Repetitions
from backstory._ids import IdSource, TimeOrderedIds
from backstory._limits import METADATA_ID_BYTES_MAX, check_integer, check_text
from backstory._logging import DECISION, STREAM_ID, VERSION, log
from backstory._recorded import RecordedEvent
from backstory._snapshots import SHADOW_CHECK_SHARE, Snapshots
from backstory._store import EventStore
from backstory._versions import ANY

A = TypeVar("A", bound=Aggregate)
P = ParamSpec("P")
R = TypeVar("R")


class Repository:
    """Aggregates on top of a store."""

    def __init__(
        self,
        store: EventStore,
        *,
        ids: IdSource | None = None,
        attempt_count_max: int = ATTEMPT_COUNT_MAX,
        background: TaskGroup | None = None,
        shadow_check_share: float = SHADOW_CHECK_SHARE,
        chance: Callable[[], float] | None = None,
    ) -> None:
        """Make a repository.

        Args:
            store: An open store.
            ids: Where event ids come from; version 7 UUIDs by default.
            attempt_count_max: How often `execute` tries before a conflict reaches the caller.
            background: A task group in which snapshots are saved and checked; without one,
                `execute` and `save` return after they are saved, and none is checked.
            shadow_check_share: The share of the loads from a snapshot that are checked against a
                fold of all events, from 0 for none to 1 for each.
            chance: Which of them: returns numbers from 0 to 1; a generator of its own by default.

        Raises:
            InvalidInputError: `attempt_count_max` is no number from 1, or the share is no number
                from 0 to 1.
        """
        check_integer("attempt_count_max", attempt_count_max, least=1)
        self.store = store
        """The store."""
        self._ids = ids or TimeOrderedIds()
        self._attempt_count_max = attempt_count_max
        self.snapshots = Snapshots(
            store, background=background, shadow_check_share=shadow_check_share, chance=chance
        )
        """Where the states of aggregates are kept between loads."""

    async def execute(
        self, command: Callable[Concatenate[A, P], R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command on an aggregate, append what it decides, and return what it returned.

            await repository.execute(Task.complete, "write-docs", pages=3)

        On a conflict the aggregate is loaded again and the command decides again, up to 25 times
        in all, with growing random pauses.
        Cancelled, the append may still happen, or not.

        Args:
            command: A method of a concrete aggregate class, as `Task.complete`.
            id: The aggregate's id, without its category.
            args: The command's own arguments.
            kwargs: Likewise.

        Raises:
            DomainError: The command refused; nothing was written.
            EncodeError: An event would not come back equal; nothing was written.
            VersionConflictError: Other writers were first, each time; nothing was written.
            DuplicateEventError: The idempotency key was used for another command; nothing was
                written.
            UnknownEventTypeError: The stream holds an event that this program does not know.
            DecodeError: The stream holds an event that does not fit its class.
            CorruptLogError: The stream has a gap.
            ConfigurationError: `command` is no command of a concrete aggregate class.
            InvalidInputError: The id, or the append, is outside the limits.
            StoreUnavailableError: The store did not do it; see its `outcome_unknown`.
            StoreClosedError: The store is not open.
        """
        return await self.using().execute(command, id, *args, **kwargs)

    async def decide(self, decision: Decides[R]) -> R:
        """Make a decision over several streams, append what it emits, and return what it returned.

            await repository.decide(BookSeat(seat="12A", buyer="ada"))

        Its events are appended in one commit, on condition that none that matches its `query` came
        meanwhile. If one did, the decision is made again, up to 25 times in all, with growing
        random pauses. The given decision itself is not changed.
        Cancelled, the append may still happen, or not.

        Args:
            decision: An instance of a subclass of `Decision`.

        Raises:
            DomainError: The decision refused; nothing was written.
            EncodeError: An event would not come back equal; nothing was written.
            ConditionConflictError: Other writers were first, each time; nothing was written.
            DuplicateEventError: The idempotency key was used for another decision; nothing was
                written.
            UnknownEventTypeError: An event that it handles is of a newer schema version.
            DecodeError: An event that it handles does not fit its class.
            ConfigurationError: It is no decision.
            InvalidInputError: The append is outside the limits.
            StoreUnavailableError: The store did not do it; see its `outcome_unknown`.
            StoreClosedError: The store is not open.
        """
        return await self.using().decide(decision)

    def using(
        self,
        *,
        actor: str | None = None,
        correlation_id: str | None = None,
        caused_by: RecordedEvent | None = None,
        idempotency_key: str | None = None,
        tags: Sequence[str] = (),
        **free: Any,
    ) -> "Scope":
        """Say who does the next thing, and because of what.

            await repository.using(actor="ada", tags=["urgent"]).execute(Task.start, "t")

            with repository.using(caused_by=recorded):
                await repository.execute(Task.complete, "t", pages=3)

        What is not said is taken from the block around it. With nothing said anywhere, a command
        starts a correlation of its own.

        Args:
            actor: Who: a domain agent, a person, a system.
            correlation_id: Shared by everything that one request sets in motion.
            caused_by: The event that this reacts to; gives correlation and causation.
            idempotency_key: The same key on the same stream appends once, and answers the same each
                time; for one command, not for a block.
            tags: Words to find the events by.
            free: The program's own metadata keys, as JSON values.

        Raises:
            InvalidInputError: The tags are one text, or the key is empty or too long.
        """
        if isinstance(tags, str):
            reason = "must be a list of texts, not one text"
            raise InvalidInputError(argument="tags", found=repr(tags), reason=reason)
        if idempotency_key is not None:
            check_text("idempotency key", idempotency_key, METADATA_ID_BYTES_MAX)
        context = ambient().narrowed(
            actor=actor, correlation_id=correlation_id, caused_by=caused_by, tags=tags, free=free
        )
        naming = EventNaming(self._ids, idempotency_key)
        return Scope(self, context, naming, attempt_count_max=self._attempt_count_max)

    async def load(
        self,
        aggregate: type[A],
        id: str,
        *,
        at_version: int | None = None,
        at_position: int | None = None,
        at_time: datetime | None = None,
    ) -> A:
        """Return an aggregate as it is, or as it was.

        One that has no events yet is at version 0, with the state of its defaults.

        Args:
            aggregate: Its class.
            id: Its id, without the category.
            at_version: As it was at this version, which it must have reached.
            at_position: As it was when the log ended at this position; beyond the head, as it is.
            at_time: As it was at this time (with a zone): the longest beginning of its stream of
                which every event was recorded by then.

        Raises:
            InvalidInputError: The id is outside the limits, more than one moment is given, or the
                stream has not reached `at_version`.
            UnknownEventTypeError: The stream holds an event that this program does not know.
            DecodeError: A stored event does not fit its class.
            CorruptLogError: The stream has a gap.
            ConfigurationError: The class is abstract.
            StoreUnavailableError: The store did not answer.
            StoreClosedError: The store is not open.
        """
        if sum(moment is not None for moment in (at_version, at_position, at_time)) > 1:
            raise InvalidInputError(
                argument="load",
                found=repr(id),
                reason="give one of at_version, at_position and at_time",
            )
        blank = aggregate.blank(id)
        if at_position is not None:
            at_version = await self._version_at_position(blank.stream_id, at_position)
        elif at_time is not None:
            at_version = await self._version_at_time(blank.stream_id, at_time)
        return await self._load(blank, at_version)

    async def save(
        self,
        aggregate: Aggregate,
        *,
        context: Context | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt | None:
        """Append what the commands on a loaded aggregate have decided.

        When this raises, or a command on the aggregate did, drop it and load it again: its state is
        ahead of the facts, and what a refused command emitted before it refused is not to be saved.

        Args:
            aggregate: One from `load`.
            context: Who, and because of what; that of the block around it by default.
            idempotency_key: What the event ids derive from; none by default.

        Returns:
            The receipt, or None when nothing was emitted.

        Raises:
            VersionConflictError: The stream has moved on since the load, or has the events of this
                key already; nothing was written.
            DuplicateEventError: The key was used for other events; nothing was written.
            InvalidInputError: The context or the append is outside the limits.
            EncodeError: The context's free keys hold what is no JSON value.
            StoreUnavailableError: The store did not do it; see its `outcome_unknown`.
            StoreClosedError: The store is not open.
        """
        book, stream_id = book_of(aggregate), aggregate.stream_id
        if not book.emitted:
            return None
        naming = EventNaming(self._ids, idempotency_key)
        events = naming.new_events(stream_id, book.emitted, context or ambient())
        decided_on = book.version - len(events)
        receipt = await self.store.append(stream_id, events, expected_version=decided_on)
        if receipt.first_version != decided_on + 1:
            # Answered as a repetition: somebody else with the same key was first, and the state
            # here has seen what never happened.
            raise VersionConflictError(
                stream_id=stream_id,
                expected_version=decided_on,
                actual_version=receipt.last_version,
            )
        book.emitted.clear()
        await self.snapshots.take(aggregate)
        return receipt

    async def _version_at_position(self, stream_id: str, position: int) -> int:
        last = self.store.read_stream(stream_id, until_position=position, backward=True, limit=1)
        async for recorded in last:
            return recorded.version
        return 0

    async def _version_at_time(self, stream_id: str, moment: datetime) -> int | None:
        if moment.tzinfo is None:
            reason = "must have a time zone, such as datetime.now(UTC) has"
            raise InvalidInputError(argument="at_time", found=repr(moment), reason=reason)
        later = self.store.read_stream(stream_id, where=where(recorded_after=moment), limit=1)
        async for recorded in later:
            return recorded.version - 1
        return None

    async def _load(self, blank: A, at_version: int | None) -> A:
        check_integer("at_version", at_version or 0, least=0)
        aggregate = await self.snapshots.load(blank, at_version=at_version)
        if not await self._fold_tail(aggregate, at_version):
            log.warning(
                "snapshot.ahead", **{STREAM_ID: blank.stream_id, VERSION: aggregate.version}
            )
            aggregate = blank
            await self._fold_tail(aggregate, at_version)
        if at_version is not None and aggregate.version < at_version:
            raise InvalidInputError(
                argument="at_version",
                found=str(at_version),
                reason=f"stream {blank.stream_id!r} is at version {aggregate.version}",
            )
        return aggregate

    async def _fold_tail(self, aggregate: Aggregate, at_version: int | None) -> bool:
        """Evolve an aggregate by the events behind its version.

        Returns whether the stream has that version: it has not where a snapshot is left over from
        a longer stream, as after an older backup was put back.
        """
        start = aggregate.version
        tail = self.store.read_stream_pages(
            aggregate.stream_id, after_version=max(start - 1, 0), until_version=at_version
        )
        is_there = start == 0
        async for events in tail:
            if not is_there:
                if events[0].version != start:
                    return False
                is_there = True
                del events[0]
            evolve(aggregate, *events)
        return is_there


class Executes(Protocol):
    """Runs executions, wherever that is."""

    async def __call__(self, execution: Execution[R], /) -> R:
        """Run one, and return what its command returned."""
        ...


class Scope:
    """Who does something, and because of what; from `using(...)`.

    Execute one command or make one decision with it, or use it as a context manager for all
    commands of a block.
    """

    def __init__(
        self,
        repository: Repository,
        context: Context,
        naming: EventNaming,
        *,
        attempt_count_max: int,
        executes: Executes | None = None,
    ) -> None:
        self._repository = repository
        self._store = repository.store
        self._context = context
        self._naming = naming
        self._repetitions = Repetitions(repository.store, naming)
        self._attempt_count_max = attempt_count_max
        self._executes = executes or _execute_here

    def through(self, executes: Executes) -> "Scope":
        """Return this scope with its commands run elsewhere, as by the actors of aggregates."""
        return Scope(
            self._repository,
            self._context,
            self._naming,
            attempt_count_max=self._attempt_count_max,
            executes=executes,
        )

    async def execute(
        self, command: Callable[Concatenate[A, P], R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command; as `Repository.execute`."""
        execution = Execution(
            self._repository,
            command,
            id,
            args,
            kwargs,
            context=self._context,
            naming=self._naming,
            attempt_count_max=self._attempt_count_max,
        )
        return await self._executes(execution)

    async def decide(self, decision: Decides[R]) -> R:
        """Make a decision; as `Repository.decide`."""
        if not isinstance(decision, Decision):
            raise ConfigurationError(f"{decision!r} is no decision: pass an instance of a Decision")
        subject = type(decision).__qualname__

        async def attempt() -> R:
            fresh = decision.fresh()
            condition = await self._fold(fresh, until_position=None)
            first = await self._repetitions.find(subject, 0)
            if first is not None:
                fresh = decision.fresh()
                await self._fold(fresh, until_position=first.position - 1)
            answer = cast("R", fresh.decide())
            if first is None:
                with self._repetitions.in_a_race():
                    await self._append(fresh, subject, condition)
            else:
                await self._repetitions.check(subject, fresh.emitted, first)
            return answer

        return await until_first(
            attempt, {DECISION: subject}, attempt_count_max=self._attempt_count_max
        )

    async def _fold(self, decision: Decision, *, until_position: int | None) -> AppendCondition:
        """Fold a decision, and return the condition under which what it decides may be appended."""
        query, position = decision.query(), 0
        async for recorded in self._store.read_log(where=query, until_position=until_position):
            fold_event(decision, decision.handlers, recorded)
            position = recorded.position
        return AppendCondition(query, position)

    async def _append(self, decision: Decision, subject: str, condition: AppendCondition) -> None:
        if not decision.emitted:
            return
        emitted = [event for _, event in decision.emitted]
        events = self._naming.new_events(subject, emitted, self._context)
        appends = [
            StreamAppend(stream_id, [event], ANY)
            for (stream_id, _), event in zip(decision.emitted, events, strict=True)
        ]
        receipts = await self._store.append_many(appends, condition=condition)
        if self._naming.key is not None:
            await self._check_folded(condition, receipts[0].first_position)

    async def _check_folded(self, condition: AppendCondition, position: int) -> None:
        """Refuse what was answered as a repetition of what another caller decided on more events.

        An append that is repeated is not judged by its condition, and a receipt does not say
        whether it is the first one; so the condition is judged here.

        Raises:
            ConflictError: What was decided here is not what led to the event at the position.
        """
        missed = self._store.read_log(
            after_position=condition.after_position,
            until_position=position - 1,
            where=condition.where,
            limit=1,
        )
        async for _ in missed:
            raise self._repetitions.overtaken()

    def __enter__(self) -> None:
        if self._naming.key is not None:
            raise ConfigurationError(
                "using(idempotency_key=…) is for one command: using(…).execute(…)"
            )
        enter(self._context)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave()


async def _execute_here(execution: Execution[R], /) -> R:
    outcome = await execution.run()
    return outcome.answer
