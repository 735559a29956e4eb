"""The SQL: one statement a file, named as the method that it serves."""

from importlib.resources import files
from typing import Final


def read_sql(*folder: str) -> dict[str, str]:
    """Return what the files of a folder of the package hold, each by its name without the end."""
    found = files("backstory.stores.sqlite").joinpath("sql", *folder).iterdir()
    return {
        file.name.removesuffix(".sql"): file.read_text("utf-8")
        for file in found
        if file.name.endswith(".sql")
    }


# Read once and early: at its first use a statement might find no file descriptor left.
_STATEMENTS: Final = read_sql()


def statement(name: str) -> str:
    """Return the statement of a file in `sql/`."""
    return _STATEMENTS[name]
