"""Roles: what a writer and a reader may do in a store, as the database's own grants.

The owner of the schema creates and changes it. A writer appends, through the one function that
does, and keeps what lies beside the log; it creates the tables of read models. A reader reads.
Neither can change or remove an event, whatever SQL it says.

The tables of read models belong to whoever has created them, and only that role can let others read
them. So each writer does, for whoever may read the events.
"""

from collections.abc import Sequence
from typing import Final

from backstory.stores.postgres._database import Db, Settings
from backstory.stores.postgres._statement import in_schema, read_sql

_SCRIPTS: Final = read_sql("roles")


def grants(settings: Settings, *, writers: Sequence[str], readers: Sequence[str]) -> str:
    """Return the SQL that makes roles writers and readers of a store; empty for none."""
    named = [("writer", role) for role in writers] + [("reader", role) for role in readers]
    if not named:
        return ""
    scripts = [_SCRIPTS[what].replace("{role}", _quoted(role)) for what, role in named]
    return in_schema("\n".join((*scripts, _SCRIPTS["share_tables"])), settings.quoted_schema)


async def share_tables(db: Db, settings: Settings) -> None:
    """Let whoever may read the events read the tables that this role has in the schema, or will."""
    await db.execute(in_schema(_SCRIPTS["share_tables"], settings.quoted_schema))


def _quoted(role: str) -> str:
    doubled = role.replace('"', '""')
    return f'"{doubled}"'
