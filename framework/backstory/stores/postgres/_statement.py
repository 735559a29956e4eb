"""The SQL: one statement a file, named as what it serves; and how texts stand in SQL."""

from importlib.resources import files
from typing import Final


def read_sql(*folder: str) -> dict[str, str]:
    """Return what the files of a folder of the package hold, each by its name without the end."""
    found = files("backstory.stores.postgres").joinpath("sql", *folder).iterdir()
    return {
        file.name.removesuffix(".sql"): file.read_text("utf-8")
        for file in found
        if file.name.endswith(".sql")
    }


# Read once and early: at its first use a statement might find no file descriptor left.
_STATEMENTS: Final = read_sql()


def statement(name: str, schema: str) -> str:
    """Return the statement of a file in `sql/`.

    Args:
        name: The file's name, without its end.
        schema: The schema of the store, quoted as SQL wants it.
    """
    return in_schema(_STATEMENTS[name], schema)


def in_schema(sql: str, schema: str) -> str:
    """Return SQL with a schema where it says `{schema}`, also at the beginning of a text.

    Args:
        sql: The SQL.
        schema: The schema, quoted as SQL wants it.
    """
    in_text = schema.replace("'", "''")
    return sql.replace("'{schema}", f"'{in_text}").replace("{schema}", schema)


def quoted_text(text: str) -> str:
    """Return a text as it is written in a statement, where there can be no parameter."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"
