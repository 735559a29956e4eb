"""A pass over the log: pages are read, folded, and kept; what cannot be folded is parked.

One step folds one page. A handler that raises, or a statement that is refused, spoils the page: the
keeper goes back to what it kept, the events before the failing one are folded again and kept, and
then that one is tried by itself, a few times, with growing pauses. After that its stream is parked,
from this event on, and the pass goes on with everything else. Nothing is passed over in silence.

Some handlers do not raise; they end the process. A pass that finds out at its start that the one
before it did not come to its end is careful: it notes which events it is about to fold. When that
happens again the next one knows the page, and folds it event by event, each noted before; so the
event that ends the process is found, and its attempts are counted, over as many processes as it
takes. As long as nothing goes wrong nothing is noted but that the pass runs.

    ending        what the next pass does
    stopped       folds whole pages
    while folding folds whole pages, each noted first, up to where the log ended then
    … a page      folds that page event by event, each noted first
    … one event   tries that one again, or parks it, and goes on event by event
"""

import random
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from backstory._clock import Clock
from backstory._errors import (
    StoreError,
    TableStatementError,
)
from backstory._filter import EVERY_EVENT, EventFilter, FilterItem
from backstory._fold import failure, wanted
from backstory._keeper import Keeper
from backstory._logging import POSITION, PROJECTION, REASON, STREAM_ID, log
from backstory._pages import PAGE_EVENT_COUNT, LogRead, Page, ReadAhead
from backstory._parking import (
    ParkedEvent,
    Trial,
    load_parked,
    load_trial,
    parked_note,
    trial_note,
    unparked_note,
)
from backstory._progress import Note
from backstory._projection import OnFailure, Projection
from backstory._reason import reason_of
from backstory._recorded import RecordedEvent

P = TypeVar("P", bound=Projection)

_KEEP_EVERY: Final = 10_000
"""Positions between two checkpoints of a read model in memory, folded and passed over alike: after
a restart, a projection of rare events does not read a long log again."""
_PAUSE_SECONDS: Final = 0.05
_PAUSE_SECONDS_MAX: Final = 5.0


class _FoldError(Exception):
    """An event could not be folded."""

    def __init__(self, recorded: RecordedEvent, error: Exception) -> None:
        super().__init__(recorded, error)
        self.recorded = recorded
        self.error = error


class Pass(Generic[P]):
    """One keeper on its way along the log."""

    def __init__(
        self,
        keeper: Keeper[P],
        *,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Make a pass; `begin` is first.

        Args:
            keeper: What folds and keeps.
            clock: What parked events are dated by.
            chance: Numbers from 0 to 1, for the pauses.
        """
        self.keeper = keeper
        self.parked: dict[str, ParkedEvent] = {}
        """What waits, by stream."""
        self.is_at_head = False
        """Whether the last step has found nothing more."""
        self._store = keeper.store
        self._name = keeper.name
        self._pages = ReadAhead(self._store.read_page, is_on=self._store.capabilities.reads_ahead)
        self._where = wanted(keeper.projection)
        self._clock = clock
        self._chance = chance
        self._suspect: RecordedEvent | None = None  # has failed, and is tried by itself
        self._reason = ""
        self._error: Exception | None = None
        self._attempt_count = 0
        self._steps_until = 0  # up to here event by event
        self._noted_until = 0  # up to here each page is noted
        self._trial: Trial | None = None  # what is noted in the store
        self._tried_position = 0  # the last attempt to keep
        self._is_in_doubt = False  # what is parked was to be noted, and may be or not

    @property
    def position(self) -> int:
        """Everything up to here has been folded, passed over or parked."""
        return self.keeper.position

    @property
    def seen_position(self) -> int:
        """Everything up to here is in what readers see."""
        keeper = self.keeper
        is_pending = keeper.is_lost or keeper.has_pending
        return min(keeper.kept_position, keeper.position) if is_pending else keeper.position

    async def begin(self) -> None:
        """Go to where the last pass has come, and find out how it ended.

        Raises:
            StoreError: The store did not answer.
        """
        await self._restore()
        if not self.keeper.is_owner:
            return
        trial = await load_trial(self._store, self._name)
        if trial is None:
            await self._note(Trial())
        else:
            await self._suspect_of(trial)

    async def _restore(self) -> None:
        """Go back to what is kept, and to what was parked there."""
        await self.keeper.restore()
        self._tried_position = self.position
        parked = await load_parked(self._store, self._name)
        # What was kept may be of another class, and is not used then: what was parked behind where
        # this begins is met again, in its place.
        ahead = [one.stream_id for one in parked.values() if one.position > self.position]
        self.parked = {id: one for id, one in parked.items() if id not in ahead}
        if ahead and self.keeper.is_owner:
            notes = (unparked_note(self._name, stream_id) for stream_id in ahead)
            await self.keeper.note(*notes)

    async def _suspect_of(self, trial: Trial) -> None:
        self._trial = trial
        self._noted_until = max(await self._store.head(), trial.until_position)
        if trial.last_position <= self.position:  # it came further than that, or nothing was tried
            return
        self._steps_until = max(trial.last_position, trial.until_position)
        if trial.first_position == trial.last_position:
            page = await self._read(trial.first_position - 1, trial.last_position, EVERY_EVENT)
            if page.events:
                self._suspect = page.events[0]
                self._attempt_count = trial.attempt_count
                self._reason = "the process ended while it was handled"

    async def step(self) -> float:
        """Fold the next page, or try or park what has failed; return seconds to wait before more.

        Raises:
            ProjectionFailedError: The projection is to stop at what it cannot handle.
            StoreError: The store did not answer.
        """
        if self.keeper.is_lost:
            await self._go_back()
        if self._due is not None and self._attempt_count >= self._attempt_count_max:
            await self._give_up(self._due)
            return 0.0
        try:
            await self._fold_page()
        except _FoldError as failed:
            return await self._meet(failed)
        return 0.0

    async def _go_back(self) -> None:
        if self.keeper.is_owner and not self._is_in_doubt:
            await self.keeper.restore()
        else:  # what is kept is another's, or not known, and with it goes what is parked there
            await self._restore()
        self._is_in_doubt = False

    async def _keep_noted(self, note: Note) -> None:
        """Keep what was folded with a note of what is parked; begin with the truth where it fails.

        Raises:
            TableStatementError: A statement was refused; nothing happened.
            StoreError: The store did not do it, or nobody knows whether it did.
        """
        self.keeper.is_lost = self._is_in_doubt = True
        try:
            await self.keeper.keep([note])
        except TableStatementError:
            self._is_in_doubt = False
            raise
        self.keeper.is_lost = self._is_in_doubt = False

    @property
    def _attempt_count_max(self) -> int:
        return self.keeper.projection.attempt_count_max

    @property
    def _due(self) -> RecordedEvent | None:
        """The event that has failed, where everything before it is folded."""
        suspect = self._suspect
        return suspect if suspect is not None and self.position == suspect.position - 1 else None

    async def _fold_page(self) -> None:
        page = await self._next_page()
        events = page.events
        if self.parked:
            events = [recorded for recorded in events if not self.is_parked(recorded)]
        await self._note_before(events)
        self._fold(events)
        self.keeper.position = page.reached
        if self._is_to_keep(events):
            await self._keep(events)
        if self._suspect is not None and page.reached >= self._suspect.position:
            self._suspect, self._attempt_count = None, 0
        self.is_at_head = page.is_last and self._suspect is None
        await self._note_after()

    def _is_to_keep(self, events: Sequence[RecordedEvent]) -> bool:
        if self._suspect is not None:
            return self.position >= self._suspect.position - 1
        if events and (self.keeper.keeps_each_page or self._is_careful):
            return True
        return self.position - self._tried_position >= _KEEP_EVERY

    async def _next_page(self) -> Page:
        after, suspect = self.position, self._suspect
        if suspect is not None:
            until = suspect.position - (self._due is None)
            return await self._read(after, until, self._where)
        if after < self._steps_until:
            return await self._read(after, self._steps_until, self._where, limit=1)
        read = LogRead(after, None, self._where, False, PAGE_EVENT_COUNT)
        page = await self._pages.read(read)
        if not page.is_last:
            await self._pages.begin(read.behind(page))
        return page

    async def _read(
        self, after: int, until: int | None, where: EventFilter, limit: int = PAGE_EVENT_COUNT
    ) -> Page:
        return await self._pages.read(LogRead(after, until, where, False, limit))

    def is_parked(self, recorded: RecordedEvent) -> bool:
        """Tell whether an event waits, or is to wait behind another of its stream."""
        parked = self.parked.get(recorded.stream_id)
        return parked is not None and recorded.position >= parked.position

    def _fold(self, events: Sequence[RecordedEvent]) -> None:
        fold = self.keeper.fold
        recorded = None
        try:
            for recorded in events:
                fold(recorded)
        except Exception as error:
            assert recorded is not None  # noqa: S101 - it is the one that failed
            raise _FoldError(recorded, error) from error

    async def _keep(self, events: Sequence[RecordedEvent]) -> None:
        self._tried_position = self.position
        try:
            await self.keeper.keep()
        except TableStatementError as error:
            failed = next((one for one in events if one.position == error.position), None)
            if failed is None:
                raise
            raise _FoldError(failed, error) from error

    @property
    def _is_careful(self) -> bool:
        return self.position < max(self._steps_until, self._noted_until)

    async def _note_before(self, events: Sequence[RecordedEvent]) -> None:
        """Note what is about to be folded, where there is reason to."""
        if not events or not (self._suspect is not None or self._is_careful):
            return
        first, last = events[0].position, events[-1].position
        is_one = first == last
        before = 0 if self._due is None else self._attempt_count
        until = max(self._steps_until, last)
        await self._note(
            Trial(
                first_position=first,
                last_position=last,
                until_position=until if is_one else 0,
                attempt_count=before + 1 if is_one else 0,
            )
        )

    async def _note_after(self) -> None:
        if self._suspect is None and not self._is_careful and self._trial != Trial():
            await self._note(Trial())

    async def _note(self, trial: Trial | None) -> None:
        if self.keeper.is_owner and trial != self._trial:
            await self.keeper.note(trial_note(self._name, trial))
        self._trial = trial

    async def _meet(self, failed: _FoldError) -> float:
        """Go back to what is kept, and say when to try again."""
        is_same = self._suspect is not None and self._suspect.position == failed.recorded.position
        self._attempt_count = self._attempt_count + 1 if is_same else 1
        self._suspect = failed.recorded
        self._reason = reason_of(failed.error)
        log.warning(
            "projection.retrying", **self._keys(failed.recorded), attempt=self._attempt_count
        )
        self._error = failed.error
        self.keeper.is_lost = True
        if self._attempt_count >= self._attempt_count_max:
            return 0.0
        longest = min(_PAUSE_SECONDS * 2**self._attempt_count, _PAUSE_SECONDS_MAX)
        return float(longest * (0.5 + self._chance() / 2))

    def _keys(self, recorded: RecordedEvent) -> dict[str, object]:
        return {
            PROJECTION: self._name,
            STREAM_ID: recorded.stream_id,
            POSITION: recorded.position,
            REASON: self._reason,
        }

    async def _give_up(self, suspect: RecordedEvent) -> None:
        """Let a stream wait from an event on, and go on behind it; or stop."""
        if self.keeper.projection.on_failure is OnFailure.STOP:
            error = self._error or RuntimeError(self._reason)
            self._attempt_count = 0  # whoever starts it again has mended something
            raise failure(self._name, suspect, error) from error
        parked = self._parked(suspect)
        self.keeper.position = suspect.position
        await self._keep_noted(parked_note(self._name, parked))
        self.parked[suspect.stream_id] = parked
        self._suspect, self._attempt_count = None, 0
        log.error("projection.parked", **self._keys(suspect))
        await self._note_after()

    def _parked(self, recorded: RecordedEvent) -> ParkedEvent:
        return ParkedEvent(
            stream_id=recorded.stream_id,
            version=recorded.version,
            position=recorded.position,
            event_type=recorded.type,
            event_id=recorded.event_id,
            reason=self._reason,
            attempt_count=self._attempt_count,
            parked_at=self._clock.now(),
        )

    async def retry(self, stream_id: str, *, without: int | None = None) -> bool:
        """Fold what waits of a stream, in its order; tell whether all of it could be.

        Args:
            stream_id: The stream.
            without: The position of the waiting event that is to be left out for good.

        Raises:
            StoreError: The store did not answer.
        """
        if self.keeper.is_lost:
            await self._go_back()
        parked = self.parked.get(stream_id)
        if parked is None or without not in (None, parked.position):
            return True  # somebody else has asked for it already
        await self.keeper.keep()  # so that whatever fails now costs nothing that came before
        if self.keeper.kept_position != self.position:
            # A read model that cannot be kept is folded anew, which folds what waits in its place.
            await self._start_over(stream_id)
            return True
        position, after = self.position, parked.position - (without is None)
        waiting = await self._waiting(stream_id, after, position)
        try:
            for recorded in waiting:
                self._fold([recorded])
            await self._keep_noted(unparked_note(self._name, stream_id))
        except _FoldError as failed:
            return await self._retry_until(failed, waiting)
        except TableStatementError as error:
            culprit = next(one for one in waiting if one.position == error.position)
            return await self._retry_until(_FoldError(culprit, error), waiting)
        del self.parked[stream_id]
        return True

    async def _start_over(self, stream_id: str) -> None:
        await self.keeper.note(unparked_note(self._name, stream_id))
        del self.parked[stream_id]
        await self.keeper.reset()

    async def _waiting(self, stream_id: str, after: int, until: int) -> list[RecordedEvent]:
        (item,) = self._where.items
        where = EventFilter((FilterItem(types=item.types, streams=(stream_id,)),))
        log_of_stream = self._store.read_log(
            after_position=after, until_position=until, where=where
        )
        return [recorded async for recorded in log_of_stream]

    async def _retry_until(self, failed: _FoldError, waiting: Sequence[RecordedEvent]) -> bool:
        """Keep what could be folded before the event that failed, and park that."""
        self.keeper.is_lost = True
        await self.keeper.restore()
        for recorded in waiting:
            if recorded.position < failed.recorded.position:
                self.keeper.fold(recorded)
        before = self.parked[failed.recorded.stream_id]
        self._reason = reason_of(failed.error)
        is_same = before.position == failed.recorded.position
        self._attempt_count = before.attempt_count + 1 if is_same else 1
        parked = self._parked(failed.recorded)
        self._attempt_count = 0
        await self._keep_noted(parked_note(self._name, parked))
        self.parked[parked.stream_id] = parked
        return False

    def drop_ahead(self) -> None:
        """Let go of what is read ahead."""
        self._pages.drop()

    async def end(self) -> None:
        """Keep what was folded, and note that the pass came to its end.

        Raises:
            StoreError: The store did not do it.
        """
        if self.keeper.position != self.keeper.kept_position:
            await self._keep_quietly()
        if self.keeper.is_owner and self._suspect is None and not self._is_careful:
            await self.keeper.note(trial_note(self._name, None))

    async def _keep_quietly(self) -> None:
        try:
            await self.keeper.keep()
        except StoreError as error:
            # For a read model in memory a cache; one in tables is as it was at its last page.
            log.warning("checkpoint.ignored", **{PROJECTION: self._name, REASON: str(error)})

    async def reset(self) -> None:
        """Begin anew: an empty read model, nothing parked, the first event next.

        Raises:
            StoreError: The store did not do it.
        """
        await self.keeper.note(*(unparked_note(self._name, stream_id) for stream_id in self.parked))
        self.parked = {}
        self._suspect, self._attempt_count = None, 0
        self._steps_until = self._noted_until = 0
        await self.keeper.reset()
