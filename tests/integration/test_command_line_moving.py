"""`backstory export` and `backstory import` with `--format events`, as a user calls them."""

import gzip
import json
import uuid
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result
from tests.conftest import Counted, drain, new_event, noted

from backstory import ANY, Event, EventStore, NewEvent, Repository
from backstory.cli._main import backstory as program
from backstory.operations import BadEventLineError
from backstory.stores.sqlite import SQLiteStore
from backstory_aggregates import Task

HERE = "tests.integration.test_command_line_moving"
EVENTS = ("--format", "events")
COPY = ("--store", "sqlite:///copy.db")


def _doubled(data: dict[str, Any]) -> dict[str, Any]:
    return {"size": data["half"] * 2}


class Weighed(Event, type="moving:weighed", schema_version=2, upcasters={1: _doubled}):
    size: int


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder whose store has events of several categories."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKSTORY_STORE", "sqlite:///story.db")
    anyio.run(live)
    return tmp_path


async def raw(store: EventStore, stream_id: str, type: str, data: bytes) -> None:
    event = NewEvent.raw(type, data, event_id=uuid.uuid4())
    await store.append(stream_id, [event], expected_version=ANY)


async def live() -> None:
    async with SQLiteStore("story.db") as store:
        await store.append("note-1", noted("a", "b"), expected_version=0)
        await store.append("counter-1", [new_event(Counted(by=3))], expected_version=0)
        await raw(store, "stranger-1", "never:defined", b'{ "x" : 1.50 }')
        await raw(store, "scale-1", "moving:weighed", b'{"half":2}')
        await Repository(store).execute(Task.create, "swarm/t")
        await raw(store, "task-swarm/t", "task:dreamt-of", b"{}")


def call(*words: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(program, words, input=given)


async def stored(path: str) -> list[tuple[Any, ...]]:
    async with SQLiteStore(path) as store:
        return [
            (e.event_id, e.stream_id, e.version, e.type, e.schema_version, e.data_json)
            for e in await drain(store.read_log())
        ]


def test_store_comes_over_whole_and_only_once() -> None:
    exported = call("export", *EVENTS, "-o", "events.jsonl.gz")

    first = call("import", "events.jsonl.gz", *EVENTS, *COPY)
    second = call("import", "events.jsonl.gz", *EVENTS, *COPY)

    assert (exported.exit_code, exported.stderr) == (0, "")
    assert first.stdout == "7 lines read: 7 added, 0 there already, 0 skipped\n"
    assert second.stdout == "7 lines read: 0 added, 7 there already, 0 skipped\n"
    assert anyio.run(stored, "copy.db") == anyio.run(stored, "story.db")


def test_half_an_import_goes_on(folder: Path) -> None:
    lines = call("export", *EVENTS).stdout_bytes.splitlines(keepends=True)
    (folder / "half.jsonl").write_bytes(b"".join(lines[:3]))
    call("import", "half.jsonl", *EVENTS, *COPY)

    result = call("import", "-", *EVENTS, *COPY, "--json", given=gzip.compress(b"".join(lines)))

    assert json.loads(result.stdout) == {
        "line_count": 7,
        "added_count": 4,
        "present_count": 3,
        "skipped_count": 0,
        "skipped": [],
        "error": None,
    }


def test_export_chooses_by_category_type_and_position() -> None:
    def streams(*words: str) -> list[str]:
        return [
            json.loads(line)["stream_id"]
            for line in call("export", *EVENTS, *words).stdout.splitlines()
        ]

    assert streams("--category", "note", "--category", "counter") == [
        "note-1",
        "note-1",
        "counter-1",
    ]
    assert streams("--type", "test:counted") == ["counter-1"]
    assert streams("--category", "note", "--until", "1") == ["note-1"]


def test_export_can_decode() -> None:
    words = ("export", *EVENTS, "--category", "scale")

    (as_stored,) = (json.loads(line) for line in call(*words).stdout.splitlines())
    (as_read,) = (
        json.loads(line) for line in call(*words, "--decode", "--import", HERE).stdout.splitlines()
    )

    assert (as_stored["schema_version"], as_stored["data"]) == (1, {"half": 2})
    assert (as_read["schema_version"], as_read["data"]) == (2, {"size": 4})


@pytest.mark.parametrize(
    "words",
    [
        ("--category", "task"),
        ("--type", "task:created"),
        ("--decode",),
        (*EVENTS, "--import", "os"),
    ],
)
def test_words_that_do_not_go_together_are_refused(words: tuple[str, ...]) -> None:
    assert call("export", *words).exit_code == 2


def test_runs_say_what_they_leave_out() -> None:
    result, part = call("export"), call("export", "--until", "4")

    assert [json.loads(line)["type"] for line in result.stdout.splitlines()] == ["task.created"]
    assert result.stderr.splitlines() == [
        "left out 1 events that are no run lines",
        "left out 5 events of other categories; see --format events",
    ]
    assert part.stderr == "left out 4 events of other categories; see --format events\n"


def test_bad_line_stops_the_import_or_is_skipped_and_named() -> None:
    lines = call("export", *EVENTS).stdout_bytes.splitlines(keepends=True)
    given = b"".join([lines[0], b'{"x":"\\u001b"}\n', *lines[1:]])

    stopped = call("import", "-", *EVENTS, *COPY, given=given)
    skipped = call("import", "-", *EVENTS, *COPY, "--on-error", "skip", given=given)

    assert isinstance(stopped.exception, BadEventLineError)
    assert str(stopped.exception).startswith("line 2: is no event: ")
    assert stopped.stdout == "2 lines read: 1 added, 0 there already, 0 skipped\n"
    assert skipped.exit_code == 0
    assert skipped.stdout == "8 lines read: 6 added, 1 there already, 1 skipped\n"
    assert skipped.stderr.startswith("skipped line 2: is no event: ")
