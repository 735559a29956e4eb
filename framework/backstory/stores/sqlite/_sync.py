"""Syncing to the disk what another process has written and perhaps not synced."""

import os
import sys
from pathlib import Path

if sys.platform == "darwin":
    import fcntl


def sync_wal(path: Path) -> None:
    """Sync the WAL of a database file, where there is one.

    A process that is killed between its write and its sync leaves events that SQLite reads, and
    that a power cut would take. Before anybody is told that they are durable, they are made so.

    Raises:
        OSError: It could not be synced.
    """
    try:
        descriptor = os.open(f"{path}-wal", os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return  # checkpointed, and so synced
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        # There fsync leaves the drive's own cache as it is.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)
