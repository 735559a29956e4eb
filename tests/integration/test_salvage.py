"""What is good of a damaged store is copied whole, and what is missing is named."""

# ruff: noqa: ASYNC240 - the files are small, and nothing else is to go on meanwhile

import random
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.conftest import noted, unchecked
from tests.integration.forgery import (
    EVENT_COUNT,
    SEED,
    change,
    cut,
    drop,
    execute,
    fill,
    flip,
    forging,
    leaves_of,
    make_older,
    root_of,
    rows_of,
    served,
    swap,
    tear,
)

from backstory import (
    ANY,
    BackstoryError,
    ConfigurationError,
    InvalidInputError,
    LogSeal,
    SealedEvent,
)
from backstory._commit import NO_HASH
from backstory.operations import (
    CutStream,
    DamageKind,
    Salvage,
    SalvageClock,
    inspected,
    salvage,
    verify,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.supply import LogHead, log_digest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return the file of a store that is whole, and closed."""
    path = tmp_path / "story.db"
    await fill(path)
    return path


async def salvaged(path: Path, target: Path) -> Salvage:
    clock = SalvageClock()
    async with (
        inspected(SQLiteStore(path, read_only=True)) as source,
        SQLiteStore(target, clock=clock) as copy,
    ):
        return await salvage(source, copy, clock=clock)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "good.db"


async def test_whole_store_is_copied_to_the_last_hash(path: Path, target: Path) -> None:
    summary = await salvaged(path, target)

    async with SQLiteStore(path) as source, SQLiteStore(target) as copy:
        assert await rows_of(copy) == await rows_of(source)
        assert await served(copy) == await served(source)
        assert (await copy.read_seal()).incarnation != (await source.read_seal()).incarnation
        assert (await verify(copy)).is_whole
    assert summary == Salvage(
        event_count=EVENT_COUNT,
        last_position=EVENT_COUNT,
        keeps_positions=True,
        left_count=0,
        undigested_count=0,
        cut_streams=[],
        damage=[],
        damage_count=0,
        is_whole=True,
    )


@pytest.mark.parametrize(
    ("forge", "saved", "left"),
    [
        (partial(change, position=10, column="data", value="{}"), 9, 31),
        (partial(drop, position=10), 9, 30),
        (partial(swap, one=10, other=14), 9, 31),
        (partial(change, position=1, column="type", value="test:other"), 0, 40),
        (partial(change, position=40, column="type", value="test:other"), 39, 1),
        (partial(cut, position=35), 35, 0),
    ],
    ids=["changed", "dropped", "swapped", "first", "last", "cut"],
)
async def test_what_lies_before_the_first_damage_is_saved_and_the_rest_named(
    path: Path, target: Path, forge: Callable[[sqlite3.Connection], None], saved: int, left: int
) -> None:
    async with SQLiteStore(path) as source:
        original = await rows_of(source)
    with forging(path) as db:
        forge(db)
    before = path.read_bytes()

    summary = await salvaged(path, target)

    assert path.read_bytes() == before
    async with SQLiteStore(target) as copy:
        assert await rows_of(copy) == original[:saved]
        assert (await verify(copy)).is_whole
    assert (summary.event_count, summary.last_position) == (saved, saved)
    assert summary.left_count == left
    assert not summary.is_whole
    assert summary.damage_count == len(summary.damage) > 0


async def test_streams_that_are_cut_are_named_with_what_is_saved(path: Path, target: Path) -> None:
    with forging(path) as db:
        change(db, position=38, column="data", value="{}")

    summary = await salvaged(path, target)

    assert summary.cut_streams == [
        CutStream("note-1", 9),
        CutStream("note-2", 9),
        CutStream("note-3", 9),
    ]


async def test_unreadable_event_cuts_the_copy_though_the_next_one_is_whole(
    path: Path, target: Path
) -> None:
    with forging(path) as db:
        execute(db, "UPDATE events SET type = CAST(x'ff' AS TEXT) WHERE position = 38")

    summary = await salvaged(path, target)

    assert (summary.event_count, summary.last_position, summary.left_count) == (37, 37, 2)
    assert summary.cut_streams == [CutStream("note-2", 9), CutStream("note-3", 9)]


async def test_torn_page_cuts_the_copy_and_is_named(path: Path, target: Path) -> None:
    tear(path, leaves_of(path, "events")[1])

    summary = await salvaged(path, target)

    hole = next(d for d in summary.damage if d.what is DamageKind.UNREADABLE)
    assert summary.last_position == (hole.position or 0) - 1
    assert summary.left_count == EVENT_COUNT - (hole.last_position or 0)


async def test_torn_index_costs_no_event(path: Path, target: Path) -> None:
    tear(path, root_of(path, "sqlite_autoindex_events_2"))

    summary = await salvaged(path, target)

    assert (summary.event_count, summary.is_whole) == (EVENT_COUNT, True)
    async with SQLiteStore(target) as copy:
        assert (await verify(copy)).is_whole


async def test_events_that_todays_class_refuses_are_saved_as_they_were(
    path: Path, target: Path
) -> None:
    async with SQLiteStore(path) as store:
        event_id = "00000000-0000-4000-8000-000000000009"
        event = unchecked(event_id, "test:counted", 1, b'{"by": "not a number"}')
        await store.append("note-0", [event], expected_version=10)

    summary = await salvaged(path, target)

    assert summary.event_count == EVENT_COUNT + 1
    async with SQLiteStore(target) as copy:
        recorded = await copy.read_event(event_id)
    assert recorded is not None
    assert recorded.data_json == b'{"by": "not a number"}'


async def test_store_of_an_older_schema_can_be_salvaged(
    path: Path, target: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older.db"
    make_older(path, older, schema=1)

    summary = await salvaged(older, target)

    assert summary.is_whole
    assert summary.undigested_count == EVENT_COUNT
    async with SQLiteStore(path) as source, SQLiteStore(target) as copy:
        assert await rows_of(copy) == await rows_of(source)


async def test_order_that_no_digest_proves_is_said(
    path: Path, target: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older.db"
    make_older(path, older, schema=1)
    with forging(older) as db:
        swap(db, 10, 11)  # neighbours, of two streams

    summary = await salvaged(older, target)

    assert (summary.event_count, summary.undigested_count) == (EVENT_COUNT, EVENT_COUNT)
    assert not summary.is_whole
    assert [damage.what for damage in summary.damage] == [DamageKind.END]


async def test_gaps_that_are_right_are_closed_and_said(target: Path) -> None:
    class SkippingStore(InMemoryStore):
        async def read_sealed_page(self, after_position: int, limit: int) -> list[SealedEvent]:
            page = await super().read_sealed_page(0, 1_000)
            digest, shifted = NO_HASH, list[SealedEvent]()
            for sealed in page:
                position = 2 * sealed.recorded.position
                digest = log_digest(digest, position, sealed.hash)
                recorded = replace(sealed.recorded, position=position)
                place = sealed.position_before and 2 * sealed.position_before
                shifted.append(
                    replace(sealed, recorded=recorded, digest=digest, position_before=place)
                )
            return [one for one in shifted if one.recorded.position > after_position][:limit]

        async def read_seal(self) -> LogSeal:
            last = (await self.read_sealed_page(0, 1_000))[-1]
            return LogSeal("log", LogHead(last.recorded.position, last.digest or b""))

    clock = SalvageClock()
    async with SkippingStore() as source, SQLiteStore(target, clock=clock) as copy:
        await source.append("note-1", noted("a", "b"), expected_version=0)

        summary = await salvage(source, copy, clock=clock)

    assert summary.is_whole
    assert (summary.last_position, summary.keeps_positions) == (4, False)


async def test_target_with_events_is_refused(path: Path, target: Path) -> None:
    await fill(target)

    with pytest.raises(InvalidInputError, match="it has events already"):
        await salvaged(path, target)


async def test_target_with_another_clock_is_refused(path: Path, target: Path) -> None:
    async with SQLiteStore(path, read_only=True) as source, SQLiteStore(target) as copy:
        with pytest.raises(ConfigurationError, match="records another time"):
            await salvage(source, copy, clock=SalvageClock())


async def test_salvage_tells_how_far_it_is(target: Path) -> None:
    clock, told = SalvageClock(), list[int]()
    async with InMemoryStore() as source, SQLiteStore(target, clock=clock) as copy:
        for _ in range(2):
            await source.append("note-1", noted(*map(str, range(1_000))), expected_version=ANY)

        await salvage(source, copy, clock=clock, on_progress=told.append)

        assert await copy.head() == 2_000
    assert told == [1_000, 2_000]


@pytest.mark.parametrize("flip_count", [5, pytest.param(100, marks=pytest.mark.slow)])
async def test_what_is_salvaged_of_a_flipped_file_is_the_beginning_of_the_log(
    path: Path, tmp_path: Path, flip_count: int
) -> None:
    print(f"BACKSTORY_SEED={SEED}")  # noqa: T201 - a failure shows it
    chance = random.Random(SEED)  # noqa: S311 - no secret
    async with SQLiteStore(path) as source:
        original = await rows_of(source)
    whole = path.read_bytes()

    for number in range(flip_count):
        path.write_bytes(whole)
        flip(path, chance.randrange(8 * len(whole)))
        target = tmp_path / f"good-{number}.db"
        try:
            summary = await salvaged(path, target)
        except BackstoryError:
            continue
        async with SQLiteStore(target) as copy:
            rows = await rows_of(copy)
            assert rows == original[: len(rows)]
            assert (await verify(copy)).is_whole
        # The other way round, what is damaged may be the head alone.
        assert len(rows) == len(original) or not summary.is_whole
