"""Read models in tables: SQL that handlers say, run together with the checkpoint."""

import types
from pathlib import Path

import pytest
from msgspec import Struct
from tests.conftest import Counted, Noted, new_event, noted

from backstory import (
    ANY,
    Backstory,
    Checkpoint,
    ConfigurationError,
    Durability,
    Event,
    EventStore,
    InvalidInputError,
    ProjectionFailedError,
    ProjectorState,
    RecordedEvent,
    StoreCapabilities,
    TableProjection,
    TableStatementError,
    fold_log,
    on,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio


class CountRow(Struct, frozen=True):
    stream_id: str
    total: int


class CountTable(TableProjection, name="count-table"):
    schema = (
        "CREATE TABLE {counts} (stream_id TEXT PRIMARY KEY, total INTEGER NOT NULL)",
        "CREATE INDEX {counts}_total ON {counts} (total)",
        "CREATE TABLE {seen} (position INTEGER PRIMARY KEY)",
    )

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.execute(
            "INSERT INTO {counts} VALUES ($1, $2) "
            "ON CONFLICT (stream_id) DO UPDATE SET total = {counts}.total + $2",
            recorded.stream_id,
            event.by,
        )
        self.execute("INSERT INTO {seen} VALUES ($1)", recorded.position)

    async def totals(self) -> list[CountRow]:
        return await self.read(CountRow, "SELECT * FROM {counts} ORDER BY stream_id")

    async def count_seen(self) -> int:
        return int((await self.read_rows("SELECT count(*) FROM {seen}"))[0][0])


async def count(store: EventStore, stream_id: str, *steps: int) -> int:
    events = [new_event(Counted(by=by)) for by in steps]
    return (await store.append(stream_id, events, expected_version=ANY)).last_position


async def test_tables_hold_what_the_events_say(store: EventStore) -> None:
    await count(store, "counter-1", 1, 2)
    async with Backstory(store, projections=[CountTable]) as story:
        await count(store, "counter-2", 5)
        await store.append("note-1", noted("a"), expected_version=ANY)

        table = await story.read_model(CountTable)

        assert await table.totals() == [CountRow("counter-1", 3), CountRow("counter-2", 5)]
        assert await table.count_seen() == 3


async def test_next_start_goes_on_where_the_last_one_ended(store: EventStore) -> None:
    for number in (1, 2, 3):
        async with Backstory(store, projections=[CountTable]) as story:
            await count(store, "counter-1", number)
            table = await story.read_model(CountTable)

            assert await table.count_seen() == number

    assert await table.totals() == [CountRow("counter-1", 6)]


async def test_past_is_built_in_tables_of_its_own(store: EventStore) -> None:
    first = await count(store, "counter-1", 1)
    await count(store, "counter-1", 2)

    async with Backstory(store, projections=[CountTable]) as story:
        past = await story.read_model(CountTable, at_position=first)

        assert await past.totals() == [CountRow("counter-1", 1)]
        assert await (await story.read_model(CountTable)).totals() == [CountRow("counter-1", 3)]
    assert await (await fold_log(store, CountTable)).count_seen() == 2


async def test_query_cannot_change_anything(store: EventStore) -> None:
    async with Backstory(store, projections=[CountTable]) as story:
        await count(store, "counter-1", 1)
        table = await story.read_model(CountTable)

        for sql in (
            "DELETE FROM count_table__counts__1",
            "INSERT INTO count_table__seen__1 VALUES (99)",
            "SELECT * FROM nowhere",
            "no SQL",
        ):
            with pytest.raises(TableStatementError) as caught:
                await table.read_rows(sql)
            assert caught.value.position == 0

        assert await table.count_seen() == 1


async def test_statement_that_is_refused_parks_its_event(store: EventStore) -> None:
    class Choosy(TableProjection, name="choosy"):
        schema = ("CREATE TABLE {steps} (by INTEGER PRIMARY KEY)",)

        @on(Counted)
        def _counted(self, event: Counted) -> None:
            self.execute("INSERT INTO {steps} VALUES ($1)", event.by)

    async with Backstory(store, projections=[Choosy]) as story:
        await count(store, "counter-1", 1, 2)
        await count(store, "counter-2", 2, 3)
        await count(store, "counter-1", 4)
        await count(store, "counter-2", 5)

        table = await story.read_model(Choosy)

        assert await table.read_rows("SELECT by FROM {steps} ORDER BY by") == [(1,), (2,), (4,)]


class Told(Event, type="tables:told"):
    value: object


@pytest.mark.parametrize("value", [{"a": 1}, [1], 2**70, "\ud800"])
async def test_parameter_that_is_no_value_fails_its_event(value: object) -> None:
    class Takes(TableProjection, name="takes"):
        schema = ("CREATE TABLE {values} (value)",)

    model = Takes()
    if not isinstance(value, int | str):
        with pytest.raises(InvalidInputError, match="parameter"):
            model.execute("INSERT INTO {values} VALUES ($1)", value)  # type: ignore[arg-type]  # as an untyped caller


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ((), "creates no table"),
        (("CREATE TABLE tasks (id TEXT)",), "with the braces"),
        ("CREATE TABLE {tasks} (id TEXT)", "tuple of statements"),
        (("CREATE TABLE {tasks} (id)", "CREATE INDEX i ON {other} (id)"), r"no table \{other\}"),
    ],
)
def test_schema_that_cannot_work_is_refused(schema: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        types.new_class("Wrong", (TableProjection,), {}, lambda body: body.update(schema=schema))


def test_fields_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no fields"):

        class _Wrong(TableProjection):  # pyright: ignore[reportUnusedClass]  # its definition raises
            schema = ("CREATE TABLE {tasks} (id)",)
            total: int = 0


async def test_name_of_no_table_fails_the_fold(store: EventStore) -> None:
    class Lost(TableProjection, name="lost"):
        schema = ("CREATE TABLE {tasks} (id)",)

        @on(Noted)
        def _noted(self, event: Noted) -> None:
            self.execute("INSERT INTO {nowhere} VALUES (1)")

    await store.append("note-1", noted("a"), expected_version=ANY)

    with pytest.raises(ProjectionFailedError, match="nowhere"):
        await fold_log(store, Lost)


async def test_one_of_two_owns_the_tables_and_the_other_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path) as one, SQLiteStore(path) as two:
        async with (
            Backstory(one, projections=[CountTable]) as first,
            Backstory(two, projections=[CountTable]) as second,
        ):
            for number in range(1, 4):
                await count(one, "counter-1", number)
                for story in (first, second):
                    table = await story.read_model(CountTable)
                    assert await table.count_seen() == number
            found = [story.projections.status(CountTable) for story in (first, second)]
            assert sorted(status.is_owner for status in found) == [False, True]
            (other,) = [status for status in found if not status.is_owner]
            assert other.state is ProjectorState.STANDING_BY
        await one.aclose()  # what a store owns, it owns until it is closed
        async with Backstory(two, projections=[CountTable]) as second:
            await count(two, "counter-1", 9)
            table = await second.read_model(CountTable)

            assert await table.totals() == [CountRow("counter-1", 15)]
            assert second.projections.status(CountTable).is_owner


async def test_standing_by_counts_what_is_passed_over_as_seen(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    async with (
        SQLiteStore(path) as one,
        SQLiteStore(path) as two,
        Backstory(one, projections=[CountTable]) as first,
        Backstory(two, projections=[CountTable]) as second,
    ):
        await count(one, "counter-1", 1)
        await first.read_model(CountTable)
        await one.append("note-1", noted("a"), expected_version=ANY)

        assert await (await second.read_model(CountTable)).count_seen() == 1


async def test_changed_class_is_built_beside_what_served(store: EventStore) -> None:
    async with Backstory(store, projections=[CountTable]) as story:
        await count(store, "counter-1", 1, 2)
        await story.read_model(CountTable)

    class Changed(TableProjection, name="count-table", revision=2):
        schema = ("CREATE TABLE {counts} (stream_id TEXT PRIMARY KEY, steps INTEGER NOT NULL)",)

        @on(Counted)
        def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
            self.execute(
                "INSERT INTO {counts} VALUES ($1, 1) "
                "ON CONFLICT (stream_id) DO UPDATE SET steps = {counts}.steps + 1",
                recorded.stream_id,
            )

    async with Backstory(store, projections=[Changed]) as story:
        table = await story.read_model(Changed)
        assert await table.read_rows("SELECT * FROM {counts}") == [("counter-1", 2)]
        await count(store, "counter-1", 3)
        await story.read_model(Changed)
        assert await table.read_rows("SELECT * FROM {counts}") == [("counter-1", 3)]

    # The view of a table that is no more has gone with it.
    with pytest.raises(TableStatementError, match="seen"):
        await store.query_tables("SELECT * FROM count_table__seen")
    async with Backstory(store, projections=[CountTable]) as story:  # and back
        again = await story.read_model(CountTable)
        assert await again.totals() == [CountRow("counter-1", 6)]
        assert await again.count_seen() == 3


async def test_restored_older_log_is_noticed(tmp_path: Path) -> None:
    async with SQLiteStore(tmp_path / "story.db") as store:
        await count(store, "counter-1", 1, 2)
        async with Backstory(store, projections=[CountTable]) as story:
            await story.read_model(CountTable)
        kept = await store.load_checkpoint("count-table")
        assert kept is not None
        await store.save_checkpoint(Checkpoint("count-table", 99, kept.fingerprint, b"null"))

        async with Backstory(store, projections=[CountTable]) as story:
            table = await story.read_model(CountTable)

            assert await table.totals() == [CountRow("counter-1", 3)]


async def test_tables_without_a_checkpoint_begin_anew(store: EventStore) -> None:
    await count(store, "counter-1", 1, 2)
    async with Backstory(store, projections=[CountTable]) as story:
        await story.read_model(CountTable)
    await store.delete_checkpoint(CountTable.projection_name)

    async with Backstory(store, projections=[CountTable]) as story:
        await count(store, "counter-1", 4)
        table = await story.read_model(CountTable)

        assert await table.totals() == [CountRow("counter-1", 7)]
        assert await table.count_seen() == 3


async def test_store_without_tables_refuses_them() -> None:
    class Bare(InMemoryStore):
        capabilities = StoreCapabilities(
            durability=Durability.MEMORY, is_multi_process=False, has_tables=False
        )

    async with Bare() as store:
        with pytest.raises(ConfigurationError, match="a store that has tables"):
            async with Backstory(store, projections=[CountTable]):
                pass
