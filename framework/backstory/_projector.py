"""A projector runs one projection: it folds the log into the read model, and keeps its checkpoint.

    starting ─▶ catching up ◀─▶ live
                  ▲  │
                  ├──┴─▶ paused         until it is told to go on
                  ├────▶ standing by    another process owns the read model, which is in tables
                  ├────▶ waiting        the store did not answer; it is tried again
                  └────▶ stopped, failed

What may follow what is the table below; everything that changes the state goes through `_move`.

A store that does not answer is waited for. A handler that raises parks its event, or stops the
projector where the projection says so; see `Pass`. Orders come as notes in the store, which are
looked for from time to time, and at once when this process has given them.

A rebuild is a second pass, with a read model and a checkpoint of its own, a page of which is folded
after each page of the one that serves. When it has come as far, it takes its place between two
steps: readers see the old read model whole or the new one whole. A table projection whose class has
changed begins with such a build, and what served before stays readable until it is done.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import random
from typing import Any, Final, Generic, TypeVar, cast

import anyio

from backstory._build import begin_generation, remove_stale, show
from backstory._clock import Clock, SystemClock
from backstory._codec import encode_state
from backstory._errors import (
    BackstoryError,
    CheckpointMovedError,
    ConfigurationError,
    CorruptLogError,
    ProjectionBehindError,
    ProjectionError,
    ProjectionFailedError,
    StoreClosedError,
    StoreError,
    StoreUnavailableError,
)
from backstory._fold import wanted
from backstory._generations import Generation, Generations, load_generations, tables_fingerprint
from backstory._keeper import Keeper, MemoryKeeper, TableKeeper
from backstory._limits import PROJECTION_NAME_BYTES_MAX
from backstory._logging import FIELD, POSITION, PROJECTION, REASON, log
from backstory._orders import Order, OrderKind, done_note, load_orders
from backstory._pages import LogRead
from backstory._parking import ParkedEvent, load_parked, parked_note, trial_note, unparked_note
from backstory._pass import Pass
from backstory._progress import Note
from backstory._projection import Projection
from backstory._reason import reason_of
from backstory._registry import (
    ENDS,
    TELL_SECONDS,
    ProjectionStatus,
    ProjectorState,
    register,
    tell,
)
from backstory._store import EventStore
from backstory._table_projection import TableProjection, bind

P = TypeVar("P", bound=Projection)

_LOOK_SECONDS: Final = 1.0
"""Between two looks for orders."""
_OBEYED_MAX: Final = 100
_PATIENCE_SECONDS: Final = 0.1
_PATIENCE_SECONDS_MAX: Final = 5.0


_WORKING: Final = frozenset(
    {
        *(ProjectorState.CATCHING_UP, ProjectorState.LIVE, ProjectorState.PAUSED),
        *(ProjectorState.STANDING_BY, ProjectorState.WAITING),
    }
)
MOVES: Final[Mapping[ProjectorState, frozenset[ProjectorState]]] = {
    ProjectorState.STARTING: _WORKING | ENDS,
    **dict.fromkeys(_WORKING, _WORKING | ENDS),
    ProjectorState.STOPPED: frozenset(),
    ProjectorState.FAILED: frozenset(),
}
"""What may follow what."""


class Projector(Generic[P]):
    """Runs one projection over one store, in a task that somebody else owns."""

    def __init__(
        self,
        store: EventStore,
        projection: type[P],
        *,
        owner: str | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] = random,
    ) -> None:
        """Make a projector; `run` runs it.

        Args:
            store: An open store.
            projection: The projection's class.
            owner: Who runs it, such as the machine and the process: for those who look from
                elsewhere. It is told and means nothing to the projector.
            clock: What parked events and notes are dated by; the machine's clock by default.
            chance: Numbers from 0 to 1, for the pauses between attempts.

        Raises:
            ConfigurationError: The projection needs tables, and the store has none.
        """
        if issubclass(projection, TableProjection) and not store.capabilities.has_tables:
            raise ConfigurationError(
                f"projection {projection.projection_name!r} needs a store that has tables"
            )
        self._store = store
        self._class = projection
        self._name = projection.projection_name
        self._owner = owner
        self._clock = clock or SystemClock()
        self._chance = chance
        self._serving: Pass[P] | None = None
        self._building: Pass[P] | None = None
        self._build_orders: set[str] = set()
        self._obeyed: deque[str] = deque(maxlen=_OBEYED_MAX)
        self._read_orders: set[str] = set()
        self._is_owner = False
        self._noted: frozenset[str] = frozenset()  # what the owner has parked, at the last look
        self._is_paused = False
        self._is_stopping = False
        self._is_look_due = True
        self._looked_at = 0.0
        self._resting: anyio.CancelScope | None = None
        self._moved = anyio.Event()
        # Of another process that owns the projection: whether its tables serve, and how far.
        self._is_stored, self._stored_position = False, 0
        self._model = projection()
        if isinstance(self._model, TableProjection):
            bind(self._model, store.query)
        self.state = ProjectorState.STARTING
        """What the projector is doing."""
        self.error: ProjectionError | None = None
        """Why it failed, if it did."""
        self._waits_for: str | None = None
        self._patience = _PATIENCE_SECONDS
        self._told: ProjectionStatus | None = None
        self._told_at = 0.0

    @property
    def model(self) -> P:
        """The read model as it is now."""
        return self._model if self._serving is None else self._serving.keeper.model

    @property
    def position(self) -> int:
        """The last event that the read model has seen or passed over."""
        return self._stored_position if self._serving is None else self._serving.seen_position

    @property
    def _serves(self) -> bool:
        return self._serving is not None or self._is_stored

    def status(self) -> ProjectionStatus:
        """Return how the projection is doing."""
        serving, building = self._serving, self._building
        return ProjectionStatus(
            name=self._name,
            state=self.state,
            position=self.position,
            kept_position=self._stored_position
            if serving is None
            else serving.keeper.kept_position,
            building_position=None if building is None else building.position,
            is_owner=self._is_owner,
            parked_count=0 if serving is None else len(serving.parked),
            error=self._waits_for if self.error is None else str(self.error),
            owner=self._owner if self._is_owner else None,
        )

    async def run(self) -> None:
        """Fold what is there and what comes, until `stop`; what may go wrong does not raise."""
        try:
            await self._run()
        except Exception as error:
            self._fail(self._failure(error))
            raise
        finally:
            self._let_go()
            if self.state not in ENDS:  # cancelled: those who wait for it are told
                self._move(ProjectorState.STOPPED)
        if self._is_owner:
            with suppress(BackstoryError):  # a store that is closed, or the reason why it failed
                await self._tell()

    async def _run(self) -> None:
        while not self._is_stopping:
            try:
                await self._begin()
                await self._serve()
            except ProjectionFailedError as error:
                return self._fail(error)
            except (ConfigurationError, CorruptLogError, StoreClosedError) as error:
                return self._fail(self._failure(error))
            except CheckpointMovedError:
                self._let_go()
                self._serving = self._building = None
            except (StoreError, ProjectionError) as error:
                await self._wait_for_store(error)
        await self._end()
        self._move(ProjectorState.STOPPED)
        return None

    async def _wait_for_store(self, error: BackstoryError) -> None:
        self._waits_for = str(error)
        log.warning("projector.waiting", **{PROJECTION: self._name, REASON: str(error)})
        self._move(ProjectorState.WAITING)
        await self._rest(self._patience * (0.5 + self._chance() / 2))
        self._patience = min(2 * self._patience, _PATIENCE_SECONDS_MAX)

    def stop(self) -> None:
        """Let `run` return after the page at hand."""
        self._is_stopping = True
        self._wake()

    def look(self) -> None:
        """Look for orders now."""
        self._is_look_due = True
        self._wake()

    def _wake(self) -> None:
        if self._resting is not None:
            self._resting.cancel()

    async def _rest(self, seconds: float) -> None:
        if not (self._is_stopping or self._is_look_due):
            with anyio.move_on_after(seconds) as self._resting:
                await anyio.sleep(seconds + 1)
        if not self._is_stopping:
            self._is_look_due = True

    async def wait_for(self, position: int, *, timeout_seconds: float) -> P:
        """Return the read model once it has seen all up to a position.

        Raises:
            ProjectionFailedError: It never will: a handler raised.
            ProjectionBehindError: It did not within the time limit.
        """
        with anyio.move_on_after(timeout_seconds):
            while self.error is None and self.state not in ENDS and not self._has(position):
                await self._moved.wait()
        if self.error is not None:
            raise self.error
        if not self._has(position):
            raise ProjectionBehindError(
                projection=self._name,
                position=self.position,
                wanted_position=position,
                timeout_seconds=timeout_seconds,
            )
        return self.model

    def _has(self, position: int) -> bool:
        return self._serves and self.position >= position

    async def wait_obeyed(self, key: str, *, timeout_seconds: float) -> bool:
        """Tell whether an order has been carried out within a time limit."""
        with anyio.move_on_after(timeout_seconds):
            while key not in self._obeyed and self.state not in ENDS:
                if self._is_paused and key in self._read_orders:
                    break  # not before it has read the order: it may have been told to go on since
                await self._moved.wait()
        return key in self._obeyed

    async def _begin(self) -> None:
        if await self._own():
            await register(self._store, self._class)
        if self._serving is None and self._building is None:
            if not issubclass(self._class, TableProjection):
                self._serving = await self._pass(self._in_memory(self._name))
            elif self._is_owner:
                await self._begin_tables()

    async def _own(self) -> bool:
        """Own the projection if nobody else does; tell whether it was not this one's before."""
        was_owner, self._is_owner = self._is_owner, await self._store.try_own(self._name)
        if self._is_owner is not was_owner:
            self._let_go()
        if self._is_owner and not was_owner:
            # Who owned it is gone; what it has kept is where this one goes on.
            self._serving = self._building = None
        elif was_owner and not self._is_owner:
            log.warning("projector.disowned", **{PROJECTION: self._name, POSITION: self.position})
            self._building, self._told = None, None
            self._build_orders.clear()
            if issubclass(self._class, TableProjection):
                self._serving = None
            elif self._serving is not None:
                self._serving.keeper.is_owner = False
                self._noted = frozenset(self._serving.parked)
        return self._is_owner and not was_owner

    async def _pass(self, keeper: Keeper[P]) -> Pass[P]:
        keeper.is_owner = self._is_owner
        one = Pass(keeper, clock=self._clock, chance=self._chance)
        await one.begin()
        return one

    def _in_memory(self, name: str) -> Keeper[P]:
        return MemoryKeeper(self._store, self._class, name)

    def _in_tables(self, name: str, generation: Generation) -> Keeper[P]:
        cls = cast("type[Any]", self._class)
        return TableKeeper(self._store, cls, name, generation)

    async def _serve(self) -> None:
        while not self._is_stopping:
            # By the time too: while there is always more to fold, nothing else brings it here.
            if self._is_look_due or anyio.current_time() >= self._looked_at + _LOOK_SECONDS:
                self._is_look_due, self._looked_at = False, anyio.current_time()
                await self._look()
            if self._is_paused:
                self._move(ProjectorState.PAUSED)
                await self._rest(_LOOK_SECONDS)
            elif self._serving is None and self._building is None:
                await self._stand_by()
            else:
                await self._step()

    async def _step(self) -> None:
        serving, building, seconds = self._serving, self._building, 0.0
        if serving is not None:
            seconds = await serving.step()
        if building is not None:
            seconds = max(seconds, await building.step())
            if building.is_at_head and building.position >= self.position:
                await self._swap(building)
                return
        if seconds:
            await self._rest(seconds)
        elif serving is not None and serving.is_at_head and building is None:
            self._move(ProjectorState.LIVE)
            await self._wait_beyond(serving.position)
        else:
            self._move(ProjectorState.CATCHING_UP)

    async def _wait_beyond(self, position: int) -> None:
        if self._is_stopping or self._is_look_due:
            return
        with anyio.move_on_after(_LOOK_SECONDS) as self._resting:
            await self._store.wait_beyond(position)
        if self._resting.cancelled_caught:
            self._is_look_due = True

    async def _stand_by(self) -> None:
        """Follow what the process that owns the read model keeps, and take over when it ends."""
        self._move(ProjectorState.STANDING_BY)
        await self._begin()
        if self._is_owner:
            return
        generations = await load_generations(self._store, self._name)
        checkpoint = await self._store.load_checkpoint(self._name)
        is_ours = (
            checkpoint is not None
            and generations.serving is not None
            and generations.serving.fingerprint == tables_fingerprint(cast("Any", self._class))
        )
        if checkpoint is not None and is_ours:
            # What is passed over is not kept each time: it counts as seen all the same.
            read = LogRead(checkpoint.position, None, wanted(self._class), False, 1)
            page = await self._store.read_page(read)
            self._stored_position = checkpoint.position if page.events else page.reached
            self._is_stored = True
            self._move(ProjectorState.STANDING_BY)
        await self._rest(_LOOK_SECONDS / 4)

    async def _look(self) -> None:
        """Look for orders, and carry them out."""
        await self._begin()
        orders = await load_orders(self._store, self._name)
        self._read_orders = set(orders.orders)
        if orders.is_paused is not self._is_paused:
            self._let_go()
            self._is_paused = orders.is_paused
            self._move(ProjectorState.PAUSED if self._is_paused else ProjectorState.CATCHING_UP)
        if not self._is_owner:
            await self._follow_parked()
            return
        if self._is_paused:
            await self._tell()
            return
        for key, order in orders.orders.items():
            if order.kind is OrderKind.REBUILD:
                self._build_orders.add(key)
            else:
                await self._obey(order)
                await self._finish(key)
        if self._build_orders and self._building is None and self._serving is not None:
            await self._begin_build()
        await self._tell()

    async def _follow_parked(self) -> None:
        """Go on from what the owner has kept, where that holds what waits here."""
        if self._serving is None:
            return
        noted = frozenset(await load_parked(self._store, self._name))
        settled, self._noted = self._noted - noted, noted
        if settled & self._serving.parked.keys():
            self._let_go()
            self._serving = await self._pass(self._in_memory(self._name))

    async def _tell(self) -> None:
        """Note how the projection is doing, for programs that do not run it."""
        status, now = self.status(), anyio.current_time()
        is_changed = self._told is None or self._told.state is not status.state
        # How far a build is, somebody may be watching.
        pause = TELL_SECONDS if self._building is None else _LOOK_SECONDS
        if not is_changed and now < self._told_at + pause:
            return
        self._told, self._told_at = status, now
        try:
            await tell(self._store, status, now=self._clock.now())
        except StoreUnavailableError as error:
            # Others see that they do not hear of it; that is no reason to stop folding.
            log.warning("projection.untold", **{PROJECTION: self._name, REASON: str(error)})

    async def _finish(self, *keys: str) -> None:
        await self._store.save_notes(*(done_note(self._name, key) for key in keys))
        self._obeyed.extend(keys)
        self._move(ProjectorState.CATCHING_UP)

    async def _obey(self, order: Order) -> None:
        if order.kind is OrderKind.RESET:
            await self._forget_build()
            if self._serving is not None:
                await self._serving.reset()
        elif self._serving is not None and order.stream_id is not None:
            without = order.position if order.kind is OrderKind.DISCARD else None
            await self._serving.retry(order.stream_id, without=without)

    # A rebuild, beside what serves.

    @property
    def _building_name(self) -> str:
        name = f"{self._name} (building)"
        if len(name.encode()) <= PROJECTION_NAME_BYTES_MAX:
            return name
        return f"building:{hashlib.sha256(name.encode()).hexdigest()}"

    async def _begin_build(self) -> None:
        if issubclass(self._class, TableProjection):
            generations = await load_generations(self._store, self._name)
            self._building = await self._begin_generation(generations)
        else:
            self._building = await self._pass(self._in_memory(self._building_name))

    async def _forget_build(self) -> None:
        """Leave no trace of a build but its tables, which are stale then."""
        self._let_go()
        building, self._building = self._building, None
        if building is None:
            return
        notes = [unparked_note(self._building_name, stream_id) for stream_id in building.parked]
        await building.keeper.note(*notes, trial_note(self._building_name, None))
        await self._store.delete_checkpoint(self._building_name)
        await self._finish(*self._build_orders)
        self._build_orders.clear()

    async def _swap(self, building: Pass[P]) -> None:
        """Put what was built in the place of what serves."""
        self._let_go()
        self._compare(building)
        notes = await self._parked_notes(building.parked)
        built: Any = building.keeper
        if issubclass(self._class, TableProjection):
            keeper = cast("Keeper[P]", await show(built, notes))
        else:
            keeper = self._in_memory(self._name)
            keeper.model, keeper.position = built.model, building.position
            keeper.is_owner = self._is_owner
            await keeper.keep(notes)
        serving = Pass(keeper, clock=self._clock, chance=self._chance)
        serving.parked = building.parked
        self._serving = serving
        await self._forget_build()
        log.info("projection.rebuilt", **{PROJECTION: self._name, POSITION: serving.position})
        self._move(ProjectorState.CATCHING_UP)

    def _compare(self, building: Pass[P]) -> None:
        """Say where the new read model in memory differs from the one before it."""
        if self._serving is None or isinstance(building.keeper, TableKeeper):
            return
        if self._serving.position != building.position:
            return
        before, after = self._serving.keeper.model, building.keeper.model
        for name in before.__struct_fields__:
            if encode_state(getattr(before, name)) != encode_state(getattr(after, name)):
                log.warning("projection.differs", **{PROJECTION: self._name, FIELD: name})
                return

    async def _parked_notes(self, parked: Mapping[str, ParkedEvent]) -> list[Note]:
        before = await load_parked(self._store, self._name)
        return [
            *(unparked_note(self._name, stream_id) for stream_id in before.keys() - parked.keys()),
            *(parked_note(self._name, one) for one in parked.values()),
        ]

    # Tables, and their generations.

    async def _begin_tables(self) -> None:
        cls = cast("type[TableProjection]", self._class)
        generations = await load_generations(self._store, self._name)
        serving = generations.serving
        if serving is not None and serving.fingerprint == tables_fingerprint(cls):
            keeper = self._in_tables(self._name, serving)
            self._serving = await self._pass(keeper)
            await self._check_position(self._serving)
            await remove_stale(cast("TableKeeper[Any]", keeper), generations)
        else:
            self._building = await self._begin_generation(generations)

    async def _check_position(self, serving: Pass[P]) -> None:
        """Begin anew where nobody knows what the tables have seen, or it is not in this log."""
        head = await self._store.head()
        if await self._store.load_checkpoint(self._name) is None:
            reason = "it is not there any more"
        elif serving.position > head:
            reason = f"it is at {serving.position}, the log ends at {head}"
        else:
            return
        log.warning("checkpoint.ignored", **{PROJECTION: self._name, REASON: reason})
        await serving.reset()

    async def _begin_generation(self, generations: Generations) -> Pass[P]:
        """Go on with a build of this class, or begin one."""
        cls = cast("type[Any]", self._class)
        generation = await begin_generation(self._store, cls, self._building_name, generations)
        return await self._pass(self._in_tables(self._building_name, generation))

    # The end.

    async def _end(self) -> None:
        for one in self._passes():
            try:
                await one.end()
            except StoreError as error:
                keys = {PROJECTION: self._name, REASON: str(error)}
                log.warning("checkpoint.ignored", **keys)

    def _let_go(self) -> None:
        """Let go of what is read ahead, since it will not be wanted, or not soon."""
        for one in self._passes():
            one.drop_ahead()

    def _passes(self) -> list[Pass[P]]:
        return [one for one in (self._serving, self._building) if one is not None]

    def _failure(self, error: Exception) -> ProjectionFailedError:
        failed = ProjectionFailedError(
            projection=self._name,
            position=self.position,
            event_type="the store",
            reason=reason_of(error),
        )
        failed.__cause__ = error
        return failed

    def _fail(self, error: ProjectionFailedError) -> None:
        self.error = error
        log.error(
            "projection.failed",
            **{PROJECTION: error.projection, POSITION: error.position, REASON: error.reason},
        )
        self._move(ProjectorState.FAILED)

    def _move(self, state: ProjectorState) -> None:
        """Change the state, and let those who wait look again."""
        if state is not self.state and state not in MOVES[self.state]:
            raise AssertionError(
                f"a projector that is {self.state.value} is not to be {state.value}"
            )
        if state is not ProjectorState.WAITING:
            self._waits_for, self._patience = None, _PATIENCE_SECONDS
        self.state = state
        self._moved.set()
        self._moved = anyio.Event()
