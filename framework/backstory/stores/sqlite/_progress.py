"""How progress and notes are kept: statements of one transaction, which the writer runs."""

import sqlite3
from collections.abc import Sequence

from backstory._progress import Note, Progress, check_moved
from backstory._tables import change_tables
from backstory.stores.sqlite._statement import statement


def keep_progress(progress: Progress, db: sqlite3.Connection) -> None:
    """Keep a checkpoint, and what belongs to it.

    Raises:
        CheckpointMovedError: It is not where it is expected.
        TableStatementError: A statement was refused.
    """
    new = progress.checkpoint
    row = db.execute(statement("read_checkpoint_position"), (new.projection,)).fetchone()
    check_moved(0 if row is None else row[0], progress)
    change_tables(db, progress.changes)
    values = (new.projection, new.position, new.fingerprint, new.model_json.decode())
    db.execute(statement("save_checkpoint"), values)
    note(progress.notes, db)


def note(notes: Sequence[Note], db: sqlite3.Connection) -> None:
    """Keep notes, and forget those without a value."""
    for one in notes:
        if one.value_json is None:
            db.execute(statement("delete_note"), (one.space, one.key))
        else:
            db.execute(statement("save_note"), (one.space, one.key, one.value_json.decode()))
