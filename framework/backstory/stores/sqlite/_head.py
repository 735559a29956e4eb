"""The head of the log, kept a second time beside the file, so that a lost tail is noticed.

A database file can lose its end without a trace: a WAL that is cut, or damaged by one bit, is read
up to there, and SQLite says that all is well. So behind every commit and before its acknowledgement
the head is written into a small file of its own. When the store is opened, the log must reach at
least as far.

The file is not synced. After a power cut it may be behind the log, which alarms nobody; it is never
ahead of what a power cut leaves, since it is written after the commit has been synced. So a store
that does not sync its commits (`durability=buffered`) leaves the file as it is: it promises less,
and a file that went ahead of its log would refuse it after every power cut. The file is written by
whoever has the turn to write, so it never goes back.

The record is one line of text, always of the same length:

    backstory-head 1 <incarnation> <position, 19 digits> <digest, hex> <check, hex>

where the check is the first 16 hex digits of the sha256 of all before it, its blank included.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

from msgspec import Struct

from backstory._commit import LogHead
from backstory._errors import CorruptLogError
from backstory.stores.sqlite._turn import open_beside

_FORMAT: Final = "backstory-head 1 {incarnation} {position:019d} {digest} "
_CHECK_LENGTH: Final = 16
_RECORD_LENGTH: Final = len(_FORMAT.format(incarnation="0" * 32, position=0, digest="0" * 64)) + 17


class HeadRecord(Struct, frozen=True):
    """A log, and where it ended when it was last written to."""

    incarnation: str
    """Which log."""
    position: int
    """Its last position."""
    digest: bytes
    """Its running digest up to there."""


class HeadFile:
    """The file beside a database file that holds the head of its log."""

    def __init__(self, path: Path) -> None:
        """Open the file; create it when it is missing.

        Raises:
            OSError: It could not be opened.
        """
        self._descriptor = open_beside(path, "head")

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def write(self, record: HeadRecord) -> None:
        """Write the head, in one call of the system.

        Raises:
            OSError: It could not be written.
        """
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, format_head(record))


def format_head(record: HeadRecord) -> bytes:
    """Return a record as the line that is kept."""
    body = _FORMAT.format(
        incarnation=record.incarnation, position=record.position, digest=record.digest.hex()
    )
    return f"{body}{_check(body.encode())}\n".encode()


def read_head(path: Path) -> HeadRecord | None:
    """Return the head that is kept beside a database file, or None where none can be read."""
    try:
        with Path(f"{path}-head").open("rb") as file:
            line = file.read(_RECORD_LENGTH)
    except OSError:
        return None
    body, check = line[: -_CHECK_LENGTH - 1], line[-_CHECK_LENGTH - 1 : -1]
    if len(line) != _RECORD_LENGTH or check.decode(errors="replace") != _check(body):
        return None
    _, _, incarnation, position, digest = body.decode().split()
    return HeadRecord(incarnation, int(position), bytes.fromhex(digest))


def _check(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:_CHECK_LENGTH]


def check_head(kept: HeadRecord, incarnation: str, log: LogHead, *, path: Path, store: str) -> None:
    """Refuse a log that is not what was acknowledged, or does not reach as far.

    Args:
        kept: What was kept, read before the log's own head.
        incarnation: The log's; empty where there is none.
        log: Where the log ends.
        path: The file that the record lies beside.
        store: The store's name, for messages.

    Raises:
        CorruptLogError: Its end is lost, or it is another one.
    """
    if not kept.position:
        return
    if kept.incarnation != incarnation:
        found = "another log" if incarnation else "no log"
        reason = f"a log was acknowledged up to position {kept.position}, and {found} is there now"
    elif log.position < kept.position:
        reason = (
            f"the log ends at position {log.position}, and {kept.position} was acknowledged; "
            "the end is lost"
        )
    elif log.position == kept.position and log.digest != kept.digest:
        reason = "the log has other events than were acknowledged"
    else:
        return
    raise CorruptLogError(
        where=store,
        position=min(log.position + 1, kept.position),
        reason=f"{reason}. Where that is meant, as with an older backup that was put back, delete "
        f"{path}-head",
    )
