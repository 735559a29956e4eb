"""Raw: what the standard library's sqlite3 and msgspec reach on the same tables, in one thread.

The tables, indexes and triggers are the store's own, so is the durability: WAL, and a sync for each
COMMIT. An append encodes a struct, makes an id and writes the row; it judges no version, makes no
hashes and no digest, looks for no repetition, and never leaves its thread. A read gets the same
columns and decodes one object for each event. It is a limit, and no way to keep events.

Nothing of Backstory is in it but the text of the schema, and the handler that it is given.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from backstory.stores.sqlite._migrate import migrations

_TEXT = "x" * 100
_INSERT = (
    "INSERT INTO events (stream_id, version, event_id, type, schema_version, recorded_at, "
    "metadata, data, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT = (
    "SELECT position, stream_id, version, event_id, type, schema_version, recorded_at, metadata, "
    "data FROM events"
)


class Measured(msgspec.Struct, frozen=True):
    """The fields of the event of `meter`."""

    text: str
    number: int


class RawStore:
    """An SQLite file, written and read without a framework."""

    def __init__(self, path: Path) -> None:
        is_new = not path.exists()
        self.db = sqlite3.connect(path, isolation_level=None)
        """The connection."""
        self.db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        for _, script in migrations() if is_new else ():
            self.db.executescript(script)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Measured)
        self._versions = Counter[str]()
        self._numbers = count(1)

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def append(self, stream_ids: Sequence[str]) -> None:
        """Write one new event for each id, in one transaction."""
        now = time.time_ns() // 1_000
        rows = [self._row(stream_id, now) for stream_id in stream_ids]
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany(_INSERT, rows)
        self.db.execute("COMMIT")

    def _row(self, stream_id: str, now: int) -> tuple[object, ...]:
        number = next(self._numbers)
        version = self._versions[stream_id] = self._versions[stream_id] + 1
        data = self._encoder.encode(Measured(text=_TEXT, number=number)).decode()
        event_id = f"01900000-0000-7000-8000-{number:012x}"
        return stream_id, version, event_id, "bench:measured", 1, now, "{}", data, b""

    def read_stream(self, stream_id: str) -> None:
        """Decode the events of a stream, in the order of their versions."""
        decode = self._decoder.decode
        for row in self.db.execute(f"{_SELECT} WHERE stream_id = ? ORDER BY version", (stream_id,)):
            decode(row[8])

    def read_log(self, until_position: int) -> None:
        """Decode the events of the log, in the order of their positions."""
        decode = self._decoder.decode
        for row in self._rows(until_position):
            decode(row[8])

    def project(self, until_position: int, handler: Callable[[Any], None]) -> None:
        """Do that, and call a handler with each event."""
        decode = self._decoder.decode
        for row in self._rows(until_position):
            handler(decode(row[8]))

    def _rows(self, until_position: int) -> sqlite3.Cursor:
        return self.db.execute(
            f"{_SELECT} WHERE position <= ? ORDER BY position", (until_position,)
        )
