"""The embedded store: one SQLite file.

An acknowledged append is synced to the disk by default. Several processes may share a file.
"""

from backstory.stores.sqlite._store import SQLiteStore

__all__ = ["SQLiteStore"]
