"""Backstory, as a peer of the others."""

from pathlib import Path
from typing import ClassVar

import anyio
from tests.benchmarks.meter import Meter, new_event, new_events
from tests.benchmarks.peers.peer import Peer

from backstory import ANY, Backstory, EventStore, Repository
from backstory.stores.sqlite import SQLiteStore


class Ours(Peer):
    """The SQLite store at its defaults."""

    name: ClassVar[str] = "backstory"
    setting: ClassVar[str] = "WAL, synchronous=FULL (defaults)"

    async def open(self, folder: Path) -> None:
        self._store: EventStore = self._make_store(folder)
        await self._store.open()

    def _make_store(self, folder: Path) -> EventStore:
        return SQLiteStore(folder / "ours.db")

    async def aclose(self) -> None:
        await self._store.aclose()

    async def append_one_by_one(self, append_count: int) -> None:
        await self._append("meter-one", append_count)

    async def append_at_once(self, writer_count: int, append_count: int) -> None:
        async with anyio.create_task_group() as writers:
            for number in range(writer_count):
                writers.start_soon(self._append, f"meter-{number}", append_count)

    async def _append(self, stream_id: str, append_count: int) -> None:
        for _ in range(append_count):
            await self._store.append(stream_id, [new_event()], expected_version=ANY)

    async def append_batch(self, event_count: int) -> None:
        await self._store.append("meter-batch", new_events(event_count), expected_version=ANY)

    async def load(self, event_count: int) -> None:
        meter = await Repository(self._store).load(Meter, "batch")
        assert meter.version == event_count

    async def replay(self) -> int:
        seen = 0
        async with Backstory(self._store) as story:
            async for _ in story.replay():
                seen += 1
        return seen
