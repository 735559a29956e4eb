"""Each fault of the proxy does what it says, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.conftest import DEADLINE_SECONDS
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.anyio

LOST = (ConnectionError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)
"""What asyncpg raises when a connection breaks, by the moment at which it does."""

ADD = "INSERT INTO word VALUES ($1)"


@pytest.fixture
async def direct(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection that goes round the proxy, to a database with an empty table."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE TABLE word (word text)")
    yield connection
    await connection.close()


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """Yield a proxy in front of that database, without faults."""
    async with Proxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
async def client(
    proxy: Proxy,
    direct: asyncpg.Connection,  # noqa: ARG001 - it has created the table
) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection through the proxy."""
    connection = await asyncpg.connect(proxy.url, command_timeout=DEADLINE_SECONDS)
    yield connection
    connection.terminate()


async def words(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch("SELECT word FROM word ORDER BY word")
    return [row["word"] for row in rows]


async def add_in_transaction(connection: asyncpg.Connection, word: str) -> None:
    async with connection.transaction():
        await connection.execute(ADD, word)
        assert await words(connection) == [word]


async def test_without_faults_everything_passes(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    large = "x" * 1_000_000

    await client.execute(ADD, "a")
    await client.executemany(ADD, [("b",), (large,)])
    await client.copy_records_to_table("word", records=[("c",)])

    assert await words(client) == await words(direct) == ["a", "b", "c", large]
    assert (proxy.connection_count, proxy.injected.total()) == (1, 0)


async def test_answer_is_lost_after_a_prepared_statement_is_executed(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    add = await client.prepare(ADD)
    await add.fetch("a")
    proxy.cut_at_reply()

    with pytest.raises(LOST):
        await add.fetch("b")

    assert await words(direct) == ["a", "b"]
    assert proxy.injected == {"cut_at_reply": 1}


async def test_answer_is_lost_though_the_statement_is_new(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    proxy.cut_at_reply()

    with pytest.raises(LOST):
        await client.execute(ADD, "a")

    assert await words(direct) == ["a"]


async def test_answer_to_a_commit_is_lost_and_to_what_precedes_it_is_not(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    proxy.cut_at_reply(b"commit")

    with pytest.raises(LOST):
        await add_in_transaction(client, "a")

    assert await words(direct) == ["a"]


async def test_answer_of_many_pieces_is_lost_after_the_last(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    proxy.cut_at_reply(b"repeat")

    # The server sends the rows as it goes, and commits after them.
    with pytest.raises(LOST):
        await client.fetch(
            "INSERT INTO word SELECT repeat('x', 1000000) FROM generate_series(1, 10)"
            " RETURNING word"
        )

    assert await direct.fetchval("SELECT count(*) FROM word") == 10


async def test_answer_to_a_copy_is_lost_after_its_data_have_arrived(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    proxy.cut_at_reply(b"COPY")

    with pytest.raises(LOST):
        await client.copy_records_to_table("word", records=[("a",), ("b",)])

    assert await words(direct) == ["a", "b"]


async def test_cut_waits_for_a_prepared_statement_by_its_text(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    add = await client.prepare(ADD)
    proxy.cut_at_reply(b"insert into word")

    assert await words(client) == []
    with pytest.raises(LOST):
        await add.fetch("a")

    assert await words(direct) == ["a"]


async def test_cut_before_keeps_a_statement_from_the_server(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    add = await client.prepare(ADD)
    proxy.cut_before()

    with pytest.raises(LOST):
        await add.fetch("a")

    assert await words(direct) == []
    assert proxy.injected == {"cut_before": 1}


async def test_cut_before_a_commit_rolls_back(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    proxy.cut_before(b"COMMIT")

    with pytest.raises(LOST):
        await add_in_transaction(client, "a")

    assert await words(direct) == []


async def test_cuts_are_injected_as_often_as_they_are_armed(
    proxy: Proxy, direct: asyncpg.Connection
) -> None:
    proxy.cut_at_reply(times=2)

    for word in "ab":
        connection = await asyncpg.connect(proxy.url)
        with pytest.raises(LOST):
            await connection.execute(ADD, word)
    connection = await asyncpg.connect(proxy.url)
    await connection.execute(ADD, "c")
    await connection.close()

    assert await words(direct) == ["a", "b", "c"]
    assert proxy.injected == {"cut_at_reply": 2}


async def test_cutting_all_breaks_idle_connections(
    proxy: Proxy, client: asyncpg.Connection
) -> None:
    proxy.cut_all()

    with pytest.raises(LOST):
        await client.fetch("SELECT 1")
    assert proxy.injected == {"cut_all": 1}


async def test_server_notices_a_cut(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    await client.execute("SELECT pg_advisory_lock(1)")

    proxy.cut_all()

    await direct.execute("SELECT pg_advisory_lock(1)", timeout=DEADLINE_SECONDS)


async def test_black_hole_holds_a_request_until_it_is_lifted(
    proxy: Proxy, client: asyncpg.Connection, direct: asyncpg.Connection
) -> None:
    add = await client.prepare(ADD)
    proxy.black_hole()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(add.fetch("a"))
        await proxy.until_injected("black_hole")
        assert await words(direct) == []
        proxy.lift()

    assert await words(direct) == ["a"]


async def test_black_hole_accepts_connections_that_lead_nowhere(
    proxy: Proxy, postgres_server: PostgresServer
) -> None:
    proxy.black_hole()

    connecting = asyncio.create_task(
        asyncpg.connect(proxy.url, server_settings={"application_name": "lost"})
    )
    await proxy.until_injected("black_hole")

    assert postgres_server.backends(application_name="lost") == []
    assert proxy.connection_count == 1
    assert not connecting.done()
    connecting.cancel()


async def test_delay_holds_an_answer(proxy: Proxy, client: asyncpg.Connection) -> None:
    proxy.delay(3_600)

    asking = asyncio.create_task(words(client))
    await proxy.until_injected("delay")

    assert not asking.done()
    asking.cancel()


async def test_short_delay_lets_the_answer_through(
    proxy: Proxy, client: asyncpg.Connection
) -> None:
    proxy.delay(0.001)

    assert await words(client) == []
    assert proxy.injected["delay"] > 0


async def test_refusing_resets_new_connections_only(
    proxy: Proxy, client: asyncpg.Connection
) -> None:
    proxy.refuse()

    with pytest.raises(LOST):
        await asyncpg.connect(proxy.url)

    assert await words(client) == []
    assert proxy.injected == {"refuse": 1}


async def test_cut_is_a_reset(proxy: Proxy) -> None:
    proxy.refuse()
    address = urlsplit(proxy.url)

    reader, writer = await asyncio.open_connection(address.hostname, address.port)

    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_lifting_disarms_every_fault(proxy: Proxy, client: asyncpg.Connection) -> None:
    proxy.cut_at_reply()
    proxy.cut_before()
    proxy.cut_at_random(at_reply=1.0)
    proxy.delay(3_600)
    proxy.refuse()
    proxy.black_hole()

    proxy.lift()
    other = await asyncpg.connect(proxy.url)
    await other.execute(ADD, "a")
    await other.close()

    assert await words(client) == ["a"]
    assert proxy.injected.total() == 0


async def test_same_seed_cuts_the_same_requests(proxy: Proxy) -> None:
    async def outcomes() -> list[bool]:
        proxy.cut_at_random(at_reply=0.3, before=0.2, seed=7)
        return [await survives() for _ in range(20)]

    async def survives() -> bool:
        connection = await asyncpg.connect(proxy.url)
        try:
            await connection.execute("SELECT 1")
        except LOST:
            return False
        await connection.close()
        return True

    first, second = await outcomes(), await outcomes()

    assert first == second
    assert {True, False} == set(first)
    assert proxy.injected["cut_at_reply"] > 0 < proxy.injected["cut_before"]


async def test_seed_is_printed(proxy: Proxy, capsys: pytest.CaptureFixture[str]) -> None:
    seed = proxy.cut_at_random(at_reply=0.5)

    assert f"seed={seed}" in capsys.readouterr().out


async def test_client_is_reset_when_the_server_is_down(postgres_url: str) -> None:
    async with Proxy(postgres_url) as gone:
        pass

    async with Proxy(gone.url) as proxy:
        with pytest.raises(LOST):
            await asyncpg.connect(proxy.url)


async def test_closing_the_proxy_ends_its_connections(postgres_url: str) -> None:
    async with Proxy(postgres_url) as proxy:
        client = await asyncpg.connect(proxy.url)

    with pytest.raises(LOST):
        await client.fetch("SELECT 1")
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncpg.connect(proxy.url)
