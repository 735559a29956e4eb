"""The fixtures that hand PostgreSQL to tests, and what they have in common.

Nothing is started before a test asks for it. Where no server can be had, the tests that need one
are skipped with the reason, except under CI, where they fail.

`postgres_schema_url` is for the many tests that need an empty store: a schema costs nothing until
somebody creates it. `postgres_url` is for tests of what belongs to a whole database, such as locks,
notifications and connections; creating one takes a tenth of a second. `own_postgres_server` is for
tests that stop, kill or restart a server, or set it up; it takes a second.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from tests.servers.postgres import (
    VARIABLE,
    OwnPostgresServer,
    PostgresServer,
    why_absent,
    why_none_of_our_own,
)


class SharedDatabase:
    """The one database of a session, in which each test has a schema of its own."""

    def __init__(self) -> None:
        self.url: str | None = None
        """Where it is; None before the fixture `postgres_schemas` has made it."""
        self._schemas: dict[Path, str] = {}

    def url_for(self, folder: Path) -> str:
        """Return the URL of the schema that belongs to a test's folder, always the same."""
        assert self.url is not None, "the test must use the fixture postgres_schemas"
        schema = self._schemas.setdefault(folder, f"story_{len(self._schemas) + 1}")
        parts = urlsplit(self.url)
        query = urlencode([*parse_qsl(parts.query), ("schema", schema)])
        return parts._replace(query=query).geturl()


_shared: Final = SharedDatabase()


def schema_url_for(folder: Path) -> str:
    """Return the URL of an empty schema for a folder, and of the same schema for the same folder.

    For `make_store(self, folder, clock)` of a contract, whose class is marked with
    `@pytest.mark.usefixtures("postgres_schemas")`. Whoever opens the URL creates the schema; it
    goes when the session ends.
    """
    return _shared.url_for(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Yield the server that a session's tests share, which they leave running."""
    if (reason := why_absent()) is not None:
        do_without(reason)
    if url := os.environ.get(VARIABLE):
        yield PostgresServer(url)
        return
    with OwnPostgresServer() as server, pytest.MonkeyPatch.context() as patch:
        # It has no TLS. To ask for it costs each connection a turn, and where a connection is given
        # up at that moment, asyncpg leaves an error that nobody looks at, which fails a test.
        patch.setenv("PGSSLMODE", "disable")
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield the URL of a new and empty database."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def postgres_schemas(postgres_server: PostgresServer) -> Iterator[SharedDatabase]:
    """Make the database that `schema_url_for` finds its schemas in."""
    _shared.url = postgres_server.create_database()
    yield _shared
    url, _shared.url = _shared.url, None
    # Our own server goes as a whole.
    if not postgres_server.is_ours:
        postgres_server.drop_database(url)


@pytest.fixture
def postgres_schema_url(postgres_schemas: SharedDatabase, tmp_path: Path) -> str:
    """Return the URL of a new schema; it is the one of the test's temporary folder."""
    return postgres_schemas.url_for(tmp_path)


@pytest.fixture
def needs_own_postgres_server() -> None:
    """Skip a test that starts servers of its own where it cannot."""
    if os.environ.get(VARIABLE):
        pytest.skip(f"needs a server of its own to stop and kill, and {VARIABLE} names another")
    if (reason := why_none_of_our_own()) is not None:
        do_without(reason)


@pytest.fixture
def own_postgres_server(
    needs_own_postgres_server: None,  # noqa: ARG001 - it decides whether there can be one
    request: pytest.FixtureRequest,
) -> Iterator[OwnPostgresServer]:
    """Yield a server of the test's own; its settings may be a parameter of the fixture."""
    with OwnPostgresServer(settings=getattr(request, "param", None)) as server:
        yield server


def do_without(reason: str) -> NoReturn:
    """Skip the test, or fail it under CI, where nothing is skipped."""
    if os.environ.get("CI"):
        pytest.fail(f"nothing is skipped under CI: {reason}", pytrace=False)
    pytest.skip(reason)
