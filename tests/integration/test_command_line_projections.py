"""`backstory projections` and `backstory parked`, for a program that runs in another process."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import click
import msgspec
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from tests.conftest import DEADLINE_SECONDS, new_event
from tests.faults.account import faults
from tests.integration.process import environment, finish, lines, start
from tests.integration.projecting import END, Ended, InTables, Stepped

from backstory import (
    ANY,
    Backstory,
    Event,
    ParkedEvent,
    Projections,
    ProjectionStatus,
    ProjectorState,
)
from backstory._registry import tell, told
from backstory.cli._main import backstory as program
from backstory.cli._parked import leave_out
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.sqlite._migrate import migrate

WAIT = ("--wait", str(DEADLINE_SECONDS))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, on the store `story.db` there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKSTORY_STORE", "sqlite:///story.db")
    return tmp_path


@pytest.fixture(params=[pytest.param("memory", marks=pytest.mark.slow), "tables"])
def form(request: pytest.FixtureRequest) -> str:
    """Return where the read model is kept."""
    kept: str = request.param
    return kept


def append(stream_id: str, *events: Event) -> None:
    async def run() -> None:
        async with SQLiteStore("story.db") as store:
            await store.append(stream_id, [new_event(one) for one in events], expected_version=ANY)

    anyio.run(run)


def walk(name: str, *numbers: int) -> None:
    append(f"walk-{name}", *(Stepped(number=number) for number in numbers))


class Program:
    """A program that runs the projection `steps`, in another process."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._said: Iterator[Any] = lines(process)

    def says(self, wanted: Callable[[Any], bool]) -> list[Any]:
        """Return what it says until it says what is wanted, that included."""
        said: list[Any] = []
        for one in self._said:
            said.append(one)
            if wanted(one):
                return said
        raise AssertionError(f"it ended, and said {said}")

    def serves(self, **steps: list[int]) -> None:
        """Wait until it serves these steps, by the names of the streams."""
        wanted = {f"walk-{name}": numbers for name, numbers in steps.items()}
        self.says(lambda said: said["steps"] == wanted)

    @property
    def process_id(self) -> int:
        """Which process it is."""
        return self._process.pid

    def kill(self) -> None:
        """Kill it, as `kill -9` does."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Let it come to its end."""
        append(END, Ended())
        finish(self._process)


@contextmanager
def running(form: str) -> Generator[Program]:
    """Run a program until the block ends."""
    with start("projecting.py", Path("story.db").absolute(), mended(), form) as process:
        try:
            running = Program(process)
            yield running
            if process.poll() is None:
                running.end()
        finally:
            process.kill()


def mended() -> Path:
    """Return the file that makes the handler work."""
    return Path("mended").absolute()


@pytest.fixture
def parking(form: str) -> Generator[Program]:
    """Run a program that has parked the second step of the stream `walk-bad`."""
    walk("bad", 1, 13)
    walk("good", 5)
    walk("bad", 2, 3)
    with running(form) as other:
        other.serves(bad=[1], good=[5])
        yield other


def call(*words: str) -> Result:
    return CliRunner().invoke(program, words)


def wait_for_state(state: ProjectorState) -> None:
    """Wait until the projector has noted a state."""

    async def wait() -> None:
        async with SQLiteStore("story.db", read_only=True) as store:
            with anyio.fail_after(DEADLINE_SECONDS):
                while (await Projections(store).show("steps")).state is not state:
                    await anyio.lowlevel.checkpoint()

    anyio.run(wait)


def line(*words: str) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def answers(*words: str) -> list[Any]:
    return [json.loads(text) for text in line(*words, "--json").splitlines()]


def answer(*words: str) -> Any:
    [found] = answers(*words)
    return found


def refusal(*words: str) -> str:
    """Return what a call says that fails as it should."""
    result = call(*words)
    assert result.exit_code == 1, result.output
    # An error of the framework's is printed by `main`, which is not called here.
    return result.stderr or str(result.exception)


@pytest.mark.usefixtures("parking")
def test_projection_of_another_process_is_listed_and_shown(form: str) -> None:
    [listed] = answers("projections", "list")
    shown = answer("projections", "show", "steps")

    assert shown.keys() == {*listed, "orders"}
    assert (listed["name"], listed["is_in_tables"]) == ("steps", form == "tables")
    assert (listed["position"] + listed["lag"], listed["order_count"]) == (5, 0)
    assert (listed["parked_count"], listed["is_paused"], listed["is_healthy"]) == (1, False, False)
    assert f"in {form}" in line("projections", "list")
    assert line("projections", "show", "steps").endswith(
        "parked  2 walk-bad 2  walk:stepped  ZeroDivisionError: 13 is not handled"
    )


def as_noted(name: str) -> ProjectionStatus:
    """Return what was last noted of a projection."""

    async def read() -> ProjectionStatus:
        async with SQLiteStore("story.db", read_only=True) as store:
            return (await told(store))[name]

    return anyio.run(read)


def note_again(status: ProjectionStatus, **changes: Any) -> None:
    """Note how a projection is doing, as its owner would have."""

    async def write() -> None:
        noted = replace(status, **changes)
        assert noted.noted_at is not None
        async with SQLiteStore("story.db") as store:
            await tell(store, noted, now=noted.noted_at)

    anyio.run(write)


@pytest.mark.fault(19, "T37", without="the age of what was noted")
def test_owner_that_was_killed_is_not_heard_of(form: str) -> None:
    walk("good", 1)
    with running(form) as first:
        first.serves(good=[1])
        wait_for_state(ProjectorState.LIVE)
        alive = answer("projections", "show", "steps")
        first.kill()
        faults.count()
        noted = as_noted("steps")
        assert noted.noted_at is not None
        # A minute later, on a machine where nobody waits for it.
        long_ago = noted.noted_at - timedelta(minutes=1)
        note_again(noted, noted_at=long_ago)

        dead = answer("projections", "show", "steps")
        said = line("projections", "list")

    assert alive["owner"] == dead["owner"] == f"{socket.gethostname()}:{first.process_id}"
    assert (alive["is_stale"], alive["is_healthy"]) == (False, True)
    assert (dead["is_stale"], dead["is_healthy"], dead["lag"]) == (True, False, 0)
    assert f"not heard of since {long_ago:%Y-%m-%d %H:%M:%S}" in said
    with running(form) as second:
        second.serves(good=[1])
        wait_for_state(ProjectorState.LIVE)
        again = answer("projections", "show", "steps")
        assert (again["is_healthy"], again["owner"]) == (
            True,
            f"{socket.gethostname()}:{second.process_id}",
        )
        assert again["owner"] in line("projections", "show", "steps")


@pytest.mark.usefixtures("parking")
def test_parked_event_is_listed_and_shown_whole() -> None:
    listed = answer("parked", "list")
    shown = answer("parked", "show", "steps", "walk-bad")
    printed = line("parked", "show", "steps", "walk-bad")

    assert (listed["projection"], listed["stream_id"], listed["position"]) == (
        *("steps", "walk-bad"),
        2,
    )
    assert (listed["attempt_count"], listed["version"]) == (3, 2)
    assert answer("parked", "list", "steps") == listed
    assert shown["event"]["data"] == {"number": 13}
    assert shown["waiting_count"] == 2
    for part in ("ZeroDivisionError: 13 is not handled", '{"number":13}', "backstory event @2"):
        assert part in printed
    assert "walk-bad" in line("parked", "list")


def test_retry_succeeds_when_the_handler_is_mended(parking: Program) -> None:
    assert "parked again: 2 walk-bad 2" in refusal("parked", "retry", "steps", "walk-bad", *WAIT)
    again = call("parked", "retry", "steps", "walk-bad", *WAIT, "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["parked"]["attempt_count"] == 5

    mended().touch()
    told = line("parked", "retry", "steps", "walk-bad", *WAIT)

    assert told == "steps: nothing of walk-bad waits any more"
    parking.serves(bad=[1, 13, 2, 3], good=[5])
    assert answers("parked", "list") == []
    wait_for_state(ProjectorState.LIVE)
    assert answer("projections", "show", "steps")["is_healthy"]


def test_discarded_event_comes_back_with_a_rebuild(parking: Program) -> None:
    told = line("parked", "discard", "steps", "walk-bad", "--yes", *WAIT)

    assert told == "steps: walk-bad 2 is left out"
    parking.serves(bad=[1, 2, 3], good=[5])
    assert answers("parked", "list") == []

    mended().touch()
    assert line("projections", "rebuild", "steps", *WAIT) == "steps: is rebuilt"
    parking.serves(bad=[1, 13, 2, 3], good=[5])


def test_reset_begins_with_the_first_event(parking: Program) -> None:
    mended().touch()

    told = answer("projections", "reset", "steps", "--yes", *WAIT)

    assert told == {"projection": "steps", "order": "reset", "is_done": True, "is_paused": False}
    parking.serves(bad=[1, 13, 2, 3], good=[5])
    assert answers("parked", "list") == []


def test_paused_projection_folds_nothing_until_it_is_resumed(form: str) -> None:
    walk("good", 1)
    with running(form) as other:
        other.serves(good=[1])

        line("projections", "pause", "steps")
        other.says(lambda said: said["state"] == "paused")
        wait_for_state(ProjectorState.PAUSED)
        walk("good", 2)
        assert answer("projections", "show", "steps")["is_paused"]
        late = refusal("projections", "rebuild", "steps", "--wait", "0.01")
        line("projections", "resume", "steps")

        said = other.says(lambda said: said["steps"] == {"walk-good": [1, 2]})
        assert not [one for one in said if one["state"] == "paused"]
        assert "it waits until the projection is resumed" in late


@pytest.mark.slow
def test_projection_that_was_paused_stays_paused_after_a_restart(form: str) -> None:
    walk("good", 1)
    with running(form) as first:
        first.serves(good=[1])
    line("projections", "pause", "steps")

    with running(form) as second:
        second.says(lambda said: said["state"] == "paused")
        line("projections", "resume", "steps")
        second.says(lambda said: said["state"] == "live")


def test_order_waits_in_the_store_for_a_program(form: str) -> None:
    walk("bad", 13)
    with running(form) as first:
        first.says(lambda said: said["state"] == "live")
    assert answer("projections", "show", "steps")["state"] == "stopped"
    mended().touch()

    assert line("parked", "retry", "steps", "walk-bad") == (
        "steps: the retry is ordered; it waits for a program that runs the projection"
    )
    assert "not carried out within 0.01 s" in refusal(
        *("projections", "rebuild", "steps", "--wait", "0.01")
    )
    assert [one["kind"] for one in answer("projections", "show", "steps")["orders"]] == [
        *("retry", "rebuild"),
    ]
    assert "waits   retry walk-bad\nwaits   rebuild" in line("projections", "show", "steps")
    with running(form) as second:
        second.serves(bad=[13])
        line("projections", "rebuild", "steps", *WAIT)
    assert answer("projections", "show", "steps")["orders"] == []


async def park(*names: str) -> None:
    """Let a stream be parked for each name, and end."""
    async with Backstory("sqlite:///story.db", projections=[InTables]) as story:
        for name in names:
            event = new_event(Stepped(number=13))
            await story.store.append(f"walk-{name}", [event], expected_version=ANY)
        await story.read_model(InTables)


@pytest.fixture
def _four_parked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have four streams parked, on a store that no program has open."""
    monkeypatch.setenv("MENDED", "mended")
    anyio.run(park, "a", "b", "c", "d")


@pytest.mark.usefixtures("_four_parked")
def test_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    for words in (
        *(("projections", verb, "stairs") for verb in ("show", "pause", "resume", "rebuild")),
        *(("projections", "reset", "stairs", "--yes"), ("parked", "list", "stairs")),
        *(("parked", verb, "stairs", "walk-a") for verb in ("show", "retry")),
        ("parked", "discard", "stairs", "walk-a", "--yes"),
    ):
        assert "known are steps" in refusal(*words)


@pytest.mark.usefixtures("_four_parked")
def test_stream_that_is_not_parked_is_refused_with_those_that_are() -> None:
    for words in (
        *(("parked", verb, "steps", "walk-good") for verb in ("show", "retry")),
        ("parked", "discard", "steps", "walk-good", "--yes"),
    ):
        said = refusal(*words)
        assert "nothing of walk-good is parked in steps" in said
        assert "parked are walk-a, walk-b, walk-c and 1 more" in said


@pytest.mark.usefixtures("_four_parked")
def test_each_command_gives_its_own_order() -> None:
    for words in (
        *(("projections", "reset", "steps", "--yes"), ("projections", "rebuild", "steps")),
        *(
            ("parked", "retry", "steps", "walk-a"),
            ("parked", "discard", "steps", "walk-b", "--yes"),
        ),
    ):
        assert answer(*words)["is_done"] is False

    assert answer("projections", "show", "steps")["orders"] == [
        {"kind": "reset", "stream_id": None, "position": None},
        {"kind": "rebuild", "stream_id": None, "position": None},
        {"kind": "retry", "stream_id": "walk-a", "position": None},
        {"kind": "discard", "stream_id": "walk-b", "position": 2},
    ]


@pytest.mark.usefixtures("_four_parked")
def test_what_cannot_be_taken_back_is_not_done_unasked() -> None:
    for words in (
        ("projections", "reset", "steps"),
        ("parked", "discard", "steps", "walk-a"),
    ):
        result = call(*words)
        assert (result.exit_code, "give --yes" in result.stderr) == (2, True)
    assert answer("projections", "show", "steps")["orders"] == []


@pytest.mark.usefixtures("_four_parked")
def test_progress_of_a_rebuild_is_shown() -> None:
    note_again(as_noted("steps"), building_position=3)

    shown = answer("projections", "show", "steps")

    assert shown["building_position"] == 3
    assert "stopped, a rebuild is at 3 of 4" in line("projections", "show", "steps")


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pseudo-terminals")
@pytest.mark.parametrize("flag", [(), ("--json",)], ids=["shown", "json"])
@pytest.mark.usefixtures("_four_parked")
def test_bar_shows_how_far_a_rebuild_is(flag: tuple[str, ...]) -> None:
    note_again(as_noted("steps"), building_position=3)

    said = on_terminal("projections", "rebuild", "steps", "--wait", "0.5", *flag)

    assert ("rebuilding" in said, "75%" in said) == (not flag, not flag)
    assert "is ordered, and not carried out within 0.5 s" in said


def on_terminal(*words: str) -> str:
    """Return what a call writes to standard error where that is a terminal."""
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "wb") as stderr:
        subprocess.run(
            [sys.executable, "-m", "backstory", *words],
            env={**environment(), "TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            check=False,
            timeout=60,
        )
    said = b""
    # The end of what was written to a terminal is an error on some systems.
    with os.fdopen(ours, "rb", buffering=0) as terminal, suppress(OSError):
        while more := terminal.read(4_096):
            said += more
    return " ".join(said.decode().split())


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pseudo-terminals")
@pytest.mark.parametrize(("said", "code", "kinds"), [("y", 0, ["discard"]), ("n", 1, [])])
@pytest.mark.usefixtures("_four_parked")
def test_on_a_terminal_it_asks_first(said: str, code: int, kinds: list[str]) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(ours, "wb", buffering=0) as terminal, os.fdopen(theirs, "rb") as stdin:
        terminal.write(f"{said}\n".encode())
        run = subprocess.run(
            [sys.executable, "-m", "backstory", "parked", "discard", "steps", "walk-b"],
            env=environment(),
            stdin=stdin,
            check=False,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )

    assert run.returncode == code
    assert "Leave 2 walk-b 1  walk:stepped" in run.stderr
    assert [one["kind"] for one in answer("projections", "show", "steps")["orders"]] == kinds


@pytest.mark.usefixtures("_four_parked")
def test_looking_writes_nothing() -> None:
    before = content()

    for words in (("projections", "list"), ("projections", "show", "steps"), ("parked", "list")):
        line(*words)
    line("parked", "show", "steps", "walk-a")

    assert content() == before


def content() -> dict[str, bytes]:
    """Return what is in the files of the store, but for what readers note down for each other."""
    return {
        file.name: file.read_bytes()
        for file in Path().glob("story.db*")
        if not file.name.endswith("-shm") and file.stat().st_size
    }


def test_store_that_is_not_there_is_not_created(folder: Path) -> None:
    for words in (
        *(("projections", "list"), ("parked", "list")),
        *(("projections", verb, "steps") for verb in ("show", "pause", "resume", "rebuild")),
        ("projections", "reset", "steps", "--yes"),
        ("parked", "retry", "steps", "walk-a"),
        ("parked", "discard", "steps", "walk-a", "--yes"),
    ):
        assert "there is no store" in refusal(*words)
    assert list(folder.iterdir()) == []


def test_store_on_which_nothing_has_run_has_nothing_to_list() -> None:
    walk("good", 1)

    assert line("projections", "list") == "no projection has run on this store"
    assert line("parked", "list") == "nothing is parked"


def test_store_from_before_there_were_notes_has_nothing_to_list() -> None:
    with closing(sqlite3.connect("story.db", isolation_level=None)) as db:
        migrate(db, "story.db", until=3)

    assert line("projections", "list") == "no projection has run on this store"
    assert line("parked", "list") == "nothing is parked"


@pytest.mark.usefixtures("_four_parked")
def test_event_that_is_named_by_its_position_is_discarded() -> None:
    said = refusal("parked", "discard", "steps", "walk-b", "--position", "1", "--yes")
    assert "another event holds up the stream now: 2 walk-b 1" in said
    assert "nothing was done" in said
    assert answer("projections", "show", "steps")["orders"] == []

    line("parked", "discard", "steps", "walk-b", "--position", "2", "--yes")

    [order] = answer("projections", "show", "steps")["orders"]
    assert (order["kind"], order["position"]) == ("discard", 2)


@pytest.mark.usefixtures("_four_parked")
def test_event_that_nobody_was_asked_about_is_not_discarded() -> None:
    asked = msgspec.convert(answers("parked", "list")[0], ParkedEvent)
    earlier = replace(asked, position=asked.position + 1)

    with pytest.raises(click.ClickException, match="nothing was done"):
        anyio.run(leave_out, "sqlite:///story.db", "steps", earlier, 0.0)

    assert answer("projections", "show", "steps")["orders"] == []
