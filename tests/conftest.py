"""What the tests of the framework share: the event loop, the stores, a clock, a few events.

The module is imported by its dotted name, `tests.conftest`, so that the classes below are the same
for everybody.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import force_setattr

from backstory import (
    Aggregate,
    Clock,
    DomainError,
    Event,
    EventStore,
    Metadata,
    NewEvent,
    RecordedEvent,
    on,
    store_of,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import ManualClock

pytest_plugins: Final = ["tests.faults.account", "tests.servers.fixtures"]
"""Count what the fault tests inject; hand servers to tests."""

DEADLINE_SECONDS: Final = 30
"""How long a test waits for what must happen; long, since a machine may be busy."""


def in_postgres(folder: Path, clock: Clock | None) -> EventStore:
    """Return the store of a folder on PostgreSQL; the test uses the fixture `postgres_schemas`."""
    from tests.servers.fixtures import schema_url_for  # noqa: PLC0415 - a plugin, to be imported as one

    return store_of(schema_url_for(folder), clock=clock)


STORES: Final[dict[str, Callable[[Path, Clock | None], EventStore]]] = {
    "in_memory": lambda _folder, clock: InMemoryStore(clock=clock),
    "sqlite": lambda folder, clock: SQLiteStore(folder / "story.db", clock=clock),
    "postgres": in_postgres,
}
"""Every store that the `store` fixture goes through."""


class Noted(Event, type="test:noted"):
    """Something was written down."""

    text: str = ""


class Counted(Event, type="test:counted"):
    """Something was counted."""

    by: int = 1


class Listed(Event, type="test:listed"):
    """A list was made."""

    words: list[str] = []


class Measured(Event, type="test:measured"):
    """A value of any kind was measured."""

    value: Any = None


class TooMuchError(DomainError):
    """The counter is full."""


class Counter(Aggregate, category="counter", snapshot_every=0):
    """Counts, and keeps what it has counted."""

    total: int = 0
    steps: list[int] = []

    def count(self, by: int = 1) -> int:
        """Count further, and return the total."""
        if self.total + by > 1_000_000:
            raise TooMuchError(f"counter {self.id} is at {self.total}")
        self.emit(Counted(by=by))
        return self.total

    def count_each(self, steps: Sequence[int]) -> int:
        """Count several times in one command, and return the total."""
        for by in steps:
            self.emit(Counted(by=by))
        return self.total

    def look(self) -> int:
        """Return the total and decide nothing."""
        return self.total

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by
        self.steps.append(event.by)


def new_event(
    event: Event | None = None, *, event_id: object = None, metadata: Metadata | None = None
) -> NewEvent:
    """Return a new event, with a fresh id unless one is given."""
    return NewEvent.of(
        Noted() if event is None else event,
        event_id=uuid.uuid4() if event_id is None else event_id,
        metadata=metadata,
    )


def unchecked(
    event_id: str, type: str, schema_version: int, data_json: bytes, metadata_json: bytes = b"{}"
) -> NewEvent:
    """Return a new event that its checks would refuse: damage, as it is found on a disk."""
    event = NewEvent.raw("test:whole", b"{}", event_id=uuid.uuid4())
    for name, value in (
        ("event_id", event_id),
        ("type", type),
        ("schema_version", schema_version),
        ("data_json", data_json),
        ("metadata_json", metadata_json),
    ):
        force_setattr(event, name, value)
    return event


def noted(*texts: str) -> list[NewEvent]:
    """Return a new event for each text."""
    return [new_event(Noted(text=text)) for text in texts]


async def drain(events: AsyncIterator[RecordedEvent]) -> list[RecordedEvent]:
    """Return everything that an iterator yields."""
    return [recorded async for recorded in events]


def texts_of(events: Sequence[RecordedEvent]) -> list[str]:
    """Return the texts of noted events."""
    return [noted.text for noted in (event.data for event in events) if isinstance(noted, Noted)]


@pytest.fixture
def anyio_backend() -> str:
    """Return the backend of every asynchronous test."""
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands still."""
    return ManualClock()


@pytest.fixture(params=STORES)
def store_name(request: pytest.FixtureRequest) -> str:
    """Return the name of each store in turn, which `STORES` can make now."""
    if request.param == "postgres":
        request.getfixturevalue("postgres_schemas")
    return str(request.param)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EventStore]:
    """Yield each store in turn, open and empty."""
    if request.param == "postgres":
        request.getfixturevalue("postgres_schemas")
    async with STORES[request.param](tmp_path, None) as store:
        yield store


@pytest.fixture(params=["sqlite", "postgres"])
def url_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return what gives a store's URL by its name, for stores that processes share, in turn."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path / name}.db"
    url: str = request.getfixturevalue("postgres_url")
    return lambda name: f"{url}?schema={name}"
