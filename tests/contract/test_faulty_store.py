"""A faulty store that no fault was asked of keeps the contract of the store behind it."""

from pathlib import Path

from backstory import Clock, EventStore
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import FaultyStore
from backstory.testing.store_contract import StoreContract


class TestFaultyStore(StoreContract):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return FaultyStore(InMemoryStore(clock=clock))
