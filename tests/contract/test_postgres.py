"""The PostgreSQL store keeps the contract, on a real server."""

from pathlib import Path

import pytest
from tests.servers.fixtures import schema_url_for

from backstory import Clock, EventStore
from backstory.stores.postgres import PostgresStore
from backstory.testing.store_contract import StoreContract, Subscribe


def store_for(folder: Path, clock: Clock, **settings: object) -> EventStore:
    """Return a store in the schema of a folder."""
    dsn, _, schema = schema_url_for(folder).partition("?schema=")
    return PostgresStore(dsn, schema=schema, clock=clock, **settings)  # type: ignore[arg-type]  # each as the store takes it


@pytest.mark.usefixtures("postgres_schemas")
class TestPostgresStore(StoreContract):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return store_for(folder, clock)


@pytest.mark.usefixtures("postgres_schemas")
class TestSubscribersAreWokenWithoutPolling(Subscribe):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return store_for(folder, clock, poll_interval_seconds=3_600)


@pytest.mark.usefixtures("postgres_schemas")
class TestSubscribersAreWokenWithoutListening(Subscribe):
    def make_store(self, folder: Path, clock: Clock) -> EventStore:
        return store_for(folder, clock, listen=False, poll_interval_seconds=0.05)
