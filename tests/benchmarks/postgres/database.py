"""A database to measure on: on a server of our own beside the other files, or on one by its URL."""

import os
import stat
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import asyncpg
from tests.benchmarks.bench import Bench
from tests.benchmarks.postgres.raw import RawStore
from tests.servers.postgres import VARIABLE, OwnPostgresServer, PostgresServer

from backstory.stores.postgres import PostgresStore

_SETTINGS: Final = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
_RAW_SCHEMA: Final = "raw"


@contextmanager
def database(bench: Bench) -> Generator[str]:
    """Yield the URL of a new and empty database, which is gone afterwards."""
    with _server(bench.folder) as server:
        url = server.create_database()
        note = _said(server)
        if note not in bench.notes:
            bench.notes.append(note)
        try:
            yield url
        finally:
            server.drop_database(url)


@contextmanager
def _server(folder: Path) -> Generator[PostgresServer]:
    if url := os.environ.get(VARIABLE):
        yield PostgresServer(url)
        return
    # The server may run as somebody else, who must get to its data. Where it cannot, as below the
    # superuser's own folder, they are where files for a while are, which may be in memory.
    folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    is_open = all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.resolve().parents)
    with OwnPostgresServer(folder=folder if is_open else None) as server:
        yield server


def _said(server: PostgresServer) -> str:
    found = server.execute(
        "SELECT name, current_setting(name) FROM unnest($1::text[]) AS name", _SETTINGS
    )
    version, *settings = [f"{name} = {value}" for name, value in found]
    where = "a server of our own, over TCP on this machine" if server.is_ours else "a server by URL"
    return f"PostgreSQL {version.partition(' = ')[2]}, {where}: {', '.join(settings)}"


@asynccontextmanager
async def stores(url: str) -> AsyncGenerator[tuple[PostgresStore, RawStore]]:
    """Open two empty stores in one database: ours, and a raw one on the same tables."""
    async with PostgresStore(url, schema=_RAW_SCHEMA):
        pass  # which has created the tables
    async with PostgresStore(url) as store:
        raw = await RawStore.open(url, schema=_RAW_SCHEMA)
        try:
            yield store, raw
        finally:
            await raw.aclose()


async def analyze(url: str) -> None:
    """Let the database see what it holds, as it does by itself after a while."""
    db = await asyncpg.connect(url)
    await db.execute("VACUUM ANALYZE")
    await db.close()
