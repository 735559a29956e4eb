"""The schema: numbered, forward-only migrations, applied when a store is opened for writing.

All that are missing are applied in one transaction, behind a lock: programs that start at the same
time wait for the first of them, and find nothing left to do. A schema of a newer version, or one
that holds something else, is refused and left as it is.

Whoever migrates owns the schema, and so can do everything in it. It looks for nothing in the schema
by a bare name: whoever else may create things there could give one of theirs that name.
"""

import re
from collections.abc import Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from backstory._errors import ConfigurationError
from backstory._migration import SchemaMigration
from backstory.stores.postgres._database import Database, Db, Settings
from backstory.stores.postgres._measure import TABLES
from backstory.stores.postgres._roles import grants
from backstory.stores.postgres._statement import in_schema, quoted_text, read_sql

_INDEX: Final = re.compile(r"^CREATE INDEX events_(\w+)", re.MULTILINE)
_NUMBER: Final = (
    "SELECT max(number) FROM (SELECT number, name, applied_at FROM {schema}.migrations) found"
)
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('backstory migrate ' || $1, 0))"
_SECONDS_MAX: Final = 86_400.0
"""How long an index of a large log may take to build; and others, to wait for that."""


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
            for part in self.script.strip().split("\n\n")
            if (index := _INDEX.search(part)) is None or indexes is None or index[1] in indexes
        )
        noted = f"INSERT INTO {{schema}}.migrations VALUES ({self.number}, '{self.name}');"  # noqa: S608 - names of our own files
        parts = (f"-- {self.number}: {self.name}", script, noted)
        return in_schema("\n\n".join(parts), settings.quoted_schema)


MIGRATIONS: Final = sorted(
    (
        Migration(int(name.partition("_")[0]), name.partition("_")[2], script)
        for name, script in read_sql("schema").items()
    ),
    key=lambda migration: migration.number,
)
NEWEST: Final = MIGRATIONS[-1].number
"""The newest version of the schema."""
INDEXES: Final = frozenset(name for m in MIGRATIONS for name in _INDEX.findall(m.script))
"""The indexes that a store can do without."""


async def pending(db: Db, settings: Settings) -> list[Migration]:
    """Return the migrations that a schema lacks.

    Raises:
        ConfigurationError: The schema is of a newer version, or holds something else, or the role
            may not look into it.
    """
    try:
        version = await _version(db, settings)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"{settings.name}: this role may not look into the schema ({error}); let its owner run "
            "`backstory migrate` with --writer or --reader and the name of this role"
        ) from error
    if version > NEWEST:
        raise ConfigurationError(
            f"{settings.name} has schema version {version}, and this program knows {NEWEST}; "
            "use a newer version of backstory"
        )
    return [migration for migration in MIGRATIONS if migration.number > version]


async def _version(db: Db, settings: Settings) -> int:
    found = await _tables(db, settings)
    if "migrations" not in found:
        if found:
            raise _not_ours(settings, found[0])
        return 0
    try:
        return int(await db.fetchval(in_schema(_NUMBER, settings.quoted_schema)) or 0)
    except (asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError, ValueError):
        raise _not_ours(settings, "migrations") from None


async def _tables(db: Db, settings: Settings) -> list[str]:
    """Return which of the store's tables there are, all as they are at one moment."""
    rows = await db.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = $1 AND c.relname = ANY($2::text[]) ORDER BY c.relname",
        *(settings.schema, TABLES),
    )
    return [row[0] for row in rows]


def _not_ours(settings: Settings, table: str) -> ConfigurationError:
    return ConfigurationError(
        f"{settings.name}: the schema holds a table {table!r} that is not Backstory's; "
        "name another schema with schema=…"
    )


async def migrate_schema(
    settings: Settings,
    *,
    indexes: Sequence[str] | None,
    writers: Sequence[str],
    readers: Sequence[str],
    dry_run: bool,
) -> SchemaMigration:
    """Do what `migrate` does, on a connection for this alone."""
    database = Database(settings)
    await database.open()
    try:
        return await database.run(
            "migrate",
            lambda db: migrate(
                *(db, settings), indexes=indexes, writers=writers, readers=readers, dry_run=dry_run
            ),
        )
    finally:
        await database.aclose()


async def migrate(
    db: Db,
    settings: Settings,
    *,
    indexes: Sequence[str] | None = None,
    writers: Sequence[str] = (),
    readers: Sequence[str] = (),
    dry_run: bool = False,
) -> SchemaMigration:
    """Bring a schema to the newest version; safe when several programs do it at once.

    Args:
        db: A connection of the schema's owner.
        settings: Which schema.
        indexes: The optional indexes to create with the migrations that bring them; None for all.
        writers: Roles that may append from then on.
        readers: Roles that may read from then on.
        dry_run: Only say what would be done.

    Raises:
        ConfigurationError: The schema is of a newer version, or holds something else, or the role
            may not change it, or a role that is named does not exist.
    """
    granted = grants(settings, writers=writers, readers=readers)
    missing = await pending(db, settings)
    if granted and not missing:
        await _check_owner(db, settings)
    if dry_run or not (missing or granted):
        return _migration(settings, missing, await _body(db, settings, missing, indexes, granted))
    try:
        async with db.transaction(isolation="read_committed"):
            await db.execute(_preparation(settings), timeout=_SECONDS_MAX)
            # Another program may have been here between the look and the lock.
            missing = await pending(db, settings)
            body = await _body(db, settings, missing, indexes, granted)
            if body:
                await db.execute(body, timeout=_SECONDS_MAX)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"{settings.name} is not of the newest schema, and this role may not change it "
            f"({error}); run `backstory migrate` as its owner"
        ) from error
    return _migration(settings, missing, body)


async def _check_owner(db: Db, settings: Settings) -> None:
    # To grant what one may not grant is no error to PostgreSQL, and does nothing.
    owns = "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass($1)"
    if not await db.fetchval(owns, f"{settings.quoted_schema}.events"):
        raise ConfigurationError(
            f"{settings.name}: only the owner of the schema may let roles write and read; "
            "run `backstory migrate` as its owner"
        )


def _preparation(settings: Settings) -> str:
    """Return what comes before the first change: the turn of whoever migrates this schema."""
    return "\n".join(
        (
            "SET LOCAL search_path = pg_catalog, pg_temp;",
            "SET LOCAL statement_timeout = 0;",
            "SET LOCAL lock_timeout = 0;",
            f"{LOCK.replace('$1', quoted_text(settings.schema))};",
            # So that what waits for a table does not hold up everybody who comes behind it.
            f"SET LOCAL lock_timeout = {round(settings.lock_timeout_seconds * 1000)};",
        )
    )


async def _body(
    db: Db,
    settings: Settings,
    missing: Sequence[Migration],
    indexes: Sequence[str] | None,
    granted: str,
) -> str:
    """Return the SQL of what is to be changed; empty for nothing."""
    parts = [migration.sql(settings, indexes) for migration in missing]
    schema = settings.quoted_schema
    # Not IF NOT EXISTS, which wants the right to create schemas even where there is one.
    if missing and await db.fetchval("SELECT to_regnamespace($1)", schema) is None:
        parts.insert(0, f"CREATE SCHEMA {schema};")
    return "\n\n".join(filter(None, (*parts, granted)))


def _migration(settings: Settings, missing: Sequence[Migration], body: str) -> SchemaMigration:
    whole = f"BEGIN;\n{_preparation(settings)}\n\n{body}\n\nCOMMIT;\n" if body else ""
    return SchemaMigration(before=NEWEST - len(missing), version=NEWEST, sql=whole)
