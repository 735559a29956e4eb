"""`backstory actors`, for programs that run in other processes, or did."""

import json
import socket
import stat
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketListener
from click.testing import CliRunner, Result
from tests.conftest import DEADLINE_SECONDS, Counted, Counter
from tests.integration.process import FOLDER, environment, output

import backstory
from backstory import Backstory, ConfigurationError, Projection, on
from backstory._control import ProcessReport, ask_all, serving
from backstory.cli._main import backstory as program
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


class Counts(Projection):
    """Counts."""

    count: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.count += 1


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, on the store `story.db` there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKSTORY_STORE", "sqlite:///story.db")
    return tmp_path


@contextmanager
def running(name: str) -> "Generator[subprocess.Popen[bytes]]":
    """Run a program with the live aggregate `tick-NAME` until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(FOLDER / "controlled.py"), "story.db", name],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert json.loads(output(process).readline()) == {"ticked": name}
            yield process
        finally:
            process.kill()


def store_file() -> Path:
    return Path("story.db").absolute()


def sockets() -> list[Path]:
    return sorted(path for path in Path().iterdir() if "-control-" in path.name)


def make_store() -> None:
    async def run() -> None:
        async with SQLiteStore("story.db"):
            pass

    anyio.run(run)


def call(*words: str) -> Result:
    return CliRunner().invoke(program, ["actors", *words])


def line(*words: str) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def answers() -> list[Any]:
    return [json.loads(text) for text in line("--json").splitlines()]


def names(answer: Any) -> set[str]:
    return {actor["name"] for actor in answer["actors"]}


def test_actors_of_every_running_program_are_listed() -> None:
    with running("a") as one, running("b") as other:
        found = {answer["process_id"]: answer for answer in answers()}

        assert found.keys() == {one.pid, other.pid}
        assert "tick-a" in names(found[one.pid])
        assert "tick-b" in names(found[other.pid])
        assert [live["stream_id"] for live in found[one.pid]["live_aggregates"]] == ["tick-a"]


def test_table_names_the_process_and_its_actors() -> None:
    with running("a") as process:
        words = line()

    assert f"process {process.pid}, live aggregates: 1" in words
    assert "tick-a" in words
    assert "idle" in words


def test_socket_is_its_owners_alone_and_is_gone_with_its_program() -> None:
    with running("a") as process:
        [path] = sockets()
        assert path.name.startswith(f"story.db-control-{process.pid}-")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0

    assert sockets() == []
    assert line() == "no program with a control socket\n"


def test_socket_of_a_killed_program_is_passed_over_and_removed() -> None:
    with running("a") as dead, running("b") as alive:
        dead.kill()
        dead.wait()
        assert len(sockets()) == 2

        assert [answer["process_id"] for answer in answers()] == [alive.pid]

        assert len(sockets()) == 1


def test_file_that_is_no_socket_is_left_alone() -> None:
    make_store()
    Path("story.db-control-1").write_text("somebody's", encoding="utf-8")

    assert line("--json") == ""

    assert sockets() == [Path("story.db-control-1")]


def test_program_that_does_not_answer_is_named() -> None:
    make_store()
    with closing(socket.socket(socket.AF_UNIX)) as deaf:
        deaf.bind("story.db-control-77-x")
        deaf.listen()

        [report] = anyio.run(ask_at_once)

    assert report.process_id == 77
    assert report.error == "it does not answer within 0 s"


async def ask_at_once() -> list[ProcessReport]:
    return await ask_all(store_file(), timeout_seconds=0)


def test_exit_code_says_that_one_could_not_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    make_store()
    monkeypatch.setattr("backstory.cli._actors._TIMEOUT_SECONDS", 0)
    with closing(socket.socket(socket.AF_UNIX)) as deaf:
        deaf.bind("story.db-control-77-x")
        deaf.listen()

        result = call()

    assert result.exit_code == 1
    assert result.stderr == "process 77: it does not answer within 0 s\n"
    assert result.stdout == ""


def test_store_that_is_in_no_file_has_no_control_socket() -> None:
    with pytest.raises(ConfigurationError, match="not kept in one"):
        Backstory("memory://", control=True)

    result = call("--store", "memory://")
    assert result.exit_code == 1
    assert isinstance(result.exception, ConfigurationError)


def test_store_that_does_not_exist_is_an_error_and_is_not_made(folder: Path) -> None:
    result = call()

    assert result.exit_code == 1
    assert isinstance(result.exception, ConfigurationError)
    assert list(folder.iterdir()) == []


def test_no_socket_is_made_unless_it_is_asked_for() -> None:
    with backstory.open("sqlite:///story.db"):
        assert sockets() == []


def test_blocking_way_in_has_one_too() -> None:
    with backstory.open("sqlite:///story.db", projections=[Counts], control=True) as story:
        story.execute(Counter.count, "a")
        story.read_model(Counts)

        [answer] = answers()

        assert {"counter-a", "Counts"} <= names(answer)
        assert [one["name"] for one in answer["projections"]] == ["Counts"]
        assert answer["error"] is None


def test_several_in_one_process_have_a_socket_each() -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(backstory.open("sqlite:///story.db", control=True))

        assert len(answers()) == 2


def test_platform_without_unix_sockets_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")

    with pytest.raises(ConfigurationError, match="platform"):
        Backstory("sqlite:///story.db", control=True)


def test_path_that_is_too_long_for_a_socket_is_refused_and_leaves_nothing(folder: Path) -> None:
    deep = folder / ("d" * 120)
    deep.mkdir()

    async def run() -> None:
        async with Backstory(f"sqlite:///{deep}/story.db", control=True):
            pytest.fail("it was opened")

    with pytest.raises(ConfigurationError, match="no control socket can be made"):
        anyio.run(run)
    assert not [path for path in deep.iterdir() if path.is_socket()]


def test_program_whose_block_is_cancelled_leaves_no_socket() -> None:
    async def run() -> None:
        with anyio.CancelScope() as scope:
            async with Backstory("sqlite:///story.db", control=True):
                assert len(sockets()) == 1
                scope.cancel()
                await anyio.lowlevel.checkpoint()

    anyio.run(run)

    assert sockets() == []


def test_program_is_asked_again_after_no_file_could_be_opened(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_store()
    accept, failures = socket.socket.accept, [OSError("too many open files")]

    def fail_first(self: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fail_first)
    monkeypatch.setattr("backstory._control._PAUSE_SECONDS", 0)

    [report] = anyio.run(ask_while_serving, ProcessReport(process_id=7))

    assert report == ProcessReport(process_id=7)
    assert [entry.msg for entry in caplog.records] == ["control.failed"]


def test_text_that_is_no_unicode_does_not_end_the_program() -> None:
    make_store()

    [report] = anyio.run(ask_while_serving, ProcessReport(process_id=7, error="no \udcff file"))

    assert report.error == "no ? file"


async def ask_while_serving(report: ProcessReport) -> list[ProcessReport]:
    async with serving(store_file(), lambda: report):
        return await ask_all(store_file(), timeout_seconds=DEADLINE_SECONDS)


def test_program_that_closes_without_an_answer_is_named() -> None:
    make_store()

    async def run() -> list[ProcessReport]:
        reports: list[ProcessReport] = []
        async with (
            await anyio.create_unix_listener("story.db-control-77-x") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(hang_up, listener)
            reports = await ask_all(store_file(), timeout_seconds=DEADLINE_SECONDS)
        return reports  # noqa: RET504 - to type checkers the block may swallow what is raised

    [report] = anyio.run(run)

    assert report.process_id == 77
    assert report.error is not None
    assert report.error.startswith("its answer cannot be read")


async def hang_up(listener: SocketListener) -> None:
    await (await listener.accept()).aclose()


def test_socket_has_its_name_only_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    listen, seen = socket.socket.listen, list[list[Path]]()

    def look(self: socket.socket, backlog: int) -> None:
        seen.append(sockets())
        listen(self, backlog)

    monkeypatch.setattr(socket.socket, "listen", look)

    async def run() -> None:
        async with serving(store_file(), lambda: ProcessReport(process_id=1)):
            assert len(sockets()) == 1

    anyio.run(run)

    assert seen == [[]]
    assert not [*Path().iterdir()]
