"""A store in PostgreSQL, for several processes on several machines."""

from importlib.util import find_spec

if absent := [name for name in ("asyncpg", "circuitbreaker", "tenacity") if not find_spec(name)]:
    raise ImportError(
        f"the PostgreSQL store needs {', '.join(absent)}, which the extra `postgres` brings: "
        "pip install '.[postgres]' in a clone of Backstory"
    )

from backstory.stores.postgres._store import PostgresStore

__all__ = ["PostgresStore"]
