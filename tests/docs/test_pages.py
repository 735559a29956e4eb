"""The reference says what the code says: each page is compared with what it describes."""

import ast
import inspect
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click import Context, Group

from backstory import (
    Durability,
    EventStore,
    Metadata,
    NewEvent,
    _aggregate,
    _decision,
    _errors,
    _events,
    _limits,
    _logging,
    _projection,
    _store_url,
    store_of,
)
from backstory._clock import from_microseconds
from backstory._snapshot import SNAPSHOT_COUNT_MAX
from backstory.cli._main import backstory as program
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.sqlite._migrate import migrate

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# The row of docs/reference/limits.md that says each number.
LIMITS = {
    "STREAM_ID_BYTES_MAX": "stream id",
    "CATEGORY_BYTES_MAX": "category",
    "EVENT_TYPE_BYTES_MAX": "event type",
    "METADATA_ID_BYTES_MAX": "correlation id, causation id, actor, idempotency key",
    "PROJECTION_NAME_BYTES_MAX": "projection's name",
    "FILTER_VALUE_COUNT_MAX": "types, categories or streams of one item of a filter",
    "FILTER_ITEM_COUNT_MAX": "items of one filter",
    "TAG_BYTES_MAX": "tag",
    "TAG_COUNT_MAX": "tags of one event",
    "EVENT_BYTES_MAX": "one event, data and metadata together",
    "NESTING_MAX": "levels of lists and objects in data or metadata",
    "APPEND_EVENT_COUNT_MAX": "one append, over all its streams",
    "APPEND_BYTES_MAX": "one append, in bytes",
    "PAGE_EVENT_COUNT_MAX": "one page",
    "INTEGER_MAX": "version, position",
    "SNAPSHOT_COUNT_MAX": "snapshots that are kept of one stream",
}


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of every table, but for the lines under the heads."""
    lines = re.findall(r"^\|([^-].+)\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def test_errors_stand_in_their_tree() -> None:
    tree = re.findall(r"^    ([│ ├└─]*)(\w+Error)\b", _errors.__doc__ or "", re.MULTILINE)
    drawn = [(len(lines) // 4, name) for lines, name in tree]

    # A dash for each level, then the name.
    shown = [
        (len(cells[0].split()) - 1, cells[0].split()[-1].strip("`"))
        for cells in rows(page("reference/errors.md"))
        if "`" in cells[0]
    ]

    assert shown == drawn


def test_log_entries_are_all_listed_with_their_level() -> None:
    listed = [(cells[0].strip("`"), cells[1]) for cells in log_rows() if "." in cells[0]]

    said = {
        entry
        for file in sorted((ROOT / "framework").rglob("*.py"))
        for entry in log_entries(ast.parse(file.read_text(encoding="utf-8")))
    }

    # As lists: a row that stands there twice is a mistake too.
    assert sorted(listed) == sorted(said)


def log_entries(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield name and level of what a module logs."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="log"), attr=level),
                args=[ast.Constant(value=str(name))],
            ):
                yield name, level
            case _:
                pass


def test_log_keys_are_all_listed_and_used() -> None:
    keys = {value for name, value in vars(_logging).items() if name.isupper()}
    entries = [cells for cells in log_rows() if "." in cells[0]]
    listed = re.findall(r"^\| `(\w+)` \|", page("reference/log-entries.md"), re.MULTILINE)

    used = {key for cells in entries for key in re.findall(r"`(\w+)`", cells[2])}

    assert used == keys
    assert sorted(listed) == sorted(keys)


def log_rows() -> list[list[str]]:
    return rows(page("reference/log-entries.md"))


def test_limits_are_said_as_they_are() -> None:
    said = {cells[0]: cells[1] for cells in rows(page("reference/limits.md"))}
    numbers: dict[str, int] = {
        name: value for name, value in vars(_limits).items() if name.endswith("_MAX")
    }
    numbers["SNAPSHOT_COUNT_MAX"] = SNAPSHOT_COUNT_MAX

    assert numbers.keys() == LIMITS.keys(), "give each limit its row"
    assert not [
        f"{LIMITS[name]}: {said[LIMITS[name]]}"
        for name, number in numbers.items()
        if not re.match(spelt(number), said[LIMITS[name]])
    ]


def test_names_of_the_framework_are_all_listed() -> None:
    text = page("reference/limits.md")
    said = {cells[0]: set(re.findall(r"`(\w+)`", cells[1])) for cells in rows(text)}

    assert said["an aggregate"] == vars(_aggregate)["_RESERVED"]
    assert said["a decision"] == vars(_decision)["_RESERVED"]
    assert said["a projection"] == vars(_projection)["_RESERVED"]
    assert said["an event's fields"] == vars(_events)["_RESERVED"]


def test_settings_of_store_urls_are_those_of_the_code() -> None:
    listed = [
        (cells[1].strip("`"), cells[2].strip("`"))
        for cells in rows(page("reference/store-urls.md"))
        if cells[0] == "`sqlite`"
    ]

    taken = inspect.signature(SQLiteStore).parameters
    names: list[str] = list(vars(_store_url)["_SQLITE_SETTINGS"])
    assert listed == [(name, spelt_setting(taken[name].default)) for name in names]


def spelt_setting(value: Durability | float) -> str:
    return value.value if isinstance(value, Durability) else str(value)


def test_url_that_is_shown_names_a_store() -> None:
    urls = re.findall(r"^\| `(\w+://.*?)` \|", page("reference/store-urls.md"), re.MULTILINE)

    assert urls
    assert all(isinstance(store_of(url), EventStore) for url in urls)


def spelt(number: int) -> str:
    return re.escape("2^63 ") if number == 2**63 - 1 else rf"{number:,}\b"


def test_every_table_and_column_of_the_file_is_described() -> None:
    text = page("reference/on-disk-sqlite.md")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, "a file in memory")
        columns = db.execute(
            "SELECT t.name, c.name FROM pragma_table_list t, pragma_table_xinfo(t.name) c "
            "WHERE t.schema = 'main' AND t.name NOT LIKE 'sqlite_%'"
        ).fetchall()

    headings = " ".join(re.findall(r"^## (.+)$", text, re.MULTILINE))
    words = {*re.findall(r"`(\w+)`", text), *headings.split()}

    assert not {f"{table}.{column}" for table, column in columns if not {table, column} <= words}


class HeldClock:
    def now(self) -> datetime:
        return from_microseconds(1763704800000000)


@pytest.mark.anyio
async def test_worked_example_of_the_chain_is_what_the_store_writes(tmp_path: Path) -> None:
    first, second = (f"0192e4a0-7c1e-7d5a-8a3b-6f1c2d3e4f5{number}" for number in (0, 1))
    events = [
        NewEvent.raw("note:written", b'{"text":"hello"}', event_id=first),
        NewEvent.raw(
            "note:written",
            '{"text":"wörld"}'.encode(),
            event_id=second,
            metadata=Metadata(actor="ada"),
        ),
    ]
    async with SQLiteStore(tmp_path / "story.db", clock=HeldClock()) as store:
        await store.append("note-1", events, expected_version=0)

    with closing(sqlite3.connect(tmp_path / "story.db")) as db:
        hashes: list[Any] = [
            *(row[0] for row in db.execute("SELECT hash FROM events ORDER BY position")),
            *db.execute("SELECT digest FROM log").fetchone(),
        ]

    shown = re.findall(r"^'([0-9a-f]{64})'$", page("reference/on-disk-sqlite.md"), re.MULTILINE)
    assert [value.hex() for value in hashes] == [shown[0], shown[1], shown[3]]


def test_every_command_has_its_help_in_the_reference() -> None:
    marks = re.findall(r"<!-- drawn: help ?(.*?) ?-->", page("reference/command-line.md"))

    assert sorted(marks) == sorted(commands(program, Context(program)))


def commands(group: Group, context: Context, prefix: str = "") -> Iterator[str]:
    yield prefix.strip()
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, Group):
            yield from commands(command, context, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}".strip()


def test_every_requirement_names_a_test_that_exists() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page("reference/requirements.md"))

    assert named
    assert not [f"{file}::{name}" for file, name in named if not has_test(ROOT / file, name)]


def has_test(file: Path, name: str) -> bool:
    return file.is_file() and f"def {name}(" in file.read_text(encoding="utf-8")


def test_every_requirement_has_a_row_of_its_own() -> None:
    numbers = [
        number
        for cells in rows(page("reference/requirements.md"))
        for number in re.findall(r"[A-Z]+\d?\.?\d+", cells[0])
    ]

    assert len(numbers) == len(set(numbers))


def test_every_example_is_in_the_table() -> None:
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")

    examples = {file.name for file in (ROOT / "examples").glob("*.py")}

    assert examples == set(re.findall(r"\]\((\w+\.py)\)", table))


@pytest.mark.parametrize("name", ["how-to/add-an-event.md", "how-to/move-a-system-onto-events.md"])
def test_both_lists_have_five_steps(name: str) -> None:
    assert re.findall(r"^(\d)\. \*\*", page(name), re.MULTILINE) == ["1", "2", "3", "4", "5"]
