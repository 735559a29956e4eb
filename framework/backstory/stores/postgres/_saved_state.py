"""What is kept beside the log: snapshots, checkpoints with what belongs to them, and notes."""

from collections.abc import Sequence

from backstory._progress import Note, Progress, check_moved
from backstory._snapshot import SNAPSHOT_COUNT_MAX, Checkpoint, Snapshot
from backstory.stores.postgres._database import Db
from backstory.stores.postgres._statement import statement
from backstory.stores.postgres._tables import change_tables


async def put_snapshot(db: Db, schema: str, snapshot: Snapshot) -> None:
    """Keep a snapshot, and the newest of its stream."""
    one = snapshot
    async with db.transaction():
        state = one.state_json.decode()
        await db.execute(
            statement("save_snapshot", schema), one.stream_id, one.version, one.fingerprint, state
        )
        await db.execute(statement("thin_snapshots", schema), one.stream_id, SNAPSHOT_COUNT_MAX)


async def get_snapshot(
    db: Db, schema: str, stream_id: str, fingerprint: str, until_version: int
) -> Snapshot | None:
    """Return the newest snapshot that fits, or None."""
    sql = statement("load_snapshot", schema)
    row = await db.fetchrow(sql, stream_id, fingerprint, until_version)
    return None if row is None else Snapshot(row[0], row[1], row[2], row[3].encode())


async def drop_snapshots(db: Db, schema: str, stream_id: str | None) -> int:
    """Delete the snapshots of a stream, or all; return how many there were."""
    return int(await db.fetchval(statement("delete_snapshots", schema), stream_id))


async def put_progress(db: Db, schema: str, progress: Progress) -> None:
    """Keep a checkpoint, and what belongs to it, in one transaction.

    Raises:
        CheckpointMovedError: It is not where it is expected.
        TableStatementError: A statement was refused.
    """
    new = progress.checkpoint
    async with db.transaction():
        check_moved(await _position(db, schema, new.projection), progress)
        await change_tables(db, schema, progress.changes)
        values = (new.projection, new.position, new.fingerprint, new.model_json.decode())
        sql = statement("save_checkpoint", schema)
        if await db.fetchval(sql, *values, progress.after_position) is None:
            check_moved(await _position(db, schema, new.projection), progress)
        await _note(db, schema, progress.notes)


async def _position(db: Db, schema: str, projection: str) -> int:
    return await db.fetchval(statement("read_checkpoint_position", schema), projection) or 0


async def get_checkpoint(db: Db, schema: str, projection: str) -> Checkpoint | None:
    """Return a projection's checkpoint, or None."""
    row = await db.fetchrow(statement("load_checkpoint", schema), projection)
    return None if row is None else Checkpoint(row[0], row[1], row[2], row[3].encode())


async def drop_checkpoint(db: Db, schema: str, projection: str) -> None:
    """Forget a projection's checkpoint."""
    await db.execute(statement("delete_checkpoint", schema), projection)


async def put_notes(db: Db, schema: str, notes: Sequence[Note]) -> None:
    """Keep and forget notes, all or none."""
    async with db.transaction():
        await _note(db, schema, notes)


async def _note(db: Db, schema: str, notes: Sequence[Note]) -> None:
    for one in notes:
        if one.value_json is None:
            await db.execute(statement("delete_note", schema), one.space, one.key)
        else:
            value = one.value_json.decode()
            await db.execute(statement("save_note", schema), one.space, one.key, value)


async def list_notes(db: Db, schema: str, space: str, after_key: str, limit: int) -> list[Note]:
    """Return the next notes of a space, in the order of their keys' bytes."""
    rows = await db.fetch(statement("list_notes", schema), space, after_key, limit)
    return [Note(row[0], row[1], row[2].encode()) for row in rows]
