"""`backstory verify` and `backstory salvage`, as an operator calls them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result
from tests.conftest import noted

from backstory import ANY
from backstory.cli._main import backstory as program
from backstory.operations import Verification, verify
from backstory.stores.sqlite import SQLiteStore


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder whose store has ten events of two streams."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKSTORY_STORE", "sqlite:///story.db")
    anyio.run(fill)
    return tmp_path


async def fill() -> None:
    async with SQLiteStore("story.db") as store:
        for number in range(10):
            await store.append(f"note-{number % 2}", noted(str(number)), expected_version=ANY)


def damage(*statements: str) -> None:
    with closing(sqlite3.connect("story.db", isolation_level=None)) as db:
        triggers = db.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        for _, sql in triggers:
            db.execute(sql)


def change(position: int) -> str:
    return f"UPDATE events SET data = '{{}}' WHERE position = {position}"  # noqa: S608 - a number


CUT = (
    "DELETE FROM events WHERE position > 7",
    "UPDATE log SET (position, digest) = (SELECT position, digest FROM events WHERE position = 7)",
)


def call(*words: str) -> Result:
    return CliRunner().invoke(program, words)


def verdict() -> Verification:
    async def judge() -> Verification:
        async with SQLiteStore("story.db", read_only=True) as store:
            return await verify(store)

    return anyio.run(judge)


def test_whole_store_passes_and_its_head_is_shown() -> None:
    whole = verdict()

    run = call("verify")

    shown = run.stdout.splitlines()
    assert (run.exit_code, run.stderr) == (0, "")
    assert shown[0].startswith("10 events of 2 streams, ")
    assert " bytes, up to position 10, in " in shown[0]
    assert shown[0].endswith(" events a second)")
    assert shown[1:] == [
        f"log {whole.incarnation}, position 10, digest {whole.digest}",
        "nothing is wrong",
    ]


def test_findings_are_lines_and_fail() -> None:
    damage(change(5), "DELETE FROM events WHERE position = 8")

    run = call("verify")

    shown = run.stdout.splitlines()
    assert run.exit_code == 1
    assert shown[0].startswith("changed     5 note-0 3  what it says gives the hash ")
    assert shown[1].startswith(
        "missing     9 note-0 5  no event is at position 8, and the digest of"
    )
    assert shown[2].startswith("missing     10 note-1 5  version 4 of its stream is not there")
    assert shown[-1] == "damaged: 3 found"


@pytest.mark.parametrize(("limit", "lines"), [("1", 1), ("0", 0)])
def test_findings_beyond_the_limit_are_counted(limit: str, lines: int) -> None:
    damage(change(5), change(6), change(7))

    run = call("verify", "--limit", limit)

    shown = run.stdout.splitlines()
    assert [line.startswith("changed") for line in shown].count(True) == lines
    assert shown[lines] == ("and 2 findings more" if lines else "3 findings")


def test_json_holds_the_whole_verdict() -> None:
    damage(change(5))

    run = call("verify", "--json")

    found: dict[str, Any] = json.loads(run.stdout)
    assert run.exit_code == 1
    [one] = found.pop("damage")
    assert (one["what"], one["position"], one["stream_id"]) == ("changed", 5, "note-0")
    assert found.pop("seconds") > 0
    assert (found["is_whole"], found["damage_count"], found["event_count"]) == (False, 1, 10)
    assert len(found["digest"]) == 64


def test_verification_begins_behind_a_position() -> None:
    damage(change(5))

    run = call("verify", "--after", "6")
    beyond = call("verify", "--after", "11")

    assert run.exit_code == 0
    assert run.stdout.startswith("4 events of 0 streams, ")
    assert " up to position 10 behind position 6, in " in run.stdout
    assert beyond.exit_code == 1


def test_store_that_is_refused_can_be_verified() -> None:
    damage(*CUT)

    refused, run = call("log"), call("verify")

    assert refused.exit_code == 1
    assert run.exit_code == 1
    assert run.stdout.splitlines()[0] == (
        "end         8 to 10  the head that is kept apart is at position 10, "
        "and the last event at 7"
    )


def test_store_without_a_kept_head_says_what_cannot_be_told(folder: Path) -> None:
    (folder / "story.db-head").unlink()

    run = call("verify")

    assert run.exit_code == 0
    assert (
        "no head is kept beside the log: whether it has lost its end cannot be told" in run.stdout
    )


def test_evidence_moves_no_cursor() -> None:
    damage("UPDATE events SET stream_id = 'note-' || char(27) || '[2J' WHERE position = 1")

    run = call("verify")

    assert run.exit_code == 1
    assert "\x1b" not in run.stdout
    assert r"note-\x1b[2J" in run.stdout


def test_neither_command_makes_a_store_where_there_is_none(folder: Path) -> None:
    absent = ("--store", "sqlite:///absent.db")

    runs = call("verify", *absent), call("salvage", *absent, "--into", "sqlite:///good.db")

    assert [run.exit_code for run in runs] == [1, 1]
    assert not list(folder.glob("absent*"))
    assert not list(folder.glob("good*"))


def test_salvage_copies_the_good_beginning_and_says_what_is_missing() -> None:
    damage(change(5))

    run = call("salvage", "--into", "sqlite:///good.db")
    again = call("verify", "--store", "sqlite:///good.db")

    shown = run.stdout.splitlines()
    assert (run.exit_code, again.exit_code) == (1, 0)
    assert shown[0].startswith("changed     5 note-0 3  ")
    assert shown[1:] == [
        "cut         note-0  up to version 2 is saved",
        "cut         note-1  up to version 2 is saved",
        "4 events saved, up to position 4",
        "6 events behind the first damage can be read, and are not copied",
        "the copy is not whole",
    ]
    assert again.stdout.startswith("4 events of 2 streams, ")


def test_salvage_of_a_whole_store_misses_nothing() -> None:
    run = call("salvage", "--into", "sqlite:///good.db")

    assert run.exit_code == 0
    assert run.stdout.splitlines() == ["10 events saved, up to position 10", "nothing is missing"]


def test_salvage_as_json() -> None:
    damage(change(1))

    run = call("salvage", "--into", "sqlite:///good.db", "--json")

    found = json.loads(run.stdout)
    assert run.exit_code == 1
    assert (found["event_count"], found["is_whole"], found["left_count"]) == (0, False, 10)
    assert found["cut_streams"] == [
        {"stream_id": "note-0", "after_version": 0},
        {"stream_id": "note-1", "after_version": 0},
    ]


def test_salvage_of_a_store_that_is_refused() -> None:
    damage(*CUT)

    run = call("salvage", "--into", "sqlite:///good.db")

    assert run.exit_code == 1
    assert run.stdout.splitlines()[-2:] == [
        "7 events saved, up to position 7",
        "the copy is not whole",
    ]


@pytest.mark.parametrize("into", ["sqlite:///story.db", "sqlite:///./story.db?durability=buffered"])
def test_damaged_store_is_never_written_to(folder: Path, into: str) -> None:
    before = (folder / "story.db").read_bytes()

    run = call("salvage", "--into", into)

    assert run.exit_code == 1
    assert "is the damaged store itself" in str(run.exception)
    assert (folder / "story.db").read_bytes() == before


def test_salvage_into_a_store_with_events_is_refused() -> None:
    assert call("salvage", "--into", "sqlite:///good.db").exit_code == 0

    run = call("salvage", "--into", "sqlite:///good.db")

    assert run.exit_code == 1
    assert "it has events already" in str(run.exception)
