"""eventsourcing: threads, JSON with its own transcoder.

Its SQLite recorder sets WAL and leaves `synchronous` at SQLite's default, FULL; writers wait for
each other in its connection pool. `events.put` is its fastest way in. The calls block, so that one
after the other runs here, and many writers are threads.
"""

from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import anyio.to_thread
from tests.benchmarks.meter import TEXT, numbers
from tests.benchmarks.peers.peer import Peer

_application: Any = import_module("eventsourcing.application")
_domain: Any = import_module("eventsourcing.domain")

_PAGE_SIZE = 1_000


class Meter(_domain.Aggregate):  # type: ignore[misc]  # installed only where it is measured
    def __init__(self) -> None:
        self.total = 0

    class Measured(_domain.Aggregate.Event):  # type: ignore[misc]  # likewise
        text: str
        number: int

        def apply(self, aggregate: Any) -> None:
            aggregate.total += self.number


class Eventsourcing(Peer):
    """Its SQLite recorder and its application, at their defaults."""

    name: ClassVar[str] = "eventsourcing"
    setting: ClassVar[str] = "`eventsourcing.sqlite`: WAL, synchronous=FULL (defaults); 64 threads"

    async def open(self, folder: Path) -> None:
        self._application = _application.Application(env=self._environment(folder))
        meter: Any = Meter()
        self._application.save(meter)
        self._batch_id: UUID = meter.id
        self._batch_version = 1

    def _environment(self, folder: Path) -> dict[str, str]:
        return {
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(folder / "eventsourcing.db"),
        }

    async def aclose(self) -> None:
        self._application.close()

    async def append_one_by_one(self, append_count: int) -> None:
        self._append(append_count)

    async def append_at_once(self, writer_count: int, append_count: int) -> None:
        def run() -> None:
            with ThreadPoolExecutor(writer_count) as writers:
                list(writers.map(self._append, [append_count] * writer_count))

        await anyio.to_thread.run_sync(run)

    def _append(self, append_count: int) -> None:
        id = uuid4()
        for version in range(1, append_count + 1):
            self._application.events.put([self._event(id, version)])

    async def append_batch(self, event_count: int) -> None:
        first = self._batch_version + 1
        events = [self._event(self._batch_id, first + number) for number in range(event_count)]
        self._application.events.put(events)
        self._batch_version += event_count

    def _event(self, id: UUID, version: int) -> Any:
        return Meter.Measured(
            originator_id=id,
            originator_version=version,
            timestamp=Meter.Measured.create_timestamp(),
            text=TEXT,
            number=next(numbers),
        )

    async def load(self, event_count: int) -> None:
        meter = self._application.repository.get(self._batch_id)
        assert meter.version == event_count + 1  # the first made the aggregate

    async def replay(self) -> int:
        to_domain_event = self._application.mapper.to_domain_event
        seen = last = 0
        while page := self._application.recorder.select_notifications(
            last, _PAGE_SIZE, inclusive_of_start=False
        ):
            for notification in page:
                to_domain_event(notification)
            seen += len(page)
            last = page[-1].id
        return seen
