"""The SQLite store keeps the contract."""

from pathlib import Path

from backstory import Clock, EventStore
from backstory.stores.sqlite import SQLiteStore
from backstory.testing.store_contract import StoreContract, Subscribe


class TestSQLiteStore(StoreContract):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return SQLiteStore(folder / "story.db", clock=clock)


class TestSubscribersAreWokenWithoutPolling(Subscribe):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return SQLiteStore(folder / "story.db", clock=clock, poll_interval_seconds=3_600)
