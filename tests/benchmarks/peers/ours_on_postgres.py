"""Backstory on PostgreSQL, as a peer of the others."""

from pathlib import Path
from typing import ClassVar

from tests.benchmarks.peers.ours import Ours

from backstory import EventStore
from backstory.stores.postgres import PostgresStore


class OursOnPostgres(Ours):
    """The PostgreSQL store at its defaults."""

    setting: ClassVar[str] = "`backstory.stores.postgres` (defaults)"

    def __init__(self, url: str) -> None:
        """Make a peer on a database."""
        self._url = url

    def _make_store(self, folder: Path) -> EventStore:
        return PostgresStore(self._url)
