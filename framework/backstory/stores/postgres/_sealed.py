"""Events with what seals them, read so that damage is named and does not hide what is whole.

PostgreSQL keeps the types of a row whatever happens to its bytes. What remains is looked at here:
texts that are none any more, and hashes that have lost their form.
"""

from typing import Any

from backstory._commit import NO_HASH
from backstory._errors import CorruptLogError
from backstory._recorded import RecordedEvent
from backstory._store import SealedEvent
from backstory.stores.postgres._database import Db
from backstory.stores.postgres._query import PAGE_BYTES_MAX
from backstory.stores.postgres._statement import statement


async def read_sealed(db: Db, schema: str, after_position: int, limit: int) -> list[SealedEvent]:
    """Return events and what seals them; fewer than asked for when they have become large.

    Raises:
        CorruptLogError: One of them is damaged.
    """
    sql = statement("read_sealed", schema)
    rows = await db.fetch(sql, after_position, limit, PAGE_BYTES_MAX)
    return [_sealed(row, schema) for row in rows]


def _sealed(row: Any, schema: str) -> SealedEvent:
    position, stream_id, version, event_id, event_type, *others = row[:9]
    stored, digest, hash_before, position_before = row[9:]
    if not (_is_hash(stored) and _is_hash(digest)):
        raise _damaged(schema, position, "its hash or its digest has lost its form")
    try:
        texts = stream_id.decode(), event_type.decode()
    except UnicodeDecodeError as error:
        raise _damaged(schema, position, f"a text in it is no text any more: {error}") from None
    recorded = RecordedEvent(position, texts[0], version, event_id, texts[1], *others)
    if not _is_hash(hash_before):
        hash_before = None
    return SealedEvent(recorded, stored, digest, hash_before, position_before)


def _damaged(schema: str, position: int, reason: str) -> CorruptLogError:
    return CorruptLogError(where=f"the schema {schema}", position=position, reason=reason)


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == len(NO_HASH)
