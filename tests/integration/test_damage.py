"""Damage to the file of an SQLite store is found, and never served as if it were whole.

A careful forger works behind the store's back here: the triggers are dropped and put back, indexes
and tags are kept consistent, and only the chain is not computed anew. And chance flips bits.
"""

# ruff: noqa: ASYNC240 - the files are small, and nothing else is to go on meanwhile

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import pytest
from msgspec.structs import replace
from tests.conftest import Counted, Noted, drain, new_event, noted, unchecked

from backstory import (
    ANY,
    BackstoryError,
    Checkpoint,
    ConfigurationError,
    CorruptLogError,
    Durability,
    EventFilter,
    EventStore,
    InvalidInputError,
    LogSeal,
    Metadata,
    NewEvent,
    RecordedEvent,
    SealedEvent,
    Snapshot,
    StreamAppend,
    where,
)
from backstory._commit import NO_HASH
from backstory.operations import (
    CutStream,
    Damage,
    DamageKind,
    Salvage,
    SalvageClock,
    Verification,
    inspected,
    salvage,
    verify,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore
from backstory.stores.sqlite._migrate import migrate
from backstory.stores.supply import LogHead, log_digest
from backstory.testing import ManualClock
from backstory_aggregates.run_lines import import_run_lines, read_run_lines

pytestmark = pytest.mark.anyio

SEED: Final = int(os.environ.get("BACKSTORY_SEED", "20261121"))
FLIP_COUNT: Final = 200
STREAM_COUNT: Final = 4
EVENT_COUNT: Final = 40


def event(number: int) -> NewEvent:
    metadata = Metadata(
        actor=f"actor-{number % 2}",
        correlation_id=f"request-{number % 3}",
        causation_id=f"cause-{number % 5}",
        tags=("even",) if number % 2 == 0 else ("odd", "third"),
    )
    fact = Counted(by=number) if number % 4 else Noted(text=str(number))
    return new_event(fact, metadata=metadata)


async def fill(path: Path) -> None:
    """Make a store with forty events: event n is version n/4 of stream n%4."""
    clock = ManualClock()
    async with SQLiteStore(path, clock=clock) as store:
        for number in range(EVENT_COUNT):
            clock.advance(1)
            stream_id = f"note-{number % STREAM_COUNT}"
            await store.append(stream_id, [event(number)], expected_version=ANY)
        await store.save_snapshot(Snapshot("note-1", 3, "f", b'{"total":3}'))
        await store.save_checkpoint(Checkpoint("counts", 30, "f", b'{"total":3}'))


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return the file of a store that is whole, and closed."""
    path = tmp_path / "story.db"
    await fill(path)
    return path


@contextmanager
def forging(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a store's file behind its back, without its triggers, and put them back afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        triggers = db.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        yield db
        for _, sql in triggers:
            db.execute(sql)


async def verdict_on(path: Path) -> Verification:
    async with inspected(SQLiteStore(path, read_only=True)) as store:
        return await verify(store)


def move(db: sqlite3.Connection, position: int, to: int) -> None:
    db.execute("UPDATE events SET position = ? WHERE position = ?", (to, position))
    db.execute("UPDATE event_tags SET position = ? WHERE position = ?", (to, position))


def swap(db: sqlite3.Connection, one: int, other: int) -> None:
    move(db, one, 1_000)
    move(db, other, one)
    move(db, 1_000, other)


def drop(db: sqlite3.Connection, position: int) -> None:
    db.execute("DELETE FROM event_tags WHERE position = ?", (position,))
    db.execute("DELETE FROM events WHERE position = ?", (position,))


def cut(db: sqlite3.Connection, position: int) -> None:
    """Take the end away, and let the log's head say so."""
    for number in range(position + 1, EVENT_COUNT + 1):
        drop(db, number)
    db.execute(
        "UPDATE log SET (position, digest) = "
        "(SELECT position, digest FROM events ORDER BY position DESC LIMIT 1)"
    )


def copy(db: sqlite3.Connection, position: int, to: int, version: int) -> None:
    """Put a second time what one event says, as another version, and let the head reach there."""
    db.execute(
        "INSERT INTO events SELECT ?, stream_id, ?, "
        "'00000000-0000-4000-8000-000000000001', type, schema_version, recorded_at, metadata, data, "
        "hash, digest FROM events WHERE position = ?",
        (to, version, position),
    )
    db.execute(
        "INSERT INTO event_tags SELECT tag, ? FROM event_tags WHERE position = ?", (to, position)
    )
    db.execute("UPDATE log SET position = max(position, ?)", (to,))


def double(db: sqlite3.Connection, position: int, to: int) -> None:
    """Put an event a second time, with all that belongs to it, into a table that allows it."""
    tables = dict(db.execute("SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'events'"))
    loose = tables["events"].replace("TEXT    NOT NULL UNIQUE", "TEXT NOT NULL")
    loose = loose.replace("UNIQUE (stream_id, version)", "CHECK (version > 0)")
    assert "UNIQUE" not in loose
    columns = (
        "position, stream_id, version, event_id, type, schema_version, recorded_at, metadata, data, "
        "hash, digest"
    )
    db.execute("PRAGMA legacy_alter_table = ON")
    db.execute("ALTER TABLE events RENAME TO strict_events")
    db.execute(loose)
    db.execute(f"INSERT INTO events ({columns}) SELECT {columns} FROM strict_events")  # noqa: S608 - as above
    others = columns.partition(", ")[2]
    db.execute(
        f"INSERT INTO events SELECT ?, {others} FROM events WHERE position = ?",  # noqa: S608 - as above
        (to, position),
    )
    db.execute("DROP TABLE strict_events")
    for name, sql in tables.items():
        if name.startswith("events_"):
            db.execute(sql)
    db.execute("CREATE UNIQUE INDEX by_version ON events (stream_id, version, position)")
    db.execute("UPDATE log SET position = ?", (to,))


def change(db: sqlite3.Connection, column: str, value: object, position: int) -> None:
    db.execute(f"UPDATE events SET {column} = ? WHERE position = ?", (value, position))  # noqa: S608 - a column's name


FORGERIES: Final[
    dict[str, tuple[Callable[[sqlite3.Connection], None], list[tuple[DamageKind, int]]]]
]
FORGERIES = {
    "payload": (
        lambda db: change(db, "data", '{"by":7}', 10),
        [(DamageKind.CHANGED, 10)],
    ),
    "metadata": (
        lambda db: change(
            db,
            "metadata",
            '{"correlation_id":"request-0","causation_id":"cause-4","actor":"eve",'
            '"tags":["odd","third"]}',
            10,
        ),
        [(DamageKind.CHANGED, 10)],
    ),
    "type": (
        lambda db: change(db, "type", "test:noted", 10),
        [(DamageKind.CHANGED, 10)],
    ),
    "recorded_at": (
        lambda db: change(db, "recorded_at", 5, 10),
        [(DamageKind.CHANGED, 10)],
    ),
    "event id": (
        lambda db: change(db, "event_id", "00000000-0000-4000-8000-000000000001", 10),
        [(DamageKind.CHANGED, 10)],
    ),
    "stream id": (
        lambda db: change(db, "stream_id", "note-9", 10),
        [(DamageKind.MISSING, 10), (DamageKind.MISSING, 14)],
    ),
    "hash": (
        lambda db: change(db, "hash", bytes(32), 10),
        [(DamageKind.CHANGED, 10)],
    ),
    "digest": (
        lambda db: change(db, "digest", bytes(32), 10),
        [(DamageKind.BROKEN, 10)],
    ),
    "dropped row": (
        lambda db: drop(db, 10),
        [(DamageKind.MISSING, 11), (DamageKind.MISSING, 14)],
    ),
    "swapped in one stream": (
        lambda db: swap(db, 10, 14),
        [(DamageKind.SWAPPED, 10), (DamageKind.SWAPPED, 14)],
    ),
    "swapped in two streams": (
        lambda db: swap(db, 10, 11),
        [(DamageKind.SWAPPED, 10), (DamageKind.SWAPPED, 11)],
    ),
    "doubled row": (
        lambda db: double(db, 40, 41),
        [(DamageKind.DOUBLED, 41), *[(DamageKind.INDEX, 0)] * 4],
    ),
    "doubled as another version": (
        lambda db: copy(db, 40, 41, version=11),
        [(DamageKind.CHANGED, 41)],
    ),
    "inserted row": (
        lambda db: [
            *(move(db, number, number + 1) for number in range(40, 20, -1)),
            copy(db, 3, 21, version=11),
            db.execute("UPDATE log SET position = 41"),
        ],
        [
            (DamageKind.CHANGED, 21),
            *((DamageKind.MOVED, number) for number in range(22, 42)),
            (DamageKind.END, 40),
        ],
    ),
    "cut tail": (
        lambda db: [drop(db, n) for n in range(36, 41)],
        [(DamageKind.END, 36), (DamageKind.END, 36)],
    ),
    "cut tail and head": (lambda db: cut(db, 35), [(DamageKind.END, 36)]),
    "head": (
        lambda db: db.execute("UPDATE log SET digest = zeroblob(32)"),
        [(DamageKind.END, 40)],
    ),
    "row behind the head": (
        lambda db: [copy(db, 40, 41, version=11), db.execute("UPDATE log SET position = 40")],
        [(DamageKind.END, 41)],
    ),
    "tag index row": (
        lambda db: db.execute("UPDATE event_tags SET tag = tag || 's' WHERE position = 10"),
        [(DamageKind.INDEX, 0)] * 4,
    ),
    "snapshot ahead": (
        lambda db: db.execute("UPDATE snapshots SET version = 11"),
        [(DamageKind.INDEX, 0)],
    ),
    "checkpoint ahead": (
        lambda db: db.execute("UPDATE checkpoints SET position = 41"),
        [(DamageKind.INDEX, 0)],
    ),
    "saved state": (
        lambda db: db.execute("UPDATE snapshots SET state = '{'"),
        [(DamageKind.INDEX, 0)],
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_forgery_is_found_and_named(path: Path, name: str) -> None:
    forge, expected = FORGERIES[name]
    with forging(path) as db:
        forge(db)

    verification = await verdict_on(path)

    found = sorted((d.what.value, d.position or 0) for d in verification.damage)
    assert found == sorted((what.value, position) for what, position in expected)


async def test_trigger_that_was_dropped_is_named(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER events_are_not_changed")

    [damage] = (await verdict_on(path)).damage

    assert damage == Damage(DamageKind.INDEX, "the trigger events_are_not_changed is missing")


async def served(store: EventStore) -> dict[object, list[RecordedEvent]]:
    """Return everything that can be read of the events, by each way in."""
    filters: dict[object, EventFilter] = {
        "types": where(types=["test:noted"]),
        "category": where(categories=["note"]),
        **{f"actor {n}": where(actor=f"actor-{n}") for n in range(2)},
        **{f"request {n}": where(correlation_id=f"request-{n}") for n in range(3)},
        **{f"cause {n}": where(causation_id=f"cause-{n}") for n in range(5)},
        **{f"tag {tag}": where(tags=[tag]) for tag in ("even", "odd", "third")},
        **{f"of stream {n}": where(streams=[f"note-{n}"]) for n in range(STREAM_COUNT)},
    }
    found = {name: await drain(store.read_log(where=filter)) for name, filter in filters.items()}
    found["all"] = whole = await drain(store.read_log())
    for stream in [stream async for stream in store.read_streams()]:
        found[stream] = await drain(store.read_stream(stream.stream_id))
    by_id = [await store.read_event(event.event_id) for event in whole]
    found["by id"] = [event for event in by_id if event is not None]
    return found


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


def flip(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


async def left_behind(path: Path) -> Path:
    """Return a copy as a kill leaves it: what was appended last lies in the WAL."""
    folder = path.parent / "left"
    folder.mkdir()
    async with SQLiteStore(path) as store:
        for number in range(EVENT_COUNT):
            await store.append(f"note-{number % 4}", [event(number)], expected_version=ANY)
        for file in path.parent.glob("story.db*"):
            if file.suffix != ".db-shm":
                shutil.copy(file, folder / file.name)
    return folder / path.name


@pytest.mark.parametrize(
    "flip_count", [20, pytest.param(FLIP_COUNT, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
@pytest.mark.parametrize("damaged", ["story.db", "story.db-wal"])
async def test_flipped_bit_is_found_or_changes_nothing(
    path: Path, damaged: str, flip_count: int
) -> None:
    print(f"BACKSTORY_SEED={SEED}")  # noqa: T201 - a failure shows it
    chance = random.Random(SEED)  # noqa: S311 - no secret
    left = await left_behind(path) if damaged.endswith("-wal") else path
    size = left.with_name(damaged).stat().st_size
    async with SQLiteStore(left, read_only=True) as store:
        original = await served(store)
    missed: list[str] = []

    for bit in [chance.randrange(8 * size) for _ in range(flip_count)]:
        folder = path.parent / str(bit)
        folder.mkdir()
        for file in left.parent.glob("story.db*"):
            if file.suffix != ".db-shm":
                shutil.copy(file, folder / file.name)
        flip(folder / damaged, bit)
        fate = await look_at(folder / path.name, original)
        if fate in ("changed", "failed") and not await is_found(folder / path.name):
            missed.append(f"bit {bit}: {fate}")
        await append_to(folder / path.name)
        shutil.rmtree(folder)

    assert not missed


async def test_store_that_lost_its_end_is_refused_and_can_be_looked_at(path: Path) -> None:
    with forging(path) as db:
        cut(db, 35)

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


def root_of(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)
        ).fetchone()
    return int(page)


def tear(path: Path, page: int) -> None:
    """Overwrite a page of the file."""
    with path.open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(b"\xff" * 4_096)


def leaves_of(path: Path, name: str) -> list[int]:
    """Return the pages that hold a table's rows, in their order."""
    content = path.read_bytes()
    page = content[(root_of(path, name) - 1) * 4_096 :][:4_096]
    cells = int.from_bytes(page[3:5])
    starts = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n]) for n in range(cells)]
    return [int.from_bytes(page[start : start + 4]) for start in starts]


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
    with forging(path) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, ' STRICT', '') WHERE name = 'events'"
        )
        db.execute("PRAGMA schema_version = 1000")
    with forging(path) as db:
        db.execute("UPDATE events SET version = 'three' WHERE position = 10")
        db.execute("UPDATE events SET hash = x'00' WHERE position = 20")

    verification = await verdict_on(path)

    holes = {d.position: d for d in verification.damage if d.what is DamageKind.UNREADABLE}
    assert holes.keys() == {10, 20}
    assert holes[10].evidence == "version is of another type than was written"
    assert holes[20].evidence == "its hash or its digest has lost its form"


async def test_head_that_is_gone_is_found_and_all_events_are_judged(path: Path) -> None:
    with forging(path) as db:
        db.execute("DELETE FROM log")

    with pytest.raises(CorruptLogError, match="where the log ends cannot be read"):
        await SQLiteStore(path, read_only=True).open()
    verification = await verdict_on(path)

    assert [d.what for d in verification.damage] == [DamageKind.END]
    assert verification.event_count == EVENT_COUNT


def make_older(path: Path, older: Path, *, schema: int) -> None:
    """Copy a store into a file of an older schema, as the program of then would have written it."""
    columns = (
        "position, stream_id, version, event_id, type, schema_version, recorded_at, metadata, data, "
        "hash"
    )
    with closing(sqlite3.connect(older, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        migrate(db, str(older), until=schema)
        db.execute("ATTACH ? AS new", (str(path),))
        db.execute(f"INSERT INTO events ({columns}) SELECT {columns} FROM new.events")  # noqa: S608 - as above
        db.execute("INSERT INTO event_tags SELECT * FROM new.event_tags")
        db.execute("UPDATE log SET (position, digest) = (SELECT position, digest FROM new.log)")


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

    async with anyio.create_task_group() as writers:
        for number in range(4):
            await writers.start(partial(write, number))
        verdicts = [await verdict_on(path) for _ in range(10)]
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


# Salvage


async def rows_of(store: EventStore) -> list[tuple[RecordedEvent, bytes, bytes | None]]:
    return [
        (sealed.recorded, sealed.hash, sealed.digest)
        for sealed in await store.read_sealed_page(0, 10_000)
    ]


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
        cut_streams=[],
        damage=[],
        damage_count=0,
        is_whole=True,
    )


@pytest.mark.parametrize(
    ("forge", "saved", "left"),
    [
        (lambda db: change(db, "data", '{"by":7}', 10), 9, 31),
        (lambda db: drop(db, 10), 9, 30),
        (lambda db: swap(db, 10, 14), 9, 31),
        (lambda db: change(db, "type", "test:other", 1), 0, 40),
        (lambda db: change(db, "type", "test:other", 40), 39, 1),
        (lambda db: cut(db, 35), 35, 0),
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
        change(db, "data", '{"by":7}', 38)

    summary = await salvaged(path, target)

    assert summary.cut_streams == [
        CutStream("note-1", 9),
        CutStream("note-2", 9),
        CutStream("note-3", 9),
    ]


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
    async with SQLiteStore(path) as source, SQLiteStore(target) as copy:
        assert await rows_of(copy) == await rows_of(source)


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
        assert summary.is_whole == (len(rows) == len(original))
