"""Events of three schema versions lie in one stream, and everything reads them as the newest."""

import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.conftest import STORES, drain
from tests.faults.account import faults

from backstory import (
    ANY,
    Aggregate,
    Backstory,
    Decision,
    EncodeError,
    Event,
    EventFilter,
    EventStore,
    NewEvent,
    Projection,
    fold_log,
    on,
    where,
)

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.anyio


def _name_became_title(data: dict[str, Any]) -> dict[str, Any]:
    data["title"] = data.pop("name")
    return data


def _minutes_became_seconds(data: dict[str, Any]) -> dict[str, Any]:
    return {"title": data["title"], "seconds": data.get("minutes", 0) * 60}


class Filmed(
    Event,
    type="old:filmed",
    schema_version=3,
    aliases=("old:recorded",),
    upcasters={1: _name_became_title, 2: _minutes_became_seconds},
):
    title: str
    seconds: int


class Film(Aggregate, category="film", snapshot_every=2):
    takes: list[tuple[str, int]] = []

    def shoot(self, title: str, seconds: int) -> None:
        self.emit(Filmed(title=title, seconds=seconds))

    @on(Filmed)
    def _filmed(self, event: Filmed) -> None:
        self.takes.append((event.title, event.seconds))


class Reel(Projection):
    takes: list[tuple[str, int]] = []

    @on(Filmed)
    def _filmed(self, event: Filmed) -> None:
        self.takes.append((event.title, event.seconds))


class Cut(Decision):
    takes: list[tuple[str, int]] = []

    def query(self) -> EventFilter:
        return where(types=[Filmed])

    @on(Filmed)
    def _filmed(self, event: Filmed) -> None:
        self.takes.append((event.title, event.seconds))

    def decide(self) -> list[tuple[str, int]]:
        return self.takes


STORED = (
    ("old:recorded", 1, b'{"name": "a", "minutes": 2}'),
    ("old:filmed", 1, b'{"name": "b"}'),
    ("old:filmed", 2, b'{"title": "c", "minutes": 1}'),
    ("old:filmed", 3, b'{"title": "d", "seconds": 5}'),
)
READ = [("a", 120), ("b", 0), ("c", 60), ("d", 5)]


async def store_old_events(store: EventStore) -> None:
    for type, schema_version, data_json in STORED:
        event = NewEvent.raw(type, data_json, event_id=uuid.uuid4(), schema_version=schema_version)
        await store.append("film-1", [event], expected_version=ANY)
        faults.count()


@pytest.mark.fault(26, "T17", without="the upcasters in the codec")
async def test_every_reader_gets_the_newest_shape(store: EventStore) -> None:
    await store_old_events(store)

    async with Backstory(store, projections=[Reel]) as story:
        assert (await story.load(Film, "1")).takes == READ
        assert (await story.load(Film, "1", at_version=2)).takes == READ[:2]
        assert (await story.read_model(Reel)).takes == READ
        assert await story.decide(Cut()) == READ
        replayed = [recorded.data async for recorded in story.replay()]
        async with story.subscribe() as subscription:
            followed = [(await anext(subscription)).data for _ in STORED]
    assert (await fold_log(store, Reel)).takes == READ
    assert replayed == followed == [Filmed(title=t, seconds=s) for t, s in READ]


@pytest.mark.fault(26, "T17", without="the bytes of an event as they came")
async def test_stored_bytes_stay_as_they_are(store: EventStore) -> None:
    await store_old_events(store)
    async with Backstory(store) as story:
        await story.execute(Film.shoot, "1", title="e", seconds=1)

    events = await drain(store.read_log())

    assert [(e.type, e.schema_version, e.data_json) for e in events[:4]] == list(STORED)
    assert (events[4].type, events[4].schema_version) == ("old:filmed", 3)


@pytest.mark.fault(26, "T17", without="the upcasters in the codec")
async def test_snapshot_and_tail_agree_on_old_events(store: EventStore) -> None:
    await store_old_events(store)
    async with Backstory(store) as story:
        await story.execute(Film.shoot, "1", title="e", seconds=1)
    assert (await store.statistics()).snapshot_count == 1

    async with Backstory(store) as story:
        await story.execute(Film.shoot, "1", title="f", seconds=2)
        film = await story.load(Film, "1")

    assert film.takes == [*READ, ("e", 1), ("f", 2)]


async def test_command_line_shows_the_newest_shape(tmp_path: Path) -> None:
    async with STORES["sqlite"](tmp_path, None) as store:
        await store_old_events(store)
    roots = (str(ROOT / root) for root in ("", "framework", "aggregates", "projections"))

    where_from = ("--import", "tests.integration.test_old_events")
    store_url = ("--store", f"sqlite:///{tmp_path / 'story.db'}")

    shown = await anyio.run_process(
        [
            sys.executable,
            "-m",
            "backstory",
            "state",
            "film",
            "1",
            "--json",
            *where_from,
            *store_url,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)},
    )

    assert json.loads(shown.stdout)["takes"] == [list(take) for take in READ]


def test_old_data_that_does_not_fit_is_not_stored() -> None:
    with pytest.raises(EncodeError, match="upcaster from version 1 raised KeyError: 'name'"):
        NewEvent.raw("old:filmed", b'{"title":"x"}', event_id=uuid.uuid4())
