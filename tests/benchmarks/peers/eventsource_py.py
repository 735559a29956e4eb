"""eventsource-py: asyncio, pydantic, aiosqlite.

Its SQLite store has one connection in WAL mode, and leaves `synchronous` at SQLite's default, FULL.
`append` is its fastest way in: one event is an INSERT and a COMMIT, a batch an INSERT for each
event and one COMMIT. There is no setting that groups what waits.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import anyio
from tests.benchmarks.meter import TEXT, numbers
from tests.benchmarks.peers.peer import Peer

_face: Any = import_module("eventsource")
_domain: Any = import_module("eventsource.domain")
_ports: Any = import_module("eventsource.ports")
_sqlite: Any = import_module("eventsource.adapters.sqlite")


class Measured(_face.DomainEvent):  # type: ignore[misc]  # installed only where it is measured
    event_type: str = "Measured"
    aggregate_type: str = "Meter"
    text: str
    number: int


class MeterState(import_module("pydantic").BaseModel):  # type: ignore[misc]  # likewise
    total: int = 0


class Meter(_face.AggregateRoot[MeterState]):  # type: ignore[misc]  # likewise
    aggregate_type = "Meter"
    _state: MeterState | None

    def _get_initial_state(self) -> MeterState:
        return MeterState()

    def _apply(self, event: Any) -> None:
        # Assigned in place: faster than the copy that its guide makes.
        if self._state is None:
            self._state = MeterState()
        self._state.total += event.number


_face.register_event(Measured)


class EventsourcePy(Peer):
    """Its SQLite store and its repository, at their defaults."""

    name: ClassVar[str] = "eventsource-py"
    setting: ClassVar[str] = "`SQLiteEventStore`: WAL, synchronous=FULL (defaults)"

    async def open(self, folder: Path) -> None:
        self._store = _sqlite.SQLiteEventStore(str(folder / "eventsource-py.db"))
        self._batch_id = uuid4()
        self._repository = _face.AggregateRepository(
            event_store=self._store, aggregate_factory=Meter, enable_tracing=False
        )

    async def aclose(self) -> None:
        await self._store.close()

    async def append_one_by_one(self, append_count: int) -> None:
        await self._append(uuid4(), append_count)

    async def append_at_once(self, writer_count: int, append_count: int) -> None:
        async with anyio.create_task_group() as writers:
            for _ in range(writer_count):
                writers.start_soon(self._append, uuid4(), append_count)

    async def _append(self, id: Any, append_count: int) -> None:
        stream = _domain.StreamId(aggregate_id=id, category="Meter")
        for version in range(1, append_count + 1):
            await self._store.append(stream, [self._event(id, version)], _ANY)

    async def append_batch(self, event_count: int) -> None:
        stream = _domain.StreamId(aggregate_id=self._batch_id, category="Meter")
        before = await self._store.get_stream_version(stream)
        events = [self._event(self._batch_id, before + 1 + n) for n in range(event_count)]
        await self._store.append(stream, events, _ANY)

    def _event(self, id: Any, version: int) -> Any:
        return Measured(aggregate_id=id, aggregate_version=version, text=TEXT, number=next(numbers))

    async def load(self, event_count: int) -> None:
        meter = await self._repository.load(self._batch_id)
        assert meter.version == event_count

    async def replay(self) -> int:
        seen = 0
        async for _ in self._store.read_all():
            seen += 1
        return seen


_ANY: Any = _ports.ExpectedVersion.any_()
