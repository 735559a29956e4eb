"""Loads aggregates, runs their commands, appends what they decide, retries on conflict.

Why the retry is sound. A command is pure: it looks at nothing but the aggregate's state and its own
arguments, and what it decides is not yet a fact. The append names the version that the decision was
made on. If another writer was first, the store refuses and nothing has happened; then the aggregate
is dropped, loaded again with the other writer's events, and the command decides anew, as if it had
come later. It never appends to a state that it has not seen. An aggregate on which anything went
wrong is never used again: its state has moved ahead of the facts.

An idempotency key makes the event ids: each is derived from the key, the stream and its place among
the command's events. So the stream itself remembers the key, for as long as it lives. When the key
comes again, the event with the first derived id is found, the command runs on the version before
it, and its answer is given without an append. A command that emitted nothing leaves nothing to be
found, and simply runs again.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from inspect import ismethod
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

import anyio
from anyio.abc import TaskGroup

from backstory._aggregate import Aggregate, evolve, start_book
from backstory._codec import encode_state, same_json, state_decoder
from backstory._commit import Receipt
from backstory._context import Context, ambient, enter, leave
from backstory._errors import (
    ConfigurationError,
    DuplicateEventError,
    InvalidInputError,
    StoreError,
    VersionConflictError,
)
from backstory._events import Metadata, tagged
from backstory._filter import where
from backstory._fingerprint import fingerprint_of
from backstory._ids import IdSource, TimeOrderedIds, derive_event_id, stream_id_of
from backstory._limits import METADATA_ID_BYTES_MAX, check_integer, check_text
from backstory._logging import ATTEMPT, REASON, STREAM_ID, VERSION, log
from backstory._recorded import NewEvent, RecordedEvent
from backstory._snapshot import Snapshot
from backstory._store import EventStore

A = TypeVar("A", bound=Aggregate)
P = ParamSpec("P")
R = TypeVar("R")

ATTEMPT_COUNT_MAX: Final = 25
_BACKOFF_SECONDS: Final = 0.001
_BACKOFF_SECONDS_MAX: Final = 0.1


class Repository:
    """Aggregates on top of a store."""

    def __init__(
        self,
        store: EventStore,
        *,
        ids: IdSource | None = None,
        attempt_count_max: int = ATTEMPT_COUNT_MAX,
        background: TaskGroup | None = None,
    ) -> None:
        """Make a repository.

        Args:
            store: An open store.
            ids: Where event ids come from; version 7 UUIDs by default.
            attempt_count_max: How often `execute` tries before a conflict reaches the caller.
            background: A task group in which snapshots are saved; without one, `execute` and `save`
                return after they are saved.
        """
        check_integer("attempt_count_max", attempt_count_max, least=1)
        self.store = store
        """The store."""
        self._ids = ids or TimeOrderedIds()
        self._attempt_count_max = attempt_count_max
        self._background = background
        self._fingerprints: dict[type[Aggregate], str] = {}

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
        return Scope(self, context, idempotency_key)

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
            at_position: As it was when the log ended at this position.
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
                argument="load", found=repr(id), reason="give one of version, position and time"
            )
        blank = aggregate.blank(id)
        if at_position is not None:
            at_version = await self._version_at_position(blank.stream_id, at_position)
        elif at_time is not None:
            at_version = await self._version_at_time(blank.stream_id, at_time)
        return await self._load(blank, at_version)

    async def save(self, aggregate: Aggregate, *, context: Context | None = None) -> Receipt | None:
        """Append what the commands on a loaded aggregate have decided.

        When this raises, or a command on the aggregate did, drop it and load it again: its state is
        ahead of the facts, and what a refused command emitted before it refused is not to be saved.

        Args:
            aggregate: One from `load`.
            context: Who, and because of what; that of the block around it by default.

        Returns:
            The receipt, or None when nothing was emitted.

        Raises:
            VersionConflictError: The stream has moved on since the load; nothing was written.
            InvalidInputError: The context or the append is outside the limits.
            EncodeError: The context's free keys hold what is no JSON value.
            StoreUnavailableError: The store did not do it; see its `outcome_unknown`.
            StoreClosedError: The store is not open.
        """
        return await self.append_emitted(
            aggregate, metadata=(context or ambient()).metadata(self._ids.new()), key=None
        )

    async def append_emitted(
        self, aggregate: Aggregate, *, metadata: Metadata, key: str | None
    ) -> Receipt | None:
        """Append an aggregate's emitted events on the version that they were decided on."""
        book = aggregate.book
        if not book.emitted:
            return None
        stream_id = aggregate.stream_id
        events = [
            NewEvent.raw(
                emitted.event.event_type,
                emitted.data_json,
                event_id=self._ids.new() if key is None else _key_id(key, stream_id, place),
                schema_version=emitted.event.schema_version,
                metadata=tagged(metadata, emitted.tags),
            )
            for place, emitted in enumerate(book.emitted)
        ]
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
        await self._take_snapshot(aggregate)
        return receipt

    async def find_key(self, key: str, stream_id: str, *, place: int = 0) -> RecordedEvent | None:
        """Return the event that a stream has under an idempotency key at a place, or None."""
        return await self.store.find_event(_key_id(key, stream_id, place))

    def new_command_id(self) -> str:
        """Return a fresh id for a command."""
        return self._ids.new()

    @property
    def attempt_count_max(self) -> int:
        """How often `execute` tries."""
        return self._attempt_count_max

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
        aggregate = await self._load_snapshot(blank, at_version)
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
        tail = self.store.read_stream(
            aggregate.stream_id, after_version=max(start - 1, 0), until_version=at_version
        )
        is_there = start == 0
        async for recorded in tail:
            if recorded.version == start:
                is_there = True
            elif is_there:
                evolve(aggregate, recorded)
        return is_there

    async def _load_snapshot(self, blank: A, at_version: int | None) -> A:
        if not blank.snapshot_every:
            return blank
        cls = type(blank)
        snapshot = await self.store.load_snapshot(
            blank.stream_id, fingerprint=self._fingerprint(cls), until_version=at_version
        )
        if snapshot is None:
            return blank
        try:
            aggregate = start_book(state_decoder(cls)(snapshot.state_json), blank.id)
        except ValueError as error:  # msgspec's errors and bad UTF-8 alike
            _log_ignored(snapshot, error)
            return blank
        aggregate.book.version = aggregate.book.snapshot_version = snapshot.version
        return aggregate

    async def _take_snapshot(self, aggregate: Aggregate) -> None:
        book = aggregate.book
        if not aggregate.snapshot_every:
            return
        # Counted from the last one and not by version % every, which an append of several events
        # may step over.
        if book.version - book.snapshot_version < aggregate.snapshot_every:
            return
        # Encoded now, while the state is that of the version; saved when there is time.
        state_json = encode_state(aggregate)
        if state_json is None:
            log.warning(
                "snapshot.refused", **{STREAM_ID: aggregate.stream_id, VERSION: book.version}
            )
            return
        book.snapshot_version = book.version
        fingerprint = self._fingerprint(type(aggregate))
        snapshot = Snapshot(aggregate.stream_id, book.version, fingerprint, state_json)
        if self._background is None:
            await self._save_snapshot(snapshot)
        else:
            try:
                self._background.start_soon(self._save_snapshot, snapshot)
            except RuntimeError:  # the group is over, and the events are appended all the same
                await self._save_snapshot(snapshot)

    async def _save_snapshot(self, snapshot: Snapshot) -> None:
        try:
            await self.store.save_snapshot(snapshot)
        except StoreError as error:
            # A snapshot is a cache: without it the next load takes longer, and is as right.
            _log_ignored(snapshot, error)

    def _fingerprint(self, cls: type[Aggregate]) -> str:
        if cls not in self._fingerprints:
            self._fingerprints[cls] = fingerprint_of(cls)
        return self._fingerprints[cls]


class Scope:
    """Who does something, and because of what; from `using(...)`.

    Execute one command with it, or use it as a context manager for all commands of a block.
    """

    def __init__(
        self, repository: Repository, context: Context, idempotency_key: str | None
    ) -> None:
        self._repository = repository
        self._context = context
        self._key = idempotency_key

    async def execute(
        self, command: Callable[Concatenate[A, P], R], id: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a command; as `Repository.execute`."""
        cls = cast("type[A]", _aggregate_of(command))
        repository, key = self._repository, self._key
        stream_id = stream_id_of(cls.category, id)
        command_id = repository.new_command_id() if key is None else derive_event_id(key)
        metadata = self._context.metadata(command_id)
        for attempt in range(1, repository.attempt_count_max + 1):
            first = None if key is None else await repository.find_key(key, stream_id)
            at_version = None if first is None else first.version - 1
            aggregate = await repository.load(cls, id, at_version=at_version)
            answer = command(aggregate, *args, **kwargs)
            if first is not None and key is not None:
                await self._check_repetition(key, aggregate, first)
                return answer
            try:
                await repository.append_emitted(aggregate, metadata=metadata, key=key)
            except (VersionConflictError, DuplicateEventError) as error:
                # With a key, a duplicate is another caller with the same key who was first.
                is_lost_race = isinstance(error, VersionConflictError) or key is not None
                if not is_lost_race or attempt == repository.attempt_count_max:
                    raise
                log.debug("append.conflicted", **{STREAM_ID: stream_id, ATTEMPT: attempt})
                await _back_off(attempt)
                continue
            return answer
        raise AssertionError("the loop above returns or raises")  # pragma: no cover

    async def _check_repetition(self, key: str, aggregate: Aggregate, first: RecordedEvent) -> None:
        """Refuse a key that comes again with another command or other arguments."""
        emitted = aggregate.book.emitted
        find = partial(self._repository.find_key, key, first.stream_id)
        recorded = [await find(place=place) for place in range(len(emitted) + 1)]
        is_same = recorded[-1] is None and all(
            one is not None
            and one.type == other.event.event_type
            and same_json(one.data_json, other.data_json)
            for one, other in zip(recorded, emitted, strict=False)
        )
        if not is_same:
            raise DuplicateEventError(
                event_id=first.event_id,
                stream_id=first.stream_id,
                version=first.version,
                reason=f"idempotency key {key!r} was used for another command",
            )

    def __enter__(self) -> None:
        if self._key is not None:
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


def _aggregate_of(command: Callable[..., Any]) -> type[Aggregate]:
    cls = None if ismethod(command) else getattr(command, "aggregate", None)
    if not (isinstance(cls, type) and issubclass(cls, Aggregate)):
        raise ConfigurationError(
            f"{getattr(command, '__qualname__', command)!r} is no command: pass a public method of "
            "a concrete aggregate class, such as Task.complete"
        )
    return cls


def _key_id(key: str, stream_id: str, place: int) -> str:
    return derive_event_id("idempotency-key", key, stream_id, place)


async def _back_off(attempt: int) -> None:
    # Full jitter: writers that met once do not meet again in step.
    longest = min(_BACKOFF_SECONDS * 2**attempt, _BACKOFF_SECONDS_MAX)
    await anyio.sleep(random.uniform(0, longest))  # noqa: S311 - not for secrets


def _log_ignored(snapshot: Snapshot, error: Exception) -> None:
    keys: Mapping[str, Any] = {
        STREAM_ID: snapshot.stream_id,
        VERSION: snapshot.version,
        REASON: str(error),
    }
    log.warning("snapshot.ignored", **keys)
