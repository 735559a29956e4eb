"""`backstory import` and `backstory export`, as a user calls them."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import anyio
import click
import pytest
from click.testing import CliRunner, Result
from tests.conftest import unchecked
from tests.unit.aggregates.conftest import line, to_bytes

from backstory import ANY, DecodeError, Metadata, NewEvent, Repository, derive_event_id
from backstory.stores.sqlite import SQLiteStore
from backstory_aggregates import Task
from backstory_aggregates.run_lines import BadRunLineError, RunLineGapError
from backstory_aggregates.run_lines_cli import export, import_

LINES = to_bytes(
    line(1, "swarm.initialized", data={"agents": 2}),
    line(2, "agent.spawned", agent="é"),
    line(3, "memory.stored", key="a/b", data={"value": "x"}),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, on the store `story.db` there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKSTORY_STORE", "sqlite:///story.db")
    return tmp_path


def call(command: click.Command, *arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(command, arguments, input=given)


def said(result: Result) -> Any:
    return json.loads(result.stdout)


def test_file_is_imported_once(folder: Path) -> None:
    (folder / "runs.jsonl").write_bytes(b"".join(LINES))

    first, second = call(import_, "runs.jsonl"), call(import_, "runs.jsonl")

    assert first.stdout == "3 lines read: 3 added, 0 there already, 0 skipped\n"
    assert second.stdout == "3 lines read: 0 added, 3 there already, 0 skipped\n"
    assert (first.exit_code, first.stderr) == (0, "")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_lines_are_read_from_standard_input(compress: Any) -> None:
    result = call(import_, "-", "--json", given=compress(b"".join(LINES)))

    assert said(result) == {
        "line_count": 3,
        "added_count": 3,
        "present_count": 0,
        "skipped_count": 0,
        "skipped": [],
        "error": None,
    }


def test_compressed_file_is_known_by_its_content(folder: Path) -> None:
    (folder / "runs").write_bytes(gzip.compress(b"".join(LINES)))

    assert said(call(import_, "runs", "--json"))["added_count"] == 3


@pytest.mark.usefixtures("folder")
def test_standard_input_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    given = io.BytesIO(b"".join(LINES))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(given))

    assert import_.callback is not None
    import_.callback(file="-", on_error="stop", form="runs", store="memory://", as_json=False)

    assert not given.closed


@pytest.mark.usefixtures("folder")
def test_bad_line_is_an_error_that_says_how_far_the_import_came() -> None:
    result = call(import_, "-", "--json", given=LINES[0] + b"{\n" + LINES[1])

    assert isinstance(result.exception, BadRunLineError)
    assert said(result)["added_count"] == 1
    assert said(result)["error"].startswith("line 2: is no JSON")


@pytest.mark.usefixtures("folder")
def test_skipped_lines_are_named_on_standard_error() -> None:
    given = LINES[0] + b"{\n" * 130 + LINES[1]

    result = call(import_, "-", "--on-error", "skip", given=given)

    assert result.exit_code == 0
    assert result.stdout == "132 lines read: 2 added, 0 there already, 130 skipped\n"
    named = result.stderr.splitlines()
    assert named[0].startswith("skipped line 2: is no JSON")
    assert named[100:] == ["skipped 30 lines more"]


@pytest.mark.usefixtures("folder")
def test_gap_is_an_error_even_where_bad_lines_are_skipped() -> None:
    result = call(import_, "-", "--on-error", "skip", given=LINES[0] + LINES[2])

    assert isinstance(result.exception, RunLineGapError)
    assert result.stdout == "2 lines read: 1 added, 0 there already, 0 skipped\n"


def test_file_that_ends_too_early_is_an_error(folder: Path) -> None:
    (folder / "runs.gz").write_bytes(gzip.compress(b"".join(LINES))[:-9])

    result = call(import_, "runs.gz")

    assert result.exit_code == 1
    assert "cannot read runs.gz" in result.stderr


def test_progress_is_shown_on_a_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "runs.jsonl").write_bytes(b"".join(LINES))
    terminal = (folder / "terminal").open("w+")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)

    # Called without a runner, which would put its own streams in the place of these.
    assert import_.callback is not None
    import_.callback(
        file="runs.jsonl", on_error="stop", form="runs", store="sqlite:///s.db", as_json=False
    )

    terminal.seek(0)
    assert "importing" in terminal.read()
    terminal.close()


@pytest.mark.usefixtures("folder")
def test_what_was_imported_comes_back() -> None:
    call(import_, "-", given=b"".join(LINES))

    result = call(export)

    assert [json.loads(text) for text in result.stdout_bytes.splitlines()] == list(
        map(json.loads, LINES)
    )
    assert result.stderr == ""


@pytest.mark.usefixtures("folder")
def test_export_ends_where_it_is_told_to() -> None:
    call(import_, "-", given=b"".join(LINES))

    assert len(call(export, "--until", "2").stdout_bytes.splitlines()) == 2
    assert len(call(export, "--until", "1", "--format", "events").stdout_bytes.splitlines()) == 1


def test_export_into_a_file_is_compressed_where_its_name_says_so(folder: Path) -> None:
    call(import_, "-", given=b"".join(LINES))

    call(export, "-o", "runs.jsonl")
    call(export, "-o", "runs.jsonl.gz")

    plain = (folder / "runs.jsonl").read_bytes()
    assert gzip.decompress((folder / "runs.jsonl.gz").read_bytes()) == plain
    assert len(plain.splitlines()) == 3
    assert not list(folder.glob("*.part"))


@pytest.mark.usefixtures("folder")
def test_export_into_a_folder_that_is_not_there_is_an_error() -> None:
    call(import_, "-", given=b"".join(LINES))

    result = call(export, "-o", "nowhere/runs.jsonl")

    assert result.exit_code == 1
    assert "cannot write nowhere/runs.jsonl" in result.stderr


async def damage(path: Path) -> None:
    async with SQLiteStore(path) as store:
        damaged = unchecked(derive_event_id("damaged"), "agent:spawned", 1, b'{"role":7}', b"{}")
        await store.append("agent-s/a", [damaged], expected_version=ANY)


def test_export_that_fails_leaves_no_file_behind(folder: Path) -> None:
    call(import_, "-", given=b"".join(LINES))
    anyio.run(damage, folder / "story.db")

    result = call(export, "-o", "runs.jsonl")

    assert isinstance(result.exception, DecodeError)
    assert not list(folder.glob("runs*"))


async def live(path: Path) -> None:
    async with SQLiteStore(path) as store:
        repository = Repository(store)
        await repository.execute(Task.create, "s/t")
        await repository.execute(Task.create, "alone")
        unknown = NewEvent.raw(
            "invoice:sent",
            b'{"total":1.0}',
            event_id=derive_event_id("sent"),
            schema_version=3,
            metadata=Metadata(tags=("urgent",)),
        )
        await store.append("invoice-7", [unknown], expected_version=ANY)


def test_what_is_no_run_line_is_left_out_and_said(folder: Path) -> None:
    anyio.run(live, folder / "story.db")

    result = call(export)

    assert [json.loads(text)["task"] for text in result.stdout_bytes.splitlines()] == ["t"]
    assert result.stderr.splitlines() == [
        "left out 1 events that are no run lines",
        "left out 1 events of other categories; see --format events",
    ]


def test_events_are_exported_with_all_that_is_stored(folder: Path) -> None:
    anyio.run(live, folder / "story.db")

    events = [json.loads(text) for text in call(export, "--format", "events").stdout.splitlines()]

    assert [event["type"] for event in events] == ["task:created", "task:created", "invoice:sent"]
    recorded_at = events[2].pop("recorded_at")
    assert recorded_at.endswith("Z")
    assert events[2] == {
        "position": 3,
        "stream_id": "invoice-7",
        "version": 1,
        "event_id": derive_event_id("sent"),
        "type": "invoice:sent",
        "schema_version": 3,
        "metadata": {"tags": ["urgent"]},
        "data": {"total": 1.0},
    }


@pytest.mark.usefixtures("folder")
def test_lines_that_do_not_follow_are_said() -> None:
    bad = to_bytes(line(2, "agent.exploded", agent="a"))
    call(import_, "-", "--on-error", "skip", given=LINES[0] + bad[0] + LINES[2])

    result = call(export)

    assert result.stderr == (
        "1 lines do not follow the one before in their swarm, and an import would stop there\n"
    )


@pytest.mark.usefixtures("folder")
def test_store_that_is_not_there_is_not_created_by_an_export() -> None:
    result = call(export)

    assert result.exit_code == 1
    assert "there is no store" in str(result.exception)
