"""What the URL of a PostgreSQL store says is heeded, or refused at once and clearly."""

import asyncio
import logging
import os
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest
from tests.conftest import DEADLINE_SECONDS, drain, noted, texts_of
from tests.servers.postgres import SETTINGS, OwnPostgresServer, PostgresServer

from backstory import ANY, ConfigurationError, StoreUnavailableError, store_of
from backstory._store_url import with_setting
from backstory.stores.postgres import PostgresStore

pytestmark = pytest.mark.anyio

PASSWORD: Final = "s3cr et/@?%'"  # noqa: S105 - of a server that ends with its test
ESCAPED: Final = "s3cr%20et%2F%40%3F%25%27"
FOR_EVER: Final = 3_600.0


def told(error: BaseException) -> str:
    """Return everything that a program could print of an error."""
    return "".join(traceback.format_exception(error)) + repr(error)


# What is refused.


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("statement_timeout=5", "say statement_timeout_seconds"),
        ("lock_timeout=5", "say lock_timeout_seconds"),
        ("search_path=x", "say schema"),
        ("client_encoding=latin1", "UTF-8"),
        ("default_transaction_isolation=serializable", "relies on it"),
        ("enable_seqscan=on", "relies on it"),
        ("schema=", "1 to 63 bytes"),
        (f"schema={'ä' * 32}", "1 to 63 bytes"),
        ("schema=a%00b", "1 to 63 bytes"),
        ("durability=memory", "fsync or buffered"),
        ("migrate=yes", "neither true nor false"),
        ("listen=", "neither true nor false"),
        ("indexes=moon", "no index moon"),
        ("connection_count_max=0", "1 or more"),
        ("connection_count_max=many", "connection_count_max"),
        ("connect_timeout_seconds=0", "positive"),
        ("statement_timeout_seconds=nan", "finite"),
        ("lock_timeout_seconds=-1", "positive"),
        ("poll_interval_seconds=inf", "finite"),
        ("ownership_timeout_seconds=soon", "ownership_timeout_seconds"),
        ("retry_seconds=-1", "zero or positive"),
    ],
)
def test_setting_that_cannot_be_is_refused_before_anything_is_opened(
    setting: str, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        store_of(f"postgresql://ada:{ESCAPED}@127.0.0.1:1/name?{setting}")

    assert "s3cr" not in told(caught.value)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("schemata=x", 'parameter "schemata"; it is a setting neither of the store'),
        ("statement_timeout_second=5", 'parameter "statement_timeout_second"'),
        ("server_version=3", "cannot be changed"),
        ("geqo_effort=many", 'invalid value for parameter "geqo_effort"'),
        ("sslmode=require", "no TLS"),
        ("sslmode=sometimes", "must be one of"),
        ("sslmode=verify-full&sslrootcert=/none", "there is no file"),
        ("schema=pg_mine", 'prefix "pg_"'),
    ],
)
async def test_what_the_server_refuses_is_told_at_once(
    postgres_url: str, setting: str, reason: str
) -> None:
    # Were it tried again, then for an hour.
    store = store_of(f"{postgres_url}?retry_seconds={FOR_EVER}&{setting}")

    with pytest.raises(ConfigurationError, match=reason):
        await store.open()


async def test_database_and_role_that_do_not_exist_are_told_at_once(postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    host = parts.netloc.rpartition("@")[2]
    for url, reason in (
        (parts._replace(path="/nothing").geturl(), 'database "nothing" does not exist'),
        (parts._replace(netloc=f"nobody_here@{host}").geturl(), "nobody_here"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            await store_of(f"{url}?retry_seconds={FOR_EVER}").open()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nowhere.invalid", "name cannot be looked up"),
        ("127.0.0.1:1", "Connect call failed"),
    ],
)
async def test_server_that_is_not_there_is_told(place: str, reason: str) -> None:
    store = store_of(f"postgresql://ada:{ESCAPED}@{place}/name?retry_seconds=0")

    with pytest.raises(StoreUnavailableError, match=reason) as caught:
        await store.open()

    assert "s3cr" not in told(caught.value)


@pytest.mark.parametrize(
    "password", ["s3cr/et", "s3cr@et/x", "s3cr?et", "s3cr:et/@x", "s3cr/et:5/x@y"]
)
def test_password_that_is_not_escaped_is_in_no_message(password: str) -> None:
    for settings in ("", "?retry_seconds=none", "?schema="):
        assert "s3cr" not in opened(f"postgresql://ada:{password}@127.0.0.1:1/name{settings}")


def opened(url: str) -> str:
    """Return what is said of a URL, whether it is refused or not."""
    try:
        return repr(store_of(url))
    except ConfigurationError as error:
        return f"{error} {error!r} {error.__cause__}"


# What is heeded.


@pytest.fixture
def guarded(own_postgres_server: OwnPostgresServer) -> tuple[str, str]:
    """Return port and database of a server that asks for the password of the role `ada`."""
    server = own_postgres_server
    quoted = PASSWORD.replace("'", "''")
    server.execute(f"CREATE ROLE ada LOGIN SUPERUSER PASSWORD '{quoted}'")
    rules = "host all postgres all trust\nhost all all all scram-sha-256\n"
    (server.folder / "data" / "pg_hba.conf").write_text(rules)
    server.execute("SELECT pg_reload_conf()")
    return str(server.port), "postgres"


async def heads(url: str) -> int:
    async with store_of(url) as store:
        return await store.head()


async def test_password_comes_from_where_libpq_has_it(
    guarded: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, database = guarded
    passfile = tmp_path / "passwords"
    passfile.write_text(f"127.0.0.1:{port}:*:ada:{PASSWORD}\n")
    passfile.chmod(0o600)
    place = f"127.0.0.1:{port}/{database}"

    assert await heads(f"postgresql://ada:{ESCAPED}@{place}") == 0
    assert await heads(f"postgresql://{place}?user=ada&password={ESCAPED}") == 0
    assert await heads(f"postgresql://ada@{place}?passfile={passfile}") == 0
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    assert await heads(f"postgresql://ada@{place}") == 0
    monkeypatch.delenv("PGPASSFILE")
    for name, value in (
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", port),
        ("PGUSER", "ada"),
        ("PGPASSWORD", PASSWORD),
        ("PGDATABASE", database),
    ):
        monkeypatch.setenv(name, value)
    assert await heads("postgresql://") == 0
    assert await heads("postgresql:///?schema=other") == 0


async def test_wrong_password_is_told_at_once_and_is_in_no_message(
    guarded: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    port, database = guarded
    store = store_of(
        f"postgresql://ada:{ESCAPED}x@127.0.0.1:{port}/{database}?retry_seconds={FOR_EVER}"
    )

    with pytest.raises(
        ConfigurationError, match='password authentication failed for user "ada"'
    ) as e:
        await store.open()

    assert "s3cr" not in told(e.value)
    assert "s3cr" not in repr(store) + repr(vars(store)) + caplog.text


async def test_program_is_shown_by_its_name(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with store_of(f"{postgres_url}?application_name=billing") as store:
        await store.head()
        assert postgres_server.backends(application_name="billing")
        assert not postgres_server.backends(application_name="backstory%")
    async with store_of(postgres_url) as store:
        await store.head()
        assert postgres_server.backends(application_name=f"backstory % {os.getpid()}")


@pytest.mark.parametrize("own_postgres_server", [{"fsync": "off"}], indirect=True)
async def test_server_that_syncs_nothing_is_refused_unless_that_is_meant(
    own_postgres_server: OwnPostgresServer,
) -> None:
    url = own_postgres_server.url()

    with pytest.raises(ConfigurationError, match="fsync = off"):
        await store_of(url).open()

    async with store_of(f"{url}?durability=buffered") as store:
        await store.append("note-1", noted("kept"), expected_version=ANY)
    assert await store_of(url, read_only=True).migrate(dry_run=True)


async def test_statement_ends_at_its_time_limit(postgres_url: str) -> None:
    async with store_of(f"{postgres_url}?statement_timeout_seconds=0.1") as store:
        with pytest.raises(StoreUnavailableError, match="statement timeout"):
            await store.query_tables("SELECT pg_sleep(3600)")
        assert await store.head() == 0


async def test_wait_for_the_turn_ends_at_its_time_limit(postgres_url: str) -> None:
    async with store_of(f"{postgres_url}?lock_timeout_seconds=0.1&retry_seconds=0") as store:
        other = await asyncpg.connect(postgres_url)
        async with other.transaction():
            await other.execute("SELECT backstory.take_turn()")
            with pytest.raises(StoreUnavailableError, match="lock timeout") as caught:
                await store.append("note-1", noted("late"), expected_version=ANY)
            assert not caught.value.outcome_unknown
            assert await store.head() == 0
        await other.close()

        await store.append("note-1", noted("in time"), expected_version=ANY)
        assert texts_of(await drain(store.read_log())) == ["in time"]


SCHEMAS: Final = [
    "Capital Letters",
    'with\'one and "two" quotes',
    "ä" * 31 + "x",
    "per%cent {braces} $1 and $$",
    "back\\slash",
    "select",
]


async def test_stores_in_one_database_are_apart(postgres_url: str) -> None:
    urls = [with_setting(postgres_url, "schema", schema) for schema in SCHEMAS]
    async with anyio.create_task_group() as tasks:
        for number, url in enumerate(urls):
            tasks.start_soon(use, url, number)

    incarnations: set[str] = set()
    for number, url in enumerate(urls):
        async with store_of(url, read_only=True) as store:
            assert texts_of(await drain(store.read_log())) == [f"in {number}"] * 3
            assert await store.check_engine() == []
            incarnations.add((await store.read_seal()).incarnation)
    assert len(incarnations) == len(SCHEMAS)


async def use(url: str, number: int) -> None:
    """Do what tells one log from another: own a name, be woken, append, and be asked again."""
    with anyio.fail_after(DEADLINE_SECONDS):
        settings = f"{url}&poll_interval_seconds={FOR_EVER}"
        async with store_of(url) as store, store_of(settings) as other:
            assert await store.try_own("the same name")
            assert not await other.try_own("the same name")
            async with other.subscribe() as subscription:
                for _ in range(3):
                    events = noted(f"in {number}")
                    await store.append("note-1", events, expected_version=ANY)
                    assert texts_of([await anext(subscription)]) == [f"in {number}"]
                    await store.append("note-1", events, expected_version=ANY)  # the same again
            assert (await store.statistics()).event_count == 3


# A replica.


@pytest.fixture
def replica_url(own_postgres_server: OwnPostgresServer, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a hot standby of a server of the test's own."""
    from tests.servers.installation import (  # noqa: PLC0415 - not on Windows
        installed,
        programs,
        unprivileged,
    )

    primary = own_postgres_server
    top, account = installed(), unprivileged()
    assert top is not None
    folder = programs(top, account=account, copy_to=primary.folder)
    data = primary.folder / "replica"
    copy = [str(top / "bin" / "pg_basebackup"), "-d", primary.url(), "-D", str(data), "-R"]
    subprocess.run([*copy, "--checkpoint=fast"], check=True, timeout=DEADLINE_SECONDS, cwd=tmp_path)
    account.own(data)
    port = primary.port + 1
    process = subprocess.Popen(
        [
            *(folder / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", ""),
            *(f"-c{name}={value}" for name, value in SETTINGS.items()),  # no less than the primary
        ],
        cwd=primary.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=account.user,
        group=account.group,
        extra_groups=account.extra_groups,
    )
    try:
        assert process.stdout is not None
        said = b""
        while b"ready to accept" not in said:
            said += process.stdout.readline()
            assert process.poll() is None, said
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)


@pytest.mark.slow
async def test_replica_is_read_and_followed_without_being_listened_to(
    own_postgres_server: OwnPostgresServer,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with store_of(own_postgres_server.url()) as primary:
        await primary.append("note-1", noted("before"), expected_version=ANY)
        replica_url = await anyio.to_thread.run_sync(request.getfixturevalue, "replica_url")
        replica = PostgresStore(replica_url, read_only=True, poll_interval_seconds=0.02)
        with caplog.at_level(logging.WARNING, "backstory"), anyio.fail_after(DEADLINE_SECONDS):
            async with replica, replica.subscribe() as subscription:
                seen = [await anext(subscription)]
                for number in range(3):
                    await primary.append("note-1", noted(str(number)), expected_version=ANY)
                    seen.append(await anext(subscription))
                # Long enough that it tried to listen several times.
                await asyncio.to_thread(own_postgres_server.execute, "SELECT pg_sleep(2)")
                assert (await replica.statistics()).event_count == 4
    assert texts_of(seen) == ["before", "0", "1", "2"]
    said = [record for record in caplog.records if record.message == "listening.failed"]
    assert len(said) == 1, said
