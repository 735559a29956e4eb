"""The in-memory store keeps the contract, and so specifies it."""

from pathlib import Path

from tests.contract.store_contract import StoreContract

from backstory import Clock, EventStore
from backstory.stores.in_memory import InMemoryStore


class TestInMemoryStore(StoreContract):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return InMemoryStore(clock=clock)
