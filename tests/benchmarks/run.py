"""Speed, as ratios to what the same disk and the same tables allow.

    make bench                     a table
    make bench ARGS="--json"       JSON

Each row runs ours and raw in turn (A B A B …) and quotes the median of the pairwise ratios with
its spread; absolute figures move with the machine and its neighbours, and only help to read the
ratios. Raw is the standard library's sqlite3 in one thread: the same columns, tables, indexes and
durability, and no hashes; for reads the same columns, and one decoded object for each event.
"""

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import anyio
import msgspec
from rich.console import Console
from rich.table import Table

from backstory import ANY, Aggregate, Backstory, Event, NewEvent, Repository, on
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.sqlite._migrate import migrations

PAIRS = 9
READ_COUNT = 20_000
SINGLE_COUNT = 300
BATCH_COUNT = 5


class Measured(Event, type="bench:measured"):
    """An event of the usual size: about 126 bytes of JSON."""

    text: str
    number: int


class Meter(Aggregate, category="meter", snapshot_every=0):
    """An aggregate that adds up."""

    total: int = 0

    @on(Measured)
    def _measured(self, event: Measured) -> None:
        self.total += event.number


_numbers = count()


def new_event() -> NewEvent:
    """Return a fresh event; ids in order, as in life."""
    number = next(_numbers)
    return NewEvent.of(
        Measured(text="x" * 100, number=number),
        event_id=f"01900000-0000-7000-8000-{number:012x}",
    )


class Raw:
    """What sqlite3 alone does with the same tables."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        schema = "".join(script for _, script in migrations())
        self.db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {schema}")
        self._versions = count(1)

    def one_by_one(self) -> None:
        """Append one event a transaction."""
        for _ in range(SINGLE_COUNT):
            self.append([new_event()])

    def batches(self) -> None:
        """Append a thousand events a transaction."""
        for _ in range(BATCH_COUNT):
            self.append([new_event() for _ in range(1_000)])

    def append(self, events: list[NewEvent]) -> None:
        """Write events in one transaction."""
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany(
            "INSERT INTO events (stream_id, version, event_id, type, schema_version, recorded_at, "
            "metadata, data, hash) VALUES ('meter-1', ?, ?, ?, ?, 0, ?, ?, x'00')",
            [
                (
                    next(self._versions),
                    event.event_id,
                    event.type,
                    event.schema_version,
                    event.metadata_json.decode(),
                    event.data_json.decode(),
                )
                for event in events
            ],
        )
        self.db.execute("COMMIT")

    def replay(self) -> None:
        """Fetch every column of every event in the order of the log, and decode its data."""
        self._read("ORDER BY position")

    def load(self) -> None:
        """The same for the events of one stream, in the order of their versions."""
        self._read("WHERE stream_id = 'meter-1' ORDER BY version")

    def _read(self, order: str) -> None:
        decoder = msgspec.json.Decoder(Measured)
        rows = self.db.execute(
            "SELECT position, stream_id, version, event_id, type, schema_version, recorded_at, "  # noqa: S608 - one of the two above
            f"metadata, data FROM events {order}"
        )
        for row in rows:
            decoder.decode(row[8])


@dataclass
class Row:
    """One figure: what ours and raw did, in events a second."""

    name: str
    ours: list[float] = field(default_factory=list[float])
    raw: list[float] = field(default_factory=list[float])

    @property
    def ratios(self) -> list[float]:
        """Ours over raw, pair by pair, sorted."""
        return sorted(a / b for a, b in zip(self.ours, self.raw, strict=True))


async def measure(
    name: str, count: int, ours: Callable[[], Awaitable[None]], raw: Callable[[], None]
) -> Row:
    """Run both in turn; each handles `count` events."""
    row = Row(name)
    for _ in range(PAIRS):
        start = time.perf_counter()
        await ours()
        row.ours.append(count / (time.perf_counter() - start))
        start = time.perf_counter()
        raw()
        row.raw.append(count / (time.perf_counter() - start))
    return row


class Ours:
    """What Backstory does."""

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store
        self._repository = Repository(store)

    async def one_by_one(self) -> None:
        """Append one event after the other, each acknowledged before the next."""
        await self._write("meter-1", SINGLE_COUNT)

    async def many_at_once(self) -> None:
        """Append from 64 tasks, each of which waits for its own acknowledgement."""
        async with anyio.create_task_group() as writers:
            for number in range(64):
                writers.start_soon(self._write, f"meter-{number}", 50)

    async def _write(self, stream_id: str, event_count: int) -> None:
        for _ in range(event_count):
            await self._store.append(stream_id, [new_event()], expected_version=ANY)

    async def batches(self) -> None:
        """Append a thousand events at a time."""
        for _ in range(BATCH_COUNT):
            events = [new_event() for _ in range(1_000)]
            await self._store.append("meter-1", events, expected_version=ANY)

    async def load(self) -> None:
        """Load an aggregate without a snapshot."""
        await self._repository.load(Meter, "1")

    async def replay(self) -> None:
        """Read the log, each event decoded."""
        async with Backstory(self._store) as story:
            async for _ in story.replay():
                pass


async def appends(ours: Ours, raw: Raw) -> list[Row]:
    """Measure what writes."""
    single = await measure(
        "append, one durable after the other", SINGLE_COUNT, ours.one_by_one, raw.one_by_one
    )
    batches = await measure(
        "append, batches of 1,000", BATCH_COUNT * 1_000, ours.batches, raw.batches
    )
    many = await measure("append, 64 tasks", 64 * 50, ours.many_at_once, lambda: None)
    return [single, _against(many, batches), batches]


def _against(ours: Row, raw: Row) -> Row:
    # The bar for many small appends is what raw reaches in batches of a thousand.
    return Row(ours.name, ours.ours, raw.raw)


async def reads(ours: Ours, raw: Raw) -> list[Row]:
    """Measure what reads."""
    for _ in range(READ_COUNT // (BATCH_COUNT * 1_000)):
        await ours.batches()
        raw.batches()
    return [
        await measure("load one aggregate of 20,000 events", READ_COUNT, ours.load, raw.load),
        await measure("replay the log, typed", READ_COUNT, ours.replay, raw.replay),
    ]


async def run() -> list[Row]:
    """Measure every row, on fresh files."""
    rows: list[Row] = []
    for part in (appends, reads):
        with tempfile.TemporaryDirectory() as folder:
            raw = Raw(Path(folder, "raw.db"))
            async with SQLiteStore(Path(folder, "ours.db")) as store:
                rows += await part(Ours(store), raw)
            raw.db.close()
    return rows


def print_rows(rows: list[Row]) -> None:
    """Print the table."""
    table = Table("what", "ours /s", "raw /s", "ratio", "spread")
    for row in rows:
        ratios = row.ratios
        table.add_row(
            row.name,
            f"{statistics.median(row.ours):,.0f}",
            f"{statistics.median(row.raw):,.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f}-{ratios[-1]:.2f}",
        )
    Console().print(table)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = anyio.run(run)
    if arguments.json:
        figures = [{"name": r.name, "ours": r.ours, "raw": r.raw, "ratios": r.ratios} for r in rows]
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        print_rows(rows)


if __name__ == "__main__":
    main()
