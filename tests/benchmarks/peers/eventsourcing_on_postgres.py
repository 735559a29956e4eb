"""eventsourcing on PostgreSQL: psycopg with its pool.

Its recorder locks its table for each append, so that positions become visible in their order; its
pool has 5 connections, and 10 more when they are all taken, so 64 threads wait for those.
"""

from importlib import import_module
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from tests.benchmarks.peers.eventsourcing import Eventsourcing

import_module("psycopg_pool")  # so that a peer without it counts as not installed


class EventsourcingOnPostgres(Eventsourcing):
    """Its PostgreSQL recorder and its application, at their defaults."""

    setting: ClassVar[str] = "`eventsourcing.postgres` (defaults); 64 threads"

    def __init__(self, url: str) -> None:
        """Make a peer on a database."""
        self._url = urlsplit(url)

    def _environment(self, folder: Path) -> dict[str, str]:
        url = self._url
        return {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": url.path.removeprefix("/"),
            "POSTGRES_HOST": url.hostname or "",
            "POSTGRES_PORT": str(url.port or 5432),
            "POSTGRES_USER": unquote(url.username or ""),
            # It wants one, also where the server asks for none.
            "POSTGRES_PASSWORD": unquote(url.password or "none"),
        }
