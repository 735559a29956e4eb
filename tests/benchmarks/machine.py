"""The machine of a run, as far as it says how to read the figures; no names, no paths."""

import os
import platform
import sqlite3
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Final

PACKAGES: Final = ("backstory", "aiosqlite", "anyio", "asyncpg", "msgspec")


def machine(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return what there is to say, in the order of its weight."""
    facts = {
        "cores": str(os.cpu_count()),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {platform.machine()}",
    }
    for package in packages:
        with suppress(PackageNotFoundError):
            facts[package] = version(package)
    return facts
