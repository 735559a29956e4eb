"""The SQLite store keeps the contract."""

from pathlib import Path

from tests.contract.store_contract import StoreContract

from backstory import Clock, EventStore
from backstory.stores.sqlite import SQLiteStore


class TestSQLiteStore(StoreContract):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return SQLiteStore(folder / "story.db", clock=clock)
