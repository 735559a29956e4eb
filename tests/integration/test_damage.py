"""Damage to the file of an SQLite store is found, and never served as if it were whole.

A careful forger works behind the store's back, as `forgery` says, and chance flips bits.
"""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import pytest
from tests.conftest import Counted, drain, new_event, noted
from tests.faults.account import faults
from tests.integration.forgery import (
    EVENT_COUNT,
    SEED,
    change,
    copy,
    copy_behind_the_head,
    cut,
    cut_without_head,
    double,
    drop,
    execute,
    fill,
    flip,
    forging,
    insert,
    leaves_of,
    left_behind,
    make_older,
    root_of,
    served,
    swap,
    tear,
)

from backstory import (
    ANY,
    Aggregate,
    BackstoryError,
    ConfigurationError,
    CorruptLogError,
    Durability,
    Metadata,
    RecordedEvent,
    Repository,
    StreamAppend,
    on,
)
from backstory.operations import (
    Damage,
    DamageKind,
    Verification,
    inspected,
    verify,
)
from backstory.stores.sqlite import SQLiteStore
from backstory_aggregates.run_lines import import_run_lines, read_run_lines

pytestmark = pytest.mark.anyio

FLIP_COUNT: Final = 200


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return the file of a store that is whole, and closed."""
    path = tmp_path / "story.db"
    await fill(path)
    return path


async def verdict_on(path: Path) -> Verification:
    async with inspected(SQLiteStore(path, read_only=True)) as store:
        return await verify(store)


Forge = Callable[[sqlite3.Connection], None]
OTHER_METADATA: Final = (
    '{"correlation_id":"request-0","causation_id":"cause-4","actor":"eve","tags":["odd","third"]}'
)
OTHER_ID: Final = "00000000-0000-4000-8000-000000000001"


def changed(column: str, value: object) -> Forge:
    """Return the forgery that changes a column of the tenth event."""
    return partial(change, position=10, column=column, value=value)


def executed(*statements: str) -> Forge:
    """Return the forgery that does what statements say."""

    def forge(db: sqlite3.Connection) -> None:
        execute(db, *statements)

    return forge


CHANGED: Final = [(DamageKind.CHANGED, 10)]
BY_INDEX: Final = (DamageKind.INDEX, 0)

FORGERIES: Final[dict[str, tuple[Forge, list[tuple[DamageKind, int]]]]] = {
    "payload": (changed("data", '{"by":7}'), CHANGED),
    "metadata": (changed("metadata", OTHER_METADATA), CHANGED),
    "type": (changed("type", "test:noted"), CHANGED),
    "recorded_at": (changed("recorded_at", 5), CHANGED),
    "event id": (changed("event_id", OTHER_ID), CHANGED),
    "stream id": (
        changed("stream_id", "note-9"),
        [(DamageKind.MISSING, 10), (DamageKind.MISSING, 14)],
    ),
    "hash": (changed("hash", bytes(32)), CHANGED),
    "digest": (changed("digest", bytes(32)), [(DamageKind.BROKEN, 10)]),
    "dropped row": (
        partial(drop, position=10),
        [(DamageKind.MISSING, 11), (DamageKind.MISSING, 14)],
    ),
    "swapped in one stream": (
        partial(swap, one=10, other=14),
        [(DamageKind.SWAPPED, 10), (DamageKind.SWAPPED, 14)],
    ),
    "swapped in two streams": (
        partial(swap, one=10, other=11),
        [(DamageKind.SWAPPED, 10), (DamageKind.SWAPPED, 11)],
    ),
    "doubled row": (
        partial(double, position=40, to=41),
        [(DamageKind.DOUBLED, 41), *[BY_INDEX] * 4],
    ),
    "doubled as another version": (
        partial(copy, position=40, to=41, version=11),
        [(DamageKind.CHANGED, 41)],
    ),
    "inserted row": (
        partial(insert, position=21),
        [
            (DamageKind.CHANGED, 21),
            *((DamageKind.MOVED, position) for position in range(22, 42)),
            (DamageKind.END, 40),
        ],
    ),
    "cut tail": (
        partial(cut_without_head, position=35),
        [(DamageKind.END, 36), (DamageKind.END, 36)],
    ),
    "cut tail and head": (partial(cut, position=35), [(DamageKind.END, 36)]),
    "head": (executed("UPDATE log SET digest = zeroblob(32)"), [(DamageKind.END, 40)]),
    "row behind the head": (copy_behind_the_head, [(DamageKind.END, 41)]),
    "tag index row": (
        executed("UPDATE event_tags SET tag = tag || 's' WHERE position = 10"),
        [BY_INDEX] * 4,
    ),
    "snapshot ahead": (executed("UPDATE snapshots SET version = 11"), [BY_INDEX]),
    "checkpoint ahead": (executed("UPDATE checkpoints SET position = 41"), [BY_INDEX]),
    "saved state": (executed("UPDATE snapshots SET state = '{'"), [BY_INDEX]),
    "saved model": (executed("UPDATE checkpoints SET model = '{'"), [BY_INDEX]),
}


@pytest.mark.parametrize("name", FORGERIES)
@pytest.mark.fault(25, 5, without="the comparison of hashes")
async def test_forgery_is_found_and_named(path: Path, name: str) -> None:
    forge, expected = FORGERIES[name]
    with forging(path) as db:
        forge(db)
        faults.count()

    verification = await verdict_on(path)

    found = sorted((d.what.value, d.position or 0) for d in verification.damage)
    assert found == sorted((what.value, position) for what, position in expected)


async def test_trigger_that_was_dropped_is_named(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER events_are_not_changed")

    [damage] = (await verdict_on(path)).damage

    assert damage == Damage(DamageKind.INDEX, "the trigger events_are_not_changed is missing")


async def look_at(path: Path, original: dict[object, list[RecordedEvent]]) -> str:
    """Return what becomes of a damaged file: refused, failed, changed, or the same."""
    try:
        async with SQLiteStore(path, read_only=True) as store:
            try:
                return "same" if await served(store) == original else "changed"
            except BackstoryError:
                return "failed"
    except BackstoryError:
        return "refused"


async def is_found(path: Path) -> bool:
    try:
        return not (await verdict_on(path)).is_whole
    except BackstoryError:
        return True


async def append_to(path: Path) -> None:
    try:
        async with SQLiteStore(path) as store:
            await store.append("note-0", noted("more"), expected_version=ANY)
    except BackstoryError:
        pass


@pytest.mark.parametrize(
    "flip_count", [20, pytest.param(FLIP_COUNT, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
@pytest.mark.parametrize("damaged", ["story.db", "story.db-wal"])
@pytest.mark.fault(5, without="the comparison of hashes")
async def test_flipped_bit_is_found_or_changes_nothing(
    path: Path, damaged: str, flip_count: int
) -> None:
    print(f"BACKSTORY_SEED={SEED}")  # noqa: T201 - a failure shows it
    chance = random.Random(SEED)  # noqa: S311 - no secret
    left = await left_behind(path) if damaged.endswith("-wal") else path
    # Where there is something: most of a small file is empty, and what lies there is nobody's.
    held = [place for place, byte in enumerate(left.with_name(damaged).read_bytes()) if byte]
    bits = {8 * chance.choice(held) + chance.randrange(8) for _ in range(flip_count)}
    async with SQLiteStore(left, read_only=True) as store:
        original = await served(store)
    missed: list[str] = []

    for bit in bits:
        folder = path.parent / str(bit)
        folder.mkdir()
        for file in left.parent.glob("story.db*"):
            if file.suffix != ".db-shm":
                shutil.copy(file, folder / file.name)
        flip(folder / damaged, bit)
        faults.count()
        fate = await look_at(folder / path.name, original)
        if fate in ("changed", "failed") and not await is_found(folder / path.name):
            missed.append(f"bit {bit}: {fate}")
        await append_to(folder / path.name)
        shutil.rmtree(folder)

    assert not missed


@pytest.mark.fault(4, 5, without="the head beside the file")
async def test_store_that_lost_its_end_is_refused_and_can_be_looked_at(path: Path) -> None:
    with forging(path) as db:
        cut(db, 35)
        faults.count()

    for read_only in (False, True):
        with pytest.raises(CorruptLogError, match="the end is lost"):
            await SQLiteStore(path, read_only=read_only).open()
    verification = await verdict_on(path)

    assert verification.has_kept_head
    assert [(d.what, d.position, d.last_position) for d in verification.damage] == [
        (DamageKind.END, 36, 40)
    ]


async def test_store_without_its_head_file_says_so_and_is_whole(path: Path) -> None:
    path.with_name("story.db-head").unlink()

    verification = await verdict_on(path)

    assert verification.is_whole
    assert not verification.has_kept_head


async def test_damaged_store_is_looked_at_read_only(path: Path) -> None:
    store = SQLiteStore(path)

    with pytest.raises(ConfigurationError, match="read_only=True"):
        await store.open_damaged()
    async with store:
        assert await store.head() == EVENT_COUNT


async def test_looking_changes_no_file(path: Path) -> None:
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    assert (await verdict_on(path)).is_whole

    after = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert {name: after[name] for name in before} == before
    assert {after[name] for name in after.keys() - before.keys() if "-shm" not in name} <= {b""}


async def test_torn_page_of_the_log_is_named_and_passed_over(path: Path) -> None:
    tear(path, leaves_of(path, "events")[1])

    verification = await verdict_on(path)

    hole = next(d for d in verification.damage if d.what is DamageKind.UNREADABLE)
    assert hole.position is not None
    assert hole.last_position is not None
    assert 1 < hole.position < hole.last_position < EVENT_COUNT
    assert verification.event_count == EVENT_COUNT - (hole.last_position - hole.position + 1)
    assert "database disk image is malformed" in hole.evidence


@pytest.mark.parametrize("index", ["sqlite_autoindex_events_2", "events_type"])
async def test_torn_index_is_told_from_damage_of_the_events(path: Path, index: str) -> None:
    tear(path, root_of(path, index))

    verification = await verdict_on(path)

    assert not verification.is_whole
    assert {d.what for d in verification.damage} == {DamageKind.INDEX}
    assert verification.event_count == EVENT_COUNT


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("stream_id", b"note-\xff"),
        ("event_id", b"\xff"),
        ("type", b"\xff\xfe"),
    ],
)
async def test_text_that_is_none_is_named_by_its_position(
    path: Path, column: str, value: bytes
) -> None:
    with forging(path) as db:
        db.execute(
            f"UPDATE events SET {column} = CAST(? AS TEXT) WHERE position = 10",  # noqa: S608 - a column's name
            (value,),
        )

    verification = await verdict_on(path)

    [hole] = [d for d in verification.damage if d.what is DamageKind.UNREADABLE]
    assert (hole.position, hole.last_position) == (10, 10)
    assert "a text in it is no text any more" in hole.evidence


async def test_row_of_other_types_than_were_written_is_named_by_its_position(path: Path) -> None:
    allow_any_type(path)
    with forging(path) as db:
        db.execute("UPDATE events SET version = 'three' WHERE position = 10")
        db.execute("UPDATE events SET hash = x'00' WHERE position = 20")

    verification = await verdict_on(path)

    holes = {d.position: d for d in verification.damage if d.what is DamageKind.UNREADABLE}
    assert holes.keys() == {10, 20}
    assert holes[10].evidence == "version is of another type than was written"
    assert holes[20].evidence == "its hash or its digest has lost its form"


def allow_any_type(path: Path) -> None:
    with forging(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_schema SET sql = replace(replace(sql, ' STRICT', ''), ' NOT NULL', '') "
            "WHERE name = 'events'"
        )
        db.execute("PRAGMA schema_version = 1000")


@pytest.mark.parametrize(
    ("value", "position"),
    [("data = NULL", 10), ("metadata = NULL", 10), ("stream_id = CAST(x'6e2dff' AS TEXT)", 0)],
)
async def test_ordinary_read_of_a_damaged_row_says_that_it_is_damaged(
    path: Path, value: str, position: int
) -> None:
    allow_any_type(path)
    with forging(path) as db:
        db.execute(f"UPDATE events SET {value} WHERE position = 10")  # noqa: S608 - a column and a value

    async with SQLiteStore(path) as store:
        with pytest.raises(CorruptLogError) as caught:
            await drain(store.read_log())

    assert caught.value.position == position


class Tally(Aggregate, category="tally", snapshot_every=2):
    total: int = 0

    def count(self) -> None:
        self.emit(Counted())

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


async def test_aggregate_is_loaded_from_its_events_where_snapshots_are_damaged(
    path: Path,
) -> None:
    async with SQLiteStore(path) as store:
        for _ in range(5):
            await Repository(store).execute(Tally.count, "1")
    tear(path, root_of(path, "snapshots"))

    async with SQLiteStore(path) as store:
        assert (await Repository(store).load(Tally, "1")).total == 5


async def test_head_that_is_gone_is_found_and_all_events_are_judged(path: Path) -> None:
    with forging(path) as db:
        db.execute("DELETE FROM log")

    with pytest.raises(CorruptLogError, match="where the log ends cannot be read"):
        await SQLiteStore(path, read_only=True).open()
    verification = await verdict_on(path)

    assert [d.what for d in verification.damage] == [DamageKind.END]
    assert verification.event_count == EVENT_COUNT


@pytest.mark.parametrize("schema", [1, 2])
async def test_store_of_an_older_schema_is_whole_before_and_behind_its_migration(
    path: Path, tmp_path: Path, schema: int
) -> None:
    older = tmp_path / "older.db"
    make_older(path, older, schema=schema)

    before = await verdict_on(older)
    async with SQLiteStore(older) as store:
        await store.append("note-0", noted("more"), expected_version=10)
        behind = await verify(store)

    assert before.is_whole
    assert (before.event_count, before.undigested_count) == (EVENT_COUNT, EVENT_COUNT)
    assert behind.is_whole
    assert (behind.event_count, behind.undigested_count) == (EVENT_COUNT + 1, EVENT_COUNT)


async def test_event_lost_before_the_migration_is_found(path: Path, tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    make_older(path, older, schema=2)
    with forging(older) as db:
        drop(db, 40)
        drop(db, 39)
    async with SQLiteStore(older) as store:
        await store.append("note-0", noted("more"), expected_version=10)

        [damage] = (await verify(store)).damage

    assert (damage.what, damage.position) == (DamageKind.MISSING, 41)
    assert "no event is at positions 39 to 40" in damage.evidence


async def test_whole_store_is_whole_while_four_writers_append(path: Path) -> None:
    async def write(number: int, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async with SQLiteStore(path) as store:
            task_status.started()
            while True:
                event = new_event(Counted(by=number))
                await store.append(f"note-{number % 2}", [event], expected_version=ANY)

    verdicts: list[Verification] = []
    async with anyio.create_task_group() as writers:
        for number in range(4):
            await writers.start(partial(write, number))
        verdicts += [await verdict_on(path) for _ in range(10)]
        writers.cancel_scope.cancel()

    assert [d for verdict in verdicts for d in verdict.damage] == []
    assert verdicts[0].until_position < verdicts[-1].until_position


async def generate(path: Path, event_count: int) -> None:
    """Make a store with many events, quickly; a hundred to a stream."""
    metadata = Metadata(actor="ada", tags=("x",))
    async with SQLiteStore(path, durability=Durability.BUFFERED) as store:
        for first in range(0, event_count, 1_000):
            parts = [
                StreamAppend(
                    f"note-{(first + number) * 7_919 % (event_count // 100)}",
                    (new_event(Counted(by=number), metadata=metadata),),
                    ANY,
                )
                for number in range(1_000)
            ]
            await store.append_many(parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "event_count", [20_000, pytest.param(1_000_000, marks=pytest.mark.timeout(1_800))]
)
async def test_many_whole_events_alarm_nobody(tmp_path: Path, event_count: int) -> None:
    path = tmp_path / "large.db"
    await generate(path, event_count)

    verification = await verdict_on(path)

    assert verification.is_whole
    assert (verification.event_count, verification.stream_count) == (
        event_count,
        event_count // 100,
    )


@pytest.mark.slow
@pytest.mark.parametrize("recording", ["avalon", "tau_airline"])
async def test_recorded_runs_alarm_nobody(
    tmp_path: Path, pytestconfig: pytest.Config, recording: str
) -> None:
    lines = pytestconfig.rootpath.parent / "shared" / "data" / recording / "runs.jsonl"
    if not lines.is_file():
        pytest.skip(f"the recording {recording!r} is not beside this checkout")
    path = tmp_path / "runs.db"
    async with SQLiteStore(path, durability=Durability.BUFFERED) as store:
        with lines.open("rb") as file:
            await import_run_lines(store, read_run_lines(file))

    verification = await verdict_on(path)

    assert verification.event_count > 1_000
    assert verification.damage == []
