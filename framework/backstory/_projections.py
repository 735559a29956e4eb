"""The projections of a store: how they are doing, and orders to those who run them.

Everything goes through the store, so it works from any process. Where the projector runs in this
one, it is told at once, and an order is waited for; elsewhere it is found at the projector's next
look, about a second later, or when a program that runs the projection is started.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from backstory._clock import Clock, SystemClock
from backstory._errors import InvalidInputError
from backstory._limits import shorten
from backstory._orders import Order, OrderKind, give_order, load_orders, set_paused
from backstory._parking import ParkedEvent, load_parked
from backstory._projection import Projection
from backstory._projector import Projector
from backstory._registry import (
    ProjectionRecord,
    ProjectionStatus,
    ProjectorState,
    is_stale,
    registered,
    told,
)
from backstory._store import EventStore

_TIMEOUT_SECONDS: Final = 30.0


class ProjectionInfo(Struct, frozen=True, kw_only=True):
    """What a store knows of a projection."""

    name: str
    """Its name."""
    is_in_tables: bool
    """Whether its read model is in tables of the store."""
    revision: int
    """The revision of the class that ran last."""
    position: int
    """Up to where it has come, as far as is known: what this process runs is known exactly, of
    others what they noted some seconds ago."""
    state: ProjectorState | None
    """What its projector is doing, or was doing when it noted it; None where none has noted it."""
    error: str | None
    """Why it failed, or what it waits for."""
    lag: int
    """How many positions of the log lie behind that. Of a stale one it says little: it grows only
    when somebody appends."""
    lag_seconds: float
    """How long ago the first event behind that was recorded; 0 where there is none."""
    is_paused: bool
    """Whether it is to do nothing for now."""
    parked_count: int
    """Streams that wait behind an event that could not be handled."""
    order_count: int
    """Orders that have not been carried out yet."""
    building_position: int | None
    """How far the rebuild has come that is under way; None where there is none."""
    owner: str | None
    """Who keeps the read model, or was the last one to say so: machine and process."""
    noted_at: datetime | None
    """When its owner noted this, by his clock; None for what this process runs, or none noted."""
    is_stale: bool
    """Whether it should have been heard of since: its owner notes how it is doing every 5 seconds,
    and the note is more than 15 seconds old. So it was killed, or cannot reach the store; or the
    clocks of two machines differ by so much. False for one that has stopped or failed and said so,
    and for what this process runs."""

    @property
    def is_healthy(self) -> bool:
        """Whether it is heard of, and nothing is parked, has failed or waits for the store."""
        return self.parked_count == 0 and self.error is None and not self.is_stale


class Projections:
    """The projections of a store, as an operator sees them."""

    def __init__(
        self,
        store: EventStore,
        projectors: Mapping[str, Projector[Any]] | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        """Look at the projections of an open store.

        Args:
            store: The store.
            projectors: Those that run in this process, by name.
            clock: What the lag in seconds and the age of what was noted are measured by; the
                machine's clock by default.
        """
        self._store = store
        self._projectors: Mapping[str, Projector[Any]] = projectors or {}
        self._clock = clock or SystemClock()

    async def list_all(self) -> list[ProjectionInfo]:
        """Return all that have run on the store, by name.

        Raises:
            StoreError: The store did not answer.
        """
        return [await self._info(record) for record in await registered(self._store)]

    async def show(self, projection: type[Projection] | str) -> ProjectionInfo:
        """Return one of them.

        Raises:
            InvalidInputError: None of this name has run on the store.
            StoreError: The store did not answer.
        """
        return await self._info(await self._record(projection))

    def status(self, projection: type[Projection] | str) -> ProjectionStatus:
        """Return how one that runs in this process is doing.

        Raises:
            InvalidInputError: It does not run in this process.
        """
        name = _name(projection)
        if name not in self._projectors:
            raise _unknown(name, self._projectors)
        return self._projectors[name].status()

    async def pause(self, projection: type[Projection] | str) -> None:
        """Let it do nothing until `resume`, also after a restart; it is still read as it is.

        Raises:
            InvalidInputError: None of this name has run on the store.
            StoreError: The store did not keep it.
        """
        await self._set_paused(projection, is_paused=True)

    async def resume(self, projection: type[Projection] | str) -> None:
        """Let it go on; as `pause`."""
        await self._set_paused(projection, is_paused=False)

    async def rebuild(
        self, projection: type[Projection] | str, *, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> bool:
        """Build the read model anew beside the one that serves, and put it in its place.

        Returns:
            Whether it is done. It is not where the projection is paused or runs in another process,
            or when the time is over; then it is still done, later.

        Raises:
            InvalidInputError: None of this name has run on the store.
            StoreError: The store did not keep the order.
        """
        return await self._order(projection, Order(kind=OrderKind.REBUILD), timeout_seconds)

    async def reset(
        self, projection: type[Projection] | str, *, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> bool:
        """Drop the read model, and begin with the first event; as `rebuild`."""
        return await self._order(projection, Order(kind=OrderKind.RESET), timeout_seconds)

    async def waiting_orders(self, projection: type[Projection] | str) -> list[Order]:
        """Return what its projector was told and has not carried out yet, the oldest first.

        To pause is none of them: it is a wish that stays; see `ProjectionInfo.is_paused`.

        Raises:
            InvalidInputError: None of this name has run on the store.
            StoreError: The store did not answer.
        """
        record = await self._record(projection)
        return [*(await load_orders(self._store, record.name)).orders.values()]

    async def parked(self, projection: type[Projection] | str) -> list[ParkedEvent]:
        """Return what could not be handled: the first waiting event of each stream.

        Raises:
            InvalidInputError: None of this name has run on the store.
            StoreError: The store did not answer.
        """
        record = await self._record(projection)
        return [*(await load_parked(self._store, record.name)).values()]

    async def retry(
        self,
        projection: type[Projection] | str,
        stream_id: str,
        *,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> bool:
        """Try what waits of a stream again, in its order; else as `rebuild`.

        What fails again is parked again, from there on.

        Raises:
            InvalidInputError: Nothing of the stream is parked.
        """
        await self._waiting(projection, stream_id)
        order = Order(kind=OrderKind.RETRY, stream_id=stream_id)
        return await self._order(projection, order, timeout_seconds)

    async def discard(
        self,
        projection: type[Projection] | str,
        stream_id: str,
        *,
        position: int | None = None,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> bool:
        """Leave the first waiting event of a stream out for good, and try those behind it.

        The event stays in the log; only this read model never sees it, until it is built anew. Its
        position goes with the order, so one that was given twice, or comes late, leaves out nothing
        else. Else as `retry`.

        Args:
            projection: The projection, or its name.
            stream_id: The stream.
            position: The event that is meant, by its position in the log: refuse to leave out
                another one. None for whichever it is by now.
            timeout_seconds: How long to wait for the projector.

        Raises:
            InvalidInputError: Nothing of the stream is parked, or another event than this; nothing
                was done.
        """
        parked = await self._waiting(projection, stream_id)
        if position not in (None, parked.position):
            reason = (
                f"another event holds up the stream now, at position {parked.position}: "
                f"{parked.event_type}; nothing was done"
            )
            raise InvalidInputError(argument="position", found=repr(position), reason=reason)
        order = Order(kind=OrderKind.DISCARD, stream_id=stream_id, position=parked.position)
        return await self._order(projection, order, timeout_seconds)

    async def _waiting(self, projection: type[Projection] | str, stream_id: str) -> ParkedEvent:
        record = await self._record(projection)
        parked = (await load_parked(self._store, record.name)).get(stream_id)
        if parked is None:
            reason = f"nothing of it is parked in projection {record.name!r}"
            raise InvalidInputError(argument="stream", found=shorten(stream_id), reason=reason)
        return parked

    async def _set_paused(self, projection: type[Projection] | str, *, is_paused: bool) -> None:
        record = await self._record(projection)
        await set_paused(self._store, record.name, is_paused=is_paused)
        if (projector := self._projectors.get(record.name)) is not None:
            projector.look()

    async def _order(
        self, projection: type[Projection] | str, order: Order, timeout_seconds: float
    ) -> bool:
        record = await self._record(projection)
        key = await give_order(self._store, record.name, order)
        projector = self._projectors.get(record.name)
        if projector is None:
            return False
        projector.look()
        return await projector.wait_obeyed(key, timeout_seconds=timeout_seconds)

    async def _record(self, projection: type[Projection] | str) -> ProjectionRecord:
        name = _name(projection)
        records = {record.name: record for record in await registered(self._store)}
        if name not in records:
            raise _unknown(name, records)
        return records[name]

    async def _info(self, record: ProjectionRecord) -> ProjectionInfo:
        projector = self._projectors.get(record.name)
        noted = await self._told(record.name)
        status = noted if projector is None else projector.status()
        position = 0 if status is None else status.position
        orders = await load_orders(self._store, record.name)
        return ProjectionInfo(
            name=record.name,
            is_in_tables=record.is_in_tables,
            revision=record.revision,
            position=position,
            state=None if status is None else status.state,
            error=None if status is None else status.error,
            lag=max(await self._store.head() - position, 0),
            lag_seconds=await self._lag_seconds(position),
            is_paused=orders.is_paused,
            parked_count=len(await load_parked(self._store, record.name)),
            order_count=len(orders.orders),
            building_position=None if status is None else status.building_position,
            owner=_owner(status, noted),
            noted_at=None if status is None else status.noted_at,
            is_stale=projector is None and (status is None or self._is_stale(status)),
        )

    def _is_stale(self, noted: ProjectionStatus) -> bool:
        return is_stale(noted, now=self._clock.now())

    async def _told(self, name: str) -> ProjectionStatus | None:
        """Return what another process last noted of a projection, or its checkpoint says."""
        status = (await told(self._store)).get(name)
        checkpoint = await self._store.load_checkpoint(name)
        if status is None or checkpoint is None or checkpoint.position <= status.position:
            return status
        return replace(status, position=checkpoint.position, kept_position=checkpoint.position)

    async def _lag_seconds(self, position: int) -> float:
        async for first in self._store.read_log(after_position=position, limit=1):
            lag = self._clock.now().astimezone(UTC) - first.recorded_at
            return max(lag / timedelta(seconds=1), 0.0)
        return 0.0


def _owner(*known: ProjectionStatus | None) -> str | None:
    return next((one.owner for one in known if one is not None and one.owner is not None), None)


def _name(projection: type[Projection] | str) -> str:
    return projection if isinstance(projection, str) else projection.projection_name


def _unknown(name: str, known: Mapping[str, object]) -> InvalidInputError:
    reason = f"none of this name is known here; known are {', '.join(sorted(known)) or 'none'}"
    return InvalidInputError(argument="projection", found=repr(name), reason=reason)
