"""Raw: what asyncpg and msgspec reach on the same tables, on one connection.

The tables, indexes and constraints are the store's own, in a schema beside it, and so is the
durability: each statement is a transaction that the server has synced. An append encodes structs,
makes ids, and inserts the rows at positions that it counts by itself, since nobody else writes; it
judges no version, makes no hashes and no digest, and takes no lock. A read gets the same columns a
page at a time, each behind the last, and decodes one object for each event. It is a limit, and no
way to keep events.

Nothing of Backstory is in it but the tables, and the handler that it is given.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, Self

import asyncpg
import msgspec

_TEXT: Final = "x" * 100
_COLUMNS: Final = (
    ("position", "bigint"),
    ("stream_id", "text"),
    ("version", "bigint"),
    ("event_id", "uuid"),
    ("type", "text"),
    ("schema_version", "integer"),
    ("recorded_at", "timestamptz"),
    ("metadata", "json"),
    ("data", "json"),
    ("hash", "bytea"),
    ("digest", "bytea"),
)
_NAMES: Final = ", ".join(name for name, _ in _COLUMNS)
_READ: Final = ", ".join(name for name, _ in _COLUMNS[:9])
_NO_HASH: Final = bytes(32)
_PAGE_EVENT_COUNT: Final = 1_000
"""As many as a page of ours has."""


class Measured(msgspec.Struct, frozen=True):
    """The fields of the event of `meter`."""

    text: str
    number: int


class RawStore:
    """The tables of a store, written and read without a framework."""

    def __init__(self, db: Any, schema: str) -> None:
        """Make it; `open` connects."""
        self._db = db
        places = [f"${number}" for number in range(1, len(_COLUMNS) + 1)]
        arrays = [f"{place}::{t}[]" for place, (_, t) in zip(places, _COLUMNS, strict=True)]
        insert = f"INSERT INTO {schema}.events ({_NAMES})"
        self._insert_one = f"{insert} VALUES ({', '.join(places)})"
        self._insert = f"{insert} SELECT * FROM unnest({', '.join(arrays)})"  # noqa: S608 - fixed pieces; values are parameters
        self._select = f"SELECT {_READ} FROM {schema}.events"  # noqa: S608 - likewise
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Measured)
        self._versions = Counter[str]()
        self._numbers = count(1)

    @classmethod
    async def open(cls, url: str, *, schema: str) -> Self:
        """Connect to the tables of a schema."""
        return cls(await asyncpg.connect(url), schema)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._db.close()

    async def append_one(self, stream_id: str) -> None:
        """Write one new event, in a statement of one row."""
        await self._db.execute(self._insert_one, *self._row(stream_id, datetime.now(UTC)))

    async def append(self, stream_ids: Sequence[str]) -> None:
        """Write one new event for each id, in one statement."""
        now = datetime.now(UTC)
        columns = zip(*[self._row(stream_id, now) for stream_id in stream_ids], strict=True)
        await self._db.execute(self._insert, *columns)

    def _row(self, stream_id: str, now: datetime) -> tuple[object, ...]:
        number = next(self._numbers)
        version = self._versions[stream_id] = self._versions[stream_id] + 1
        data = self._encoder.encode(Measured(text=_TEXT, number=number)).decode()
        event_id = f"01900000-0000-7000-8000-{number:012x}"
        return (
            number,
            stream_id,
            version,
            event_id,
            "bench:measured",
            1,
            now,
            "{}",
            data,
            _NO_HASH,
            _NO_HASH,
        )

    async def read_stream(self, stream_id: str) -> None:
        """Decode the events of a stream, in the order of their versions."""
        sql = f"{self._select} WHERE stream_id = $1 AND version > $2 ORDER BY version LIMIT $3"
        decode, last = self._decoder.decode, 0
        while rows := await self._db.fetch(sql, stream_id, last, _PAGE_EVENT_COUNT):
            for row in rows:
                decode(row[8])
            last = rows[-1][2]

    async def read_log(self) -> None:
        """Decode the events of the log, in the order of their positions."""
        decode = self._decoder.decode
        async for rows in self._pages():
            for row in rows:
                decode(row[8])

    async def project(self, handler: Callable[[Any], None]) -> None:
        """Do that, and call a handler with each event."""
        decode = self._decoder.decode
        async for rows in self._pages():
            for row in rows:
                handler(decode(row[8]))

    async def project_into(self, table: str) -> None:
        """Do that, and insert a row for each event into a new table, a page in a transaction."""
        await self._db.execute(f"DROP TABLE IF EXISTS {table}")
        await self._db.execute(f"CREATE TABLE {table} (number BIGINT PRIMARY KEY, text TEXT)")
        insert = f"INSERT INTO {table} VALUES ($1, $2)"  # noqa: S608 - likewise
        decode = self._decoder.decode
        async for rows in self._pages():
            async with self._db.transaction():
                for row in rows:
                    event = decode(row[8])
                    await self._db.execute(insert, event.number, event.text)

    async def _pages(self) -> AsyncIterator[Sequence[Any]]:
        sql = f"{self._select} WHERE position > $1 ORDER BY position LIMIT $2"
        last = 0
        while rows := await self._db.fetch(sql, last, _PAGE_EVENT_COUNT):
            yield rows
            last = rows[-1][0]
