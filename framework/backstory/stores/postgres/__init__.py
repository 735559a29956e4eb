"""A store in PostgreSQL, for several processes on several machines."""

from backstory.stores.postgres._store import PostgresStore

__all__ = ["PostgresStore"]
