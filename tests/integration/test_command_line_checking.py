"""`backstory check-compat`, as a build server calls it before a deploy."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import anyio
import pytest
from tests.conftest import unchecked

from backstory import ANY, NewEvent
from backstory.stores.sqlite import SQLiteStore

ROOT = Path(__file__).parents[2]

SHOP = """
from backstory import Aggregate, Event, on


class Ordered(Event, type="shop:ordered"):
    article: str
    count: int = 1


class Order(Aggregate, category="order"):
    article: str = ""

    @on(Ordered)
    def _ordered(self, event: Ordered) -> None:
        self.article = event.article
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a program, and a store of what it recorded."""
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    return tmp_path


def check(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    roots = (str(ROOT / root) for root in ("framework", "aggregates", "projections"))
    return subprocess.run(
        [sys.executable, "-m", "backstory", "check-compat", *words],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(roots),
            "PYTHONUTF8": "1",
            "BACKSTORY_STORE": "sqlite:///story.db",
        },
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def put(folder: Path, stream_id: str, type: str, *texts: str) -> None:
    async def append() -> None:
        async with SQLiteStore(folder / "story.db") as store:
            for text in texts:
                event = unchecked(str(uuid.uuid4()), type, 1, text.encode())
                await store.append(stream_id, [event], expected_version=ANY)

    anyio.run(append)


def test_store_that_reads_whole_passes(folder: Path) -> None:
    put(folder, "order-1", "shop:ordered", '{"article":"tea","count":1}', '{"article":"milk"}')

    run = check(folder, "--import", "shop", "--strict")

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "reads    shop:ordered v1  1 events, first at 1: order-1 1",
        "fills    shop:ordered v1  1 events, first at 2: order-1 2  count",
        "2 events and 2 shapes up to position 2; aggregates were folded along 1 streams",
    ]


def test_what_breaks_is_named_and_fails(folder: Path) -> None:
    put(folder, "order-1", "shop:ordered", '{"article":"tea"}', '{"article":null}', '{"item":"x"}')

    run = check(folder, "--import", "shop")

    assert run.returncode == 1
    shown = run.stdout.splitlines()
    assert shown[1] == (
        "breaks   shop:ordered v1  1 events, first at 2: order-1 2  "
        "Expected `str`, got `null` - at `$.article`"
    )
    assert "first at 3: order-1 3  Object missing required field `article`" in shown[2]
    assert shown[3].startswith("fails    shop:ordered v1  2 events, first at 2: order-1 2  order: ")


@pytest.mark.parametrize(
    ("stream_id", "type", "text"),
    [("thing-1", "thing:made", "{}"), ("thing-1", "shop:ordered", '{"article":"a","old":1}')],
)
def test_strict_fails_on_what_is_unknown_or_lost(
    folder: Path, stream_id: str, type: str, text: str
) -> None:
    put(folder, stream_id, type, text)

    assert check(folder, "--import", "shop").returncode == 0
    assert check(folder, "--import", "shop", "--strict").returncode == 1


def test_unknown_type_fails_where_an_aggregate_needs_it(folder: Path) -> None:
    put(folder, "order-1", "shop:cancelled", "{}")
    put(folder, "thing-1", "thing:made", "{}")

    run = check(folder, "--import", "shop")

    assert run.returncode == 1
    assert "order: this program does not know it, and the class has no @on(RawEvent)" in run.stdout
    assert "not checked: loading what is in thing, which no class is known for" in run.stdout


def test_json_holds_the_whole_report(folder: Path) -> None:
    put(folder, "order-1", "shop:ordered", '{"article":1}')

    run = check(folder, "--import", "shop", "--json")

    report = json.loads(run.stdout)
    assert run.returncode == 1
    assert report["breaks"] is True
    assert report["findings"] == [
        {
            "verdict": "breaks",
            "event_type": "shop:ordered",
            "schema_version": 1,
            "subject": "Expected `str`, got `int` - at `$.article`",
            "event_count": 1,
            "position": 1,
            "stream_id": "order-1",
            "version": 1,
        }
    ]
    assert report["aggregate_findings"][0]["category"] == "order"


def test_text_from_a_store_cannot_drive_the_terminal(folder: Path) -> None:
    put(folder, "order-\x1b[2J", "shop:ordered", '{"article":"a","\\u001b[2J":1}')

    run = check(folder, "--import", "shop")

    assert "\x1b" not in run.stdout
    assert "\\x1b[2J" in run.stdout


def test_installed_classes_are_asked_without_being_named(folder: Path) -> None:
    put(folder, "task-1", "task:created", '{"title":1}')

    run = check(folder)

    assert run.returncode == 1
    assert "breaks   task:created v1" in run.stdout


def test_check_writes_nothing_and_creates_nothing(folder: Path) -> None:
    run = check(folder)

    assert run.returncode == 1
    assert "there is no store at" in run.stderr
    assert not (folder / "story.db").exists()


def test_new_class_is_checked_before_it_is_deployed(folder: Path) -> None:
    async def order() -> None:
        async with SQLiteStore(folder / "story.db") as store:
            event = NewEvent.raw("shop:ordered", b'{"article":"tea"}', event_id=uuid.uuid4())
            await store.append("order-1", [event], expected_version=0)

    anyio.run(order)
    assert check(folder, "--import", "shop").returncode == 0

    (folder / "shop.py").write_text(SHOP.replace("article: str\n", "article: int\n"), "utf-8")

    assert check(folder, "--import", "shop").returncode == 1
