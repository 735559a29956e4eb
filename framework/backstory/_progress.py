"""What a projector keeps in the store: its progress, in one piece, and small notes.

Progress is a checkpoint together with everything that belongs to the same position: what changed in
the tables of a read model, and what was noted of events that are parked. All of it is kept or none,
so that a read model in tables has seen every event exactly once, wherever the program was ended.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from backstory._errors import CheckpointMovedError
from backstory._snapshot import Checkpoint

SQLValue: TypeAlias = int | float | str | bytes | None
"""What a parameter of a statement, and a column of a row, may be."""

NOTE_BYTES_MAX: Final = 1_000_000
"""The JSON of one note."""


class Note(Struct, frozen=True):
    """A small record that the framework keeps in a store beside the log."""

    space: str
    """What it is about, such as the parked events of one projection."""
    key: str
    """Which one of them."""
    value_json: bytes | None
    """What it says, as JSON; None forgets it."""
    owner: str | None = None
    """The projection whose owner alone may note it: a store that can lose what it owns refuses it
    from anybody else. None for anybody; it is not kept."""


class TableChange(Struct, frozen=True):
    """One SQL statement on the tables of a read model."""

    sql: str
    """The statement, with `$1`, `$2` … for its parameters."""
    parameters: tuple[SQLValue, ...] = ()
    """Their values."""
    position: int = 0
    """The event that it comes from; 0 for none."""


class Progress(Struct, frozen=True):
    """Everything that is kept at one checkpoint, all or none."""

    checkpoint: Checkpoint
    """How far the projection has come."""
    after_position: int | None = None
    """Where the checkpoint must be before, 0 for none yet; None for wherever it is."""
    changes: Sequence[TableChange] = ()
    """What changes in its tables, in this order, before the checkpoint is kept."""
    notes: Sequence[Note] = ()
    """What is noted, or forgotten, with it."""
    owner: str | None = None
    """The projection whose owner alone may keep it; None for that of the checkpoint's name."""


def check_moved(position: int, progress: Progress) -> None:
    """Refuse progress that does not begin at a position, where the kept checkpoint is.

    Raises:
        CheckpointMovedError: It does not.
    """
    if progress.after_position not in (None, position):
        raise CheckpointMovedError(
            projection=progress.checkpoint.projection,
            expected_position=progress.after_position or 0,
            actual_position=position,
        )


class TableRows(Struct, frozen=True):
    """What a query of a read model's tables gave."""

    columns: tuple[str, ...]
    """The names of the columns."""
    rows: list[tuple[SQLValue, ...]]
    """The rows, in the order of the query."""
