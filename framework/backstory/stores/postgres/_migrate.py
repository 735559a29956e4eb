"""The schema: numbered, forward-only migrations, applied when a store is opened for writing.

All that are missing are applied in one transaction, behind a lock: programs that start at the same
time wait for the first of them, and find nothing left to do. A schema of a newer version, or one
that holds something else, is refused and left as it is.
"""

import re
from collections.abc import Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from backstory._errors import ConfigurationError
from backstory.stores.postgres._database import Db, Settings
from backstory.stores.postgres._statement import read_sql

_INDEX: Final = re.compile(r"^CREATE INDEX events_(\w+)", re.MULTILINE)
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('backstory migrate ' || $1, 0))"


class Migration(Struct, frozen=True):
    """One step of the schema."""

    number: int
    """Its number, from 1."""
    name: str
    """What it brings."""
    script: str
    """Its SQL, with `{schema}` where the name of the schema belongs."""

    def sql(self, settings: Settings, indexes: Sequence[str] | None) -> str:
        """Return the SQL for a schema, with those of its optional indexes that are wanted."""
        script = "\n\n".join(
            part
            for part in self.script.split("\n\n")
            if (index := _INDEX.search(part)) is None or indexes is None or index[1] in indexes
        )
        return script.replace("{schema}", settings.quoted_schema)


_MIGRATIONS: Final = sorted(
    (
        Migration(int(name.partition("_")[0]), name.partition("_")[2], script)
        for name, script in read_sql("schema").items()
    ),
    key=lambda migration: migration.number,
)
INDEXES: Final = frozenset(name for m in _MIGRATIONS for name in _INDEX.findall(m.script))
"""The indexes that a store can do without."""


async def pending(db: Db, settings: Settings) -> list[Migration]:
    """Return the migrations that a schema lacks.

    Raises:
        ConfigurationError: The schema is of a newer version, or holds something else.
    """
    version = await _version(db, settings)
    newest = _MIGRATIONS[-1].number
    if version > newest:
        raise ConfigurationError(
            f"{settings.name} has schema version {version}, and this program knows {newest}; "
            "use a newer version of backstory"
        )
    return [migration for migration in _MIGRATIONS if migration.number > version]


async def _version(db: Db, settings: Settings) -> int:
    sql = f"SELECT max(number) FROM {settings.quoted_schema}.migrations"  # noqa: S608 - a quoted name
    try:
        return int(await db.fetchval(sql) or 0)
    except asyncpg.InvalidSchemaNameError:
        return 0
    except asyncpg.UndefinedTableError:
        await _check_empty(db, settings)
        return 0


async def _check_empty(db: Db, settings: Settings) -> None:
    found = await db.fetchval(
        "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND relname = ANY($2::text[])",
        settings.schema,
        ["events", "log", "snapshots", "checkpoints", "notes"],
    )
    if found is not None:
        raise ConfigurationError(
            f"{settings.name}: the schema holds a table {found!r} that is not Backstory's; "
            "name another schema with schema=…"
        )


async def migrate(db: Db, settings: Settings, *, indexes: Sequence[str] | None = None) -> None:
    """Bring a schema to the newest version; safe when several programs do it at once.

    Args:
        db: A connection of the schema's owner.
        settings: Which schema.
        indexes: The optional indexes to create with the migrations that bring them; None for all.

    Raises:
        ConfigurationError: The schema is of a newer version, or holds something else, or the role
            may not change it.
    """
    try:
        if not await pending(db, settings):
            return
        async with db.transaction(isolation="read_committed"):
            await db.execute(_LOCK, settings.schema)
            # Another program may have been here between the look and the lock.
            for migration in await pending_in_transaction(db, settings):
                await _apply(db, settings, migration, indexes)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"{settings.name} is not of the newest schema, and this role may not change it "
            f"({error}); run `backstory migrate` as its owner"
        ) from error


async def pending_in_transaction(db: Db, settings: Settings) -> list[Migration]:
    """Return what is missing, without an error that would end the transaction."""
    table = f"{settings.quoted_schema}.migrations"
    if await db.fetchval("SELECT to_regclass($1)", table) is None:
        await _check_empty(db, settings)
        return list(_MIGRATIONS)
    return await pending(db, settings)


async def _apply(
    db: Db, settings: Settings, migration: Migration, indexes: Sequence[str] | None
) -> None:
    if migration.number == 1:
        exists = await db.fetchval("SELECT to_regnamespace($1)", settings.quoted_schema)
        if exists is None:
            await db.execute(f"CREATE SCHEMA {settings.quoted_schema}")
    await db.execute(migration.sql(settings, indexes))
    await db.execute(
        f"INSERT INTO {settings.quoted_schema}.migrations VALUES ($1, $2)",  # noqa: S608 - a quoted name
        migration.number,
        migration.name,
    )
