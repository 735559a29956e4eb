"""PostgreSQL servers for tests: one that is there already, or one of our own that may be killed.

Everything here is synchronous and may be called with or without a running event loop; what talks to
the server does so in a thread of its own. An asynchronous test that must go on meanwhile calls
`await anyio.to_thread.run_sync(server.restart)`.

Our own server is a child of the tests and ends with them. When they end in good order they remove
it; when they are killed, a watcher does, which reads from a pipe of which they hold the other end.
"""

import asyncio
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, ClassVar, Final, Self
from urllib.parse import urlsplit

import asyncpg
from tests.faults.account import faults
from tests.servers.installation import WHEEL, installed, programs, unprivileged

VARIABLE: Final = "BACKSTORY_TEST_POSTGRES_URL"
"""Names another server than our own, by the URL of a role that may create databases."""

SETTINGS: Final[Mapping[str, object]] = {"max_connections": 200, "shared_buffers": "128MB"}
"""What every server of ours is started with; everything else is PostgreSQL's default, fsync too."""

DEADLINE_SECONDS: Final = 60
"""How long a server may take for anything; long, since a machine may be busy."""

# Clients get their own ports from 32768 on: one of them could take the port of a server that is
# down, or, connecting to that port, even reach itself.
_PORTS: Final = range(20_000, 32_000)

# Ends a server whose tests have been killed, and what it has left.
_WATCHER: Final = """
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" || break; sleep 0.5; done 2>/dev/null
rm -rf "$1"
"""


class PostgresServer:
    """A PostgreSQL server that is there, by the URL of a role that may create databases."""

    is_ours: ClassVar[bool] = False
    """Whether a test may stop, kill and restart it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, database: str | None = None) -> str:
        """Return the URL of a database, by default of the one that the server's own URL names."""
        if database is None:
            return self._url
        return urlsplit(self._url)._replace(path=f"/{database}").geturl()

    def create_database(self) -> str:
        """Create an empty database with a name that no other has, and return its URL."""
        name = f"backstory_{secrets.token_hex(8)}"
        # Unlike template1, template0 is never in use, so that many may be created at a time.
        self.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database by its URL, whoever is connected to it; none is fine."""
        name = urlsplit(url).path.removeprefix("/")
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def execute(
        self, statement: str, *arguments: object, url: str | None = None
    ) -> Sequence[asyncpg.Record]:
        """Execute a statement on a connection of its own, and return its rows.

        Args:
            statement: SQL, with `$1` for the first argument.
            arguments: Its arguments.
            url: The database; by default the one that the server's own URL names.
        """
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(
                asyncio.run, _execute(url or self._url, statement, arguments)
            ).result()

    def backends(self, *, application_name: str = "%", query: str = "%") -> list[int]:
        """Return the pids of the backends that clients are connected to, in ascending order.

        Args:
            application_name: What the client has called itself, as a pattern of LIKE.
            query: What it executes, or executed last, as a pattern of LIKE.
        """
        rows = self.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND pid <> pg_backend_pid() AND application_name LIKE $1 AND query LIKE $2"
            " ORDER BY pid",
            application_name,
            query,
        )
        return [row["pid"] for row in rows]

    def terminate(self, *backends: int) -> int:
        """Terminate backends, wait until they are gone, and return how many there were."""
        rows = self.execute(
            "SELECT pg_terminate_backend(pid, $2) AS is_gone FROM pg_stat_activity"
            " WHERE pid = ANY($1)",
            backends,
            DEADLINE_SECONDS * 1_000,
        )
        assert all(row["is_gone"] for row in rows), f"some of {backends} are still there"
        faults.count(len(rows))
        return len(rows)


class OwnPostgresServer(PostgresServer):
    """A PostgreSQL server of the tests' own, which exists while the context is entered.

    It listens on a free port of 127.0.0.1 and trusts every client. Its data survive stops and
    kills, though not the context.

    Args:
        settings: Its settings beside SETTINGS, as in postgresql.conf.
        folder: Where it makes a folder for its data; by default where files for a while are.
    """

    is_ours: ClassVar[bool] = True

    def __init__(
        self, *, settings: Mapping[str, object] | None = None, folder: Path | None = None
    ) -> None:
        self.port: Final = _free_port()
        super().__init__(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
        self._settings = {**SETTINGS, **(settings or {})}
        self._account = unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=folder))
        self._bin = Path()
        self._watcher: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._journal: _Journal | None = None

    def __enter__(self) -> Self:
        try:
            self._initialise()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.remove()

    @property
    def pid(self) -> int:
        """The process id of the postmaster; raises AssertionError while the server is down."""
        return self._running.pid

    @property
    def is_running(self) -> bool:
        """Whether the postmaster is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def folder(self) -> Path:
        """Where everything of the server lies; the data are in `data`."""
        return self._folder

    @property
    def said(self) -> str:
        """What the server has written to its log since its last start."""
        return "" if self._journal is None else self._journal.text

    def start(self) -> None:
        """Start the server, on the same port and data as before, and wait until it serves.

        Raises:
            RuntimeError: It has not started; the message holds what it said.
        """
        assert not self.is_running, "the server is running"
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        process = self._launch(
            *("postgres", "-D", self._folder / "data", "-h", "127.0.0.1", "-p", self.port),
            *("-c", "unix_socket_directories=", *options),
        )
        self._process, self._journal = process, _Journal(process)
        if not self._journal.wait_until_ready():
            said = self.said
            self._end(signal.SIGQUIT)
            raise RuntimeError(f"PostgreSQL has not started; it said:\n{said}")

    def stop(self) -> None:
        """Stop the server in good order: clients are disconnected, everything is written."""
        self._running.send_signal(signal.SIGINT)
        self._ended()

    def kill_immediately(self) -> None:
        """Stop the server at once, without writing anything more, as a crash does."""
        faults.count()
        self._running.send_signal(signal.SIGQUIT)
        self._ended()

    def restart(self) -> None:
        """Start the server again on the same port and data; stop it first if it is running."""
        if self.is_running:
            self.stop()
        self.start()

    def remove(self) -> None:
        """End the server, in whatever state it is, and remove its data."""
        self._end(signal.SIGQUIT)
        if self._watcher is not None:
            assert self._watcher.stdin is not None
            self._watcher.kill()
            self._watcher.wait()
            self._watcher.stdin.close()
            self._watcher = None
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "the server is down"
        return self._process

    def _initialise(self) -> None:
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, "sh", str(self._folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._account.own(self._folder)
        top = installed()
        assert top is not None, f"the wheel {WHEEL} is missing"
        self._bin = programs(top, account=self._account, copy_to=self._folder)
        self._fill()

    def _fill(self) -> None:
        # Not synced: only what is written once it serves must survive anything.
        self._run(
            *("initdb", "-D", self._folder / "data", "-U", "postgres", "-A", "trust"),
            *("-E", "UTF8", "--locale=C", "--no-sync"),
        )

    def _run(self, program: str, *arguments: object) -> None:
        process = self._process = self._launch(program, *arguments)
        said, _ = process.communicate(timeout=DEADLINE_SECONDS)
        self._process = None
        if process.returncode != 0:
            raise RuntimeError(f"{program} has failed; it said:\n{said.decode()}")

    def _launch(self, program: str, *arguments: object) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [str(self._bin / program), *map(str, arguments)],
            cwd=self._folder,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # An interrupt from the keyboard is for the tests, which then end the server.
            start_new_session=True,
            user=self._account.user,
            group=self._account.group,
            extra_groups=self._account.extra_groups,
        )

    def _end(self, how: signal.Signals) -> None:
        """End whatever is running, by force if it does not heed a signal."""
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._ended()

    def _ended(self) -> None:
        process = self._running
        process.wait(DEADLINE_SECONDS)
        if self._journal is not None:
            self._journal.close()
        elif process.stdout is not None:
            process.stdout.close()
        self._process = None


class StandbyServer(OwnPostgresServer):
    """A hot standby of a server of our own, which follows it until it is promoted.

    Args:
        primary: The server that it is a copy of.
    """

    def __init__(self, primary: OwnPostgresServer) -> None:
        super().__init__()
        self._primary = primary

    def promote(self) -> None:
        """Follow no more, and take writes."""
        (promoted,) = self.execute("SELECT pg_promote(wait_seconds => $1)", DEADLINE_SECONDS)
        assert promoted[0], "the standby has not been promoted"

    def _fill(self) -> None:
        self._run(
            *("pg_basebackup", "-D", self._folder / "data", "-d", self._primary.url()),
            *("--checkpoint=fast", "--no-sync", "--write-recovery-conf"),
        )


class _Journal:
    """What a server says, read by a thread, so that it never has to wait for a reader."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        self.text = ""
        self._decided = threading.Event()
        self._is_ready = False
        self._thread = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._thread.start()

    def wait_until_ready(self) -> bool:
        """Wait until the server serves, or has ended; return which."""
        self._decided.wait(DEADLINE_SECONDS)
        return self._is_ready

    def close(self) -> None:
        """Wait until everything is read that an ended server has said."""
        self._thread.join(DEADLINE_SECONDS)

    def _read(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                self.text += line.decode(errors="replace")
                if b"ready to accept" in line:  # connections, or read-only ones
                    self._is_ready = True
                    self._decided.set()
        self._decided.set()


def why_absent() -> str | None:
    """Return why no server can be had, or None where one can."""
    if os.environ.get(VARIABLE):
        return None
    if (reason := why_none_of_our_own()) is None:
        return None
    return f"{reason}; another server can be named with {VARIABLE}"


def why_none_of_our_own() -> str | None:
    """Return why no server can be started, or None where one can."""
    if sys.platform == "win32":
        return "a server of our own needs POSIX"
    if installed() is None:
        return f"the wheel {WHEEL} is not installed"
    try:
        unprivileged()
    except LookupError:
        return "PostgreSQL does not run as root, and there is no user nobody"
    return None


async def _execute(url: str, statement: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(
        url, timeout=DEADLINE_SECONDS, command_timeout=2 * DEADLINE_SECONDS
    )
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


def _free_port() -> int:
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port of {_PORTS} is free on 127.0.0.1")
