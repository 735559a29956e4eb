"""The program `backstory`, called as a user calls it: log, stream and state."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import anyio
import pytest
from click.testing import CliRunner
from tests.conftest import Counter, Noted, drain, new_event

from backstory import ANY, Metadata, NewEvent, Repository
from backstory.cli._main import backstory as program
from backstory.stores.sqlite import SQLiteStore

# A shell starts what runs in the background with SIGINT ignored, and so the tests with it.
START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
PROGRAM = [sys.executable, "-c", f"{START}; from backstory.__main__ import main; main()"]
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.anyio


def environment(folder: Path) -> dict[str, str]:
    roots = [str(ROOT / name) for name in ("framework", "aggregates", "projections")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*roots, str(ROOT)]),
        "PYTHONUTF8": "1",
        "BACKSTORY_STORE": f"sqlite:///{folder}/story.db",
    }


def backstory(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*PROGRAM, *arguments],
        cwd=folder,
        env=environment(folder),
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def positions(run: "subprocess.CompletedProcess[str]") -> list[int]:
    assert run.returncode == 0, run.stderr
    return [json.loads(line)["position"] for line in run.stdout.splitlines()]


async def fill(folder: Path) -> None:
    """Store three events of one stream and two of another, with what filters look for."""
    async with SQLiteStore(folder / "story.db") as store:
        for number in range(3):
            metadata = Metadata(tags=("odd",) if number % 2 else ("even",), actor="ada")
            await append(store, "note-one", [new_event(Noted(text=f"{number}"), metadata=metadata)])
        metadata = Metadata(correlation_id="request-7")
        await append(store, "other-two", [new_event(metadata=metadata), new_event()])


async def append(store: SQLiteStore, stream_id: str, events: Sequence[NewEvent]) -> None:
    await store.append(stream_id, events, expected_version=ANY)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), [1, 2, 3, 4, 5]),
        (("--after", "2"), [3, 4, 5]),
        (("--after", "1", "--until", "3"), [2, 3]),
        (("--backward", "--limit", "2"), [5, 4]),
        (("--type", "test:noted", "--category", "other"), [4, 5]),
        (("--tag", "even"), [1, 3]),
        (("--actor", "ada", "--limit", "1"), [1]),
        (("--correlation", "request-7"), [4]),
        (("--type", "never:happened"), []),
        (("--recorded-after", "2100-01-01"), []),
    ],
)
def test_log_prints_what_its_options_ask_for(
    tmp_path: Path, options: tuple[str, ...], expected: list[int]
) -> None:
    anyio.run(fill, tmp_path)

    # In this process, since there are many.
    run = CliRunner().invoke(program, ["log", "--json", *options], env=environment(tmp_path))

    assert run.exit_code == 0, run.output
    assert [json.loads(line)["position"] for line in run.stdout.splitlines()] == expected


async def test_log_prints_one_line_for_each_event(tmp_path: Path) -> None:
    await fill(tmp_path)

    lines = backstory(tmp_path, "log").stdout.splitlines()

    assert len(lines) == 5
    assert lines[1].split()[0] == "2"
    assert "note-one 2  test:noted" in lines[1]


async def test_stream_prints_one_stream_by_version(tmp_path: Path) -> None:
    await fill(tmp_path)

    run = backstory(tmp_path, "stream", "note-one", "--after", "1", "--json")

    assert positions(run) == [2, 3]


async def test_stream_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    await fill(tmp_path)

    run = backstory(tmp_path, "stream", "note-nobody")

    assert run.returncode == 1
    assert "'note-nobody' does not exist" in run.stderr
    assert run.stdout == ""


async def test_state_shows_an_aggregate_as_it_was(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        repository = Repository(store)
        for by in (5, 7, 9):
            await repository.execute(Counter.count, "a", by=by)

    def total(*options: str) -> Any:
        run = backstory(
            tmp_path, "state", "counter", "a", "--import", "tests.conftest", "--json", *options
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)["total"]

    assert total() == 21
    assert total("--at-version", "2") == 12
    assert total("--at-position", "1") == 5
    assert total("--at-time", "2000-01-01") == 0
    assert total("--at-time", "2100-01-01T07:02:10.971876+02:00") == 21


def test_state_imports_from_the_current_folder(tmp_path: Path) -> None:
    anyio.run(fill, tmp_path)
    (tmp_path / "shop.py").write_text(
        "from backstory import Aggregate\nclass Note(Aggregate, category='note'): pass\n",
        encoding="utf-8",
    )

    run = backstory(tmp_path, "state", "note", "one", "--import", "shop", "--json")

    assert "test:noted" in run.stderr  # found, and folded as far as its events are known


async def test_state_beyond_the_last_version_is_refused(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        await Repository(store).execute(Counter.count, "a")

    run = backstory(
        tmp_path, "state", "counter", "a", "--import", "tests.conftest", "--at-version", "2"
    )

    assert run.returncode == 1
    assert "is at version 1" in run.stderr


def test_reading_commands_never_create_a_store(tmp_path: Path) -> None:
    for command in (["log"], ["stream", "a-1"], ["state", "agent", "x"]):
        run = backstory(tmp_path, *command)

        assert run.returncode == 1, command
        assert "there is no store at" in run.stderr or "no installed package" in run.stderr

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("log", "--follow", "--backward"),
        ("log", "--after", "-1"),
        ("log", "--nonsense"),
        ("nonsense",),
        ("state", "task", "x", "--at-version", "1", "--at-position", "1"),
    ],
)
def test_words_that_are_off_exit_with_two(tmp_path: Path, words: tuple[str, ...]) -> None:
    run = backstory(tmp_path, *words)

    assert run.returncode == 2
    assert "Error:" in run.stderr


async def test_text_from_a_store_cannot_drive_the_terminal(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        await append(store, "note-\x1b[2J\r\n", [new_event(Noted(text="\x1b]0;owned\x07"))])

    run = backstory(tmp_path, "log")

    assert "\x1b" not in run.stdout
    assert len(run.stdout.splitlines()) == 1
    assert "note-\\x1b[2J\\r\\n" in run.stdout


async def test_reader_that_goes_away_ends_the_program_quietly(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        for _ in range(5):
            await append(store, "note-one", [new_event(Noted(text="x" * 100)) for _ in range(1000)])

    with started(tmp_path, "log", "--json") as program:
        output(program).readline()
        output(program).close()
        errors = program.stderr.read() if program.stderr else ""
        code = program.wait(timeout=60)

    assert code == 141
    assert errors == ""


async def test_follow_prints_what_another_process_appends_once_and_in_order(
    tmp_path: Path,
) -> None:
    await fill(tmp_path)

    with started(tmp_path, "log", "--follow", "--json", "--limit", "205") as follower:
        seen = [json.loads(output(follower).readline())["position"] for _ in range(5)]
        async with SQLiteStore(tmp_path / "story.db") as store:
            for _ in range(100):
                await append(store, "note-one", [new_event(), new_event()])
            recorded = [event.position for event in await drain(store.read_log())]
        rest = await anyio.to_thread.run_sync(output(follower).read)
        seen += [json.loads(line)["position"] for line in rest.splitlines()]
        code = follower.wait(timeout=60)

    assert code == 0
    assert seen == recorded


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one child")
async def test_interrupt_ends_following_with_130(tmp_path: Path) -> None:
    await fill(tmp_path)

    with started(tmp_path, "log", "--follow") as follower:
        for _ in range(5):
            output(follower).readline()
        follower.send_signal(signal.SIGINT)
        errors = follower.stderr.read() if follower.stderr else ""
        code = follower.wait(timeout=60)

    assert code == 130
    assert errors.strip() == ""


@contextmanager
def started(folder: Path, *arguments: str) -> Generator["subprocess.Popen[str]"]:
    """Run a program beside a block, and kill it where the block leaves it running."""
    program = subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with program:
        try:
            yield program
        finally:
            program.kill()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one child")
def test_interrupt_ends_an_import_that_waits_for_lines(tmp_path: Path) -> None:
    with started(tmp_path, "import", "-") as importing:
        while not (tmp_path / "story.db-wal").exists():
            assert importing.poll() is None
        importing.send_signal(signal.SIGINT)
        code = importing.wait(timeout=60)

    assert code == 130


def test_output_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    anyio.run(fill, tmp_path)

    with Path("/dev/full").open("w", encoding="utf-8") as full:
        run = subprocess.run(
            [*PROGRAM, "log"],
            env=environment(tmp_path),
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
        )

    assert run.returncode == 1
    assert run.stderr.startswith("backstory: ")
    assert len(run.stderr.splitlines()) == 1


def test_file_that_is_no_database_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "story.db").write_text("hello", encoding="utf-8")

    run = backstory(tmp_path, "log")

    assert run.returncode == 1
    assert "is no SQLite file" in run.stderr


def output(program: "subprocess.Popen[str]") -> IO[str]:
    assert program.stdout is not None
    return program.stdout


def test_help_names_every_command_and_its_options(tmp_path: Path) -> None:
    listed = backstory(tmp_path, "--help").stdout

    for command in ("log", "stream", "state"):
        assert f"\n  {command} " in listed
        assert "Example" in backstory(tmp_path, command, "--help").stdout


async def test_terminal_without_the_letters_gets_them_escaped(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        await append(store, "note-one", [new_event(Noted(text="日本 🎭"))])
    narrow = {**environment(tmp_path), "PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}

    shown = await anyio.run_process([*PROGRAM, "log"], env=narrow)
    as_json = await anyio.run_process([*PROGRAM, "log", "--json"], env=narrow)

    assert rb"\u65e5\u672c \U0001f3ad" in shown.stdout
    assert json.loads(as_json.stdout.decode())["data"] == {"text": "日本 🎭"}
