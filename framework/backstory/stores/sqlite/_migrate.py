"""The schema: numbered, forward-only migrations, applied when a store is opened for writing.

`PRAGMA user_version` holds the number of the last migration, and `PRAGMA application_id` says that
the file is a store at all. A file of a newer version, or one that is something else, is refused and
left as it is.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from backstory._errors import ConfigurationError
from backstory._migration import SchemaMigration
from backstory.stores.sqlite._statement import read_sql, statement

APPLICATION_ID: Final = 0x42535459  # "BSTY"


_MIGRATIONS: Final = sorted(
    (int(name.split("_")[0]), script) for name, script in read_sql("schema").items()
)


def migrations() -> Sequence[tuple[int, str]]:
    """Return number and SQL of every migration, in order."""
    return _MIGRATIONS


def schema_version(db: sqlite3.Connection, store: str) -> int:
    """Return the number of the last migration; 0 for an empty file.

    Raises:
        ConfigurationError: The file is no store, or one of a newer version.
    """
    version, application_id, table_count = db.execute(statement("read_schema")).fetchone()
    if application_id != APPLICATION_ID and table_count:
        raise ConfigurationError(
            f"{store} is an SQLite file, and not a Backstory store; name another file"
        )
    newest = migrations()[-1][0]
    if version > newest:
        raise ConfigurationError(
            f"{store} has schema version {version}, and this program knows {newest}; "
            "use a newer version of backstory"
        )
    return int(version)


def migration_from(version: int) -> SchemaMigration:
    """Return what a file of a schema version lacks."""
    newest = migrations()[-1][0]
    parts = [_script(number, script) for number, script in migrations() if number > version]
    return SchemaMigration(before=version, version=newest, sql="\n".join(parts))


def _script(number: int, script: str) -> str:
    pragmas = f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};"
    return f"BEGIN IMMEDIATE;\n{script.strip()}\n{pragmas}\nCOMMIT;\n"


def migrate(db: sqlite3.Connection, store: str, *, until: int | None = None) -> None:
    """Bring a file to a schema; safe when several processes do it at once.

    Args:
        db: A connection to the file.
        store: The store's name, for messages.
        until: The number of the last migration; None for the newest.

    Raises:
        ConfigurationError: The file is no store, or one of a newer version.
    """
    for number, script in migrations():
        if schema_version(db, store) >= number or (until is not None and number > until):
            continue
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been here between the look and the lock.
            if schema_version(db, store) < number:
                for statement in _statements(script):
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {number}")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    # Not executescript, which would commit the transaction that is open.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
