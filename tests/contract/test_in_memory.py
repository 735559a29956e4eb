"""The in-memory store keeps the contract, and so specifies it."""

from pathlib import Path

from backstory import Clock, EventStore
from backstory.stores.in_memory import InMemoryStore
from backstory.testing.store_contract import StoreContract


class TestInMemoryStore(StoreContract):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return InMemoryStore(clock=clock)
