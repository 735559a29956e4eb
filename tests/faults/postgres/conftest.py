"""What the fault tests of the PostgreSQL store share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.faults.postgres.clients import Clients
from tests.servers.proxy import Proxy


@pytest.fixture
def clients(postgres_url: str, tmp_path: Path) -> Iterator[Clients]:
    """Yield clients of a database of the test's own; what still runs at the end is killed."""
    clients = Clients(postgres_url, tmp_path)
    yield clients
    clients.end()


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """Yield a proxy in front of a database of the test's own."""
    async with Proxy(postgres_url) as proxy:
        yield proxy
