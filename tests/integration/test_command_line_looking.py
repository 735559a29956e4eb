"""What one finds with the program `backstory`: an event with its tree, streams, numbers, hints."""

import json
import uuid
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result
from tests.conftest import Noted, new_event, unchecked

from backstory import ANY, Event, EventStore, Metadata, NewEvent
from backstory.cli._main import backstory as program
from backstory.cli._stats import human_size
from backstory.stores.sqlite import SQLiteStore

HERE = "tests.integration.test_command_line_looking"


def _seconds(data: dict[str, Any]) -> dict[str, Any]:
    return {"seconds": data["minutes"] * 60}


class Slept(
    Event,
    type="looking:slept",
    schema_version=2,
    aliases=("looking:rested",),
    upcasters={1: _seconds},
):
    seconds: int


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, on the store `story.db` there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKSTORY_STORE", "sqlite:///story.db")
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(program, words)


def lines(*words: str) -> list[str]:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def answers(*words: str) -> list[Any]:
    return [json.loads(line) for line in lines(*words, "--json")]


def id_of(number: int) -> str:
    return str(uuid.UUID(int=number))


async def put(
    store: EventStore, stream_id: str, number: int, cause: object = None, actor: str | None = None
) -> None:
    metadata = Metadata(causation_id=None if cause is None else str(cause), actor=actor)
    event = new_event(Noted(text=f"{number}"), event_id=uuid.UUID(int=number), metadata=metadata)
    await store.append(stream_id, [event], expected_version=ANY)


async def grow() -> None:
    """Store a tree over three streams: 1 caused 2 and 3, 3 caused 5, 5 caused 6; 4 is alone."""
    async with SQLiteStore("story.db") as store:
        await put(store, "note-a", 1, "the command", "ada")
        await put(store, "note-a", 2, id_of(1))
        await put(store, "other-b", 3, id_of(1))
        await put(store, "note-a", 4)
        await put(store, "third-c", 5, id_of(3))
        await put(store, "note-a", 6, id_of(5), "bob")


def tree(*words: str) -> list[str]:
    """Return what is drawn behind the fields of the event."""
    shown = lines("event", *words)
    return shown[next(n for n, line in enumerate(shown) if line.startswith("└")) + 1 :]


def test_event_stands_in_the_tree_of_its_causes_and_effects() -> None:
    anyio.run(grow)

    assert tree(id_of(3)) == [
        "          caused by the command, which is no event here",
        '       1   note-a 1  test:noted  by ada  {"text":"1"}',
        '       3 →   other-b 1  test:noted  {"text":"3"}',
        '       5       third-c 1  test:noted  {"text":"5"}',
        '       6         note-a 4  test:noted  by bob  {"text":"6"}',
    ]
    assert [line.split()[0] for line in tree("@1")] == ["caused", "1", "2", "3", "5", "6"]
    assert [line.split()[0] for line in tree("@6")] == ["caused", "1", "3", "5", "6"]
    assert tree("@4") == ['       4 → note-a 3  test:noted  {"text":"4"}']


def test_event_is_shown_whole() -> None:
    anyio.run(grow)

    shown = "\n".join(lines("event", "@6"))

    for part in (id_of(6), "note-a", "test:noted", '{"text":"6"}', '"actor":"bob"'):
        assert part in shown


def test_what_a_limit_cuts_off_is_said() -> None:
    anyio.run(grow)

    assert [line.split()[:2] for line in tree("@5", "--limit", "1")] == [
        ["…", "earlier"],
        ["3", "other-b"],
        ["5", "→"],
        ["6", "note-a"],
    ]
    assert tree("@1", "--limit", "2")[-1] == (
        "          … further effects; raise --limit to see them"
    )
    (answer,) = answers("event", "@3", "--limit", "0")
    assert (answer["causes"], answer["has_more_causes"]) == ([], True)
    assert (answer["effects"], answer["has_more_effects"]) == ([], True)


def test_event_as_json_has_flat_lists_with_causation_ids() -> None:
    anyio.run(grow)

    (answer,) = answers("event", id_of(3))

    assert answer["event"]["position"] == 3
    assert answer["today"] is None
    assert [cause["position"] for cause in answer["causes"]] == [1]
    assert [(e["position"], e["metadata"]["causation_id"]) for e in answer["effects"]] == [
        (5, id_of(3)),
        (6, id_of(5)),
    ]


def test_long_chain_stays_on_the_page() -> None:
    async def chain() -> None:
        events = [
            new_event(event_id=id_of(n), metadata=Metadata(causation_id=id_of(n - 1)))
            for n in range(1, 301)
        ]
        async with SQLiteStore("story.db") as store:
            await store.append("note-a", events, expected_version=0)

    anyio.run(chain)

    shown = tree("@1", "--limit", "2000")

    assert len(shown) == 301  # and the line of what caused the first
    assert "(299) note-a 300" in shown[-1]


@pytest.mark.parametrize(
    ("id", "code", "reason"),
    [
        (id_of(9), 1, f"there is no event {id_of(9)}"),
        ("@99", 1, "there is no event @99"),
        ("@", 2, "is no position"),
        ("@0", 2, "is no position"),
        ("@1_0", 2, "is no position"),
        ("@99999999999999999999", 2, "is no position"),
    ],
)
def test_event_that_is_not_there_is_an_error(id: str, code: int, reason: str) -> None:
    anyio.run(grow)

    result = call("event", id)

    assert result.exit_code == code
    assert reason in result.stderr
    assert result.stdout == ""


def test_word_that_is_no_event_id_is_an_error() -> None:
    anyio.run(grow)

    assert "must be a UUID" in str(call("event", "nope").exception)


async def sleep() -> None:
    async with SQLiteStore("story.db") as store:
        for type, schema_version, data in (
            ("looking:rested", 1, b'{"minutes":2}'),
            ("looking:slept", 2, b'{"seconds":3}'),
            ("never:defined", 1, b'{"minutes": 4}'),
        ):
            event = NewEvent.raw(type, data, event_id=uuid.uuid4(), schema_version=schema_version)
            await store.append("nap-1", [event], expected_version=ANY)


@pytest.mark.parametrize("words", [("log",), ("stream", "nap-1")])
def test_decode_shows_data_as_classes_read_it(words: tuple[str, ...]) -> None:
    anyio.run(sleep)

    stored, read = answers(*words), answers(*words, "--decode", "--import", HERE)

    assert [event["data"] for event in stored] == [{"minutes": 2}, {"seconds": 3}, {"minutes": 4}]
    assert [(event["type"], event["schema_version"], event["data"]) for event in read] == [
        ("looking:slept", 2, {"seconds": 120}),
        ("looking:slept", 2, {"seconds": 3}),
        ("never:defined", 1, {"minutes": 4}),
    ]


def test_event_shows_where_today_differs() -> None:
    anyio.run(sleep)

    (old,) = answers("event", "@1", "--decode", "--import", HERE)
    (new,) = answers("event", "@2", "--decode", "--import", HERE)
    shown = "\n".join(lines("event", "@1", "--decode", "--import", HERE))

    assert old["event"]["data"] == {"minutes": 2}
    assert old["today"]["data"] == {"seconds": 120}
    assert new["today"] is None
    assert "looking:slept, schema version 2" in shown
    assert '{"seconds":120}' in shown


def test_event_that_cannot_be_read_today_says_why() -> None:
    async def damage() -> None:
        async with SQLiteStore("story.db") as store:
            bad = unchecked(id_of(1), "looking:slept", 2, b'{"seconds":"\\u001b[2J"}')
            await store.append("nap-1", [bad], expected_version=0)

    anyio.run(damage)

    shown = "\n".join(lines("event", "@1", "--decode", "--import", HERE))
    (answer,) = answers("event", "@1", "--decode", "--import", HERE)

    assert "cannot be read: Expected `int`" in answer["today"]
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("log", "--import", "os"), 2, "give both"),
        (("event", "@1", "--import", "os"), 2, "give both"),
        (
            ("log", "--decode", "--import", "no.such.module"),
            1,
            "--import no.such.module: No module",
        ),
        (("log", "--decode", "--import", "broken"), 1, "--import broken: division by zero"),
    ],
)
def test_modules_that_help_nothing_are_refused(
    folder: Path, words: tuple[str, ...], code: int, reason: str
) -> None:
    (folder / "broken.py").write_text("1 / 0", encoding="utf-8")
    anyio.run(sleep)

    result = call(*words)

    # What is raised, `main` prints in one line and answers with 1.
    assert reason in f"{result.stderr}{result.exception}"
    assert result.exit_code == code


def test_log_can_ask_for_streams_and_for_what_something_caused() -> None:
    anyio.run(grow)

    def positions(*words: str) -> list[int]:
        return [event["position"] for event in answers("log", *words)]

    assert positions("--stream", "other-b", "--stream", "third-c") == [3, 5]
    assert positions("--caused-by", id_of(1)) == [2, 3]
    assert positions("--caused-by", "the command") == [1]
    assert positions("--caused-by", id_of(1), "--stream", "note-a") == [2]


def test_streams_are_listed_with_their_versions() -> None:
    anyio.run(grow)

    assert lines("streams") == ["       4  note-a", "       1  other-b", "       1  third-c"]
    assert lines("streams", "--category", "note") == ["       4  note-a"]
    assert answers("streams", "--limit", "1") == [{"stream_id": "note-a", "version": 4}]
    assert lines("streams", "--category", "nobody") == []


def test_names_of_streams_cannot_drive_the_terminal() -> None:
    async def trick() -> None:
        async with SQLiteStore("story.db") as store:
            await put(store, "note-\x1b[2J\n", 1, "x\x1b[0m", "y\x1b[0m")

    anyio.run(trick)

    for words in (("streams",), ("event", "@1"), ("log",), ("stream", "note-\x1b[3J")):
        result = call(*words)
        assert "\x1b" not in result.stdout + result.stderr, words
    assert len(lines("streams")) == 1


def test_statistics_are_printed_for_people_and_for_programs() -> None:
    anyio.run(grow)

    shown, (answer,) = lines("stats"), answers("stats")

    assert "events         6" in shown
    assert "streams        3" in shown
    assert any(line.startswith("size") and line.endswith(" bytes)") for line in shown)
    assert answer["events_by_category"] == {"note": 4, "other": 1, "third": 1}
    assert answer["head"] == 6


def test_empty_store_has_statistics_too() -> None:
    async def nothing() -> None:
        async with SQLiteStore("story.db"):
            pass

    anyio.run(nothing)

    assert "oldest event   none" in lines("stats")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_000, "1.0 kB (1,000 bytes)"),
        (61_440, "61.4 kB (61,440 bytes)"),
        (5_300_000_000, "5.3 GB (5,300,000,000 bytes)"),
        (7 * 10**15, "7000.0 TB (7,000,000,000,000,000 bytes)"),
    ],
)
def test_size_is_said_for_people_and_exactly(size: int, text: str) -> None:
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("stream", "note"), "its category has note-a, note-alpha"),
        (("stream", "note-alpa"), "similar ones are note-alpha"),
        (("stream", "note-ALPHA"), "similar ones are note-alpha"),
        (("stream", "note-zzz"), "its category has note-a, note-alpha; `backstory streams"),
        (("stream", "nobody-1"), "does not exist; `backstory stats` names the categories"),
        (("stream", "note-lph"), "similar ones are note-alpha"),
        (("state", "task", "writ"), "'task-writ' does not exist; similar ones are task-write"),
    ],
)
def test_stream_that_is_not_there_brings_a_hint(words: tuple[str, ...], hint: str) -> None:
    async def fill() -> None:
        async with SQLiteStore("story.db") as store:
            for number, stream_id in enumerate(("note-a", "note-alpha", "task-write"), 1):
                await put(store, stream_id, number)

    anyio.run(fill)

    result = call(*words)

    assert result.exit_code == 1
    assert hint in result.stderr
    assert len(result.stderr.splitlines()) == 1
