"""How the progress of projections is kept: a checkpoint with tables and notes, all or none."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from backstory._errors import (
    CheckpointMovedError,
    InvalidInputError,
    TableStatementError,
)
from backstory._progress import NOTE_BYTES_MAX, Note, Progress, TableChange
from backstory._snapshot import Checkpoint
from backstory._store import EventStore
from backstory._versions import NO_STREAM
from backstory.testing._clock import ManualClock
from backstory.testing._store_contract._contract import (
    Contract,
    skip_unless_durable,
    skip_unless_tables,
)
from backstory.testing._store_contract._sample import drain, noted, texts_of

_CREATE = TableChange("CREATE TABLE rows__1 (id INTEGER PRIMARY KEY, text TEXT)")


def _at(position: int) -> Checkpoint:
    return Checkpoint("Counts", position, "f", b"{}")


def _insert(id: int, text: str = "a", *, position: int = 0) -> TableChange:
    return TableChange("INSERT INTO rows__1 VALUES ($1, $2)", (id, text), position)


class Notes(Contract):
    """How small records beside the log are kept."""

    async def test_notes_come_back_in_the_order_of_their_keys(self, store: EventStore) -> None:
        notes = [Note("parked", key, b'{"a":1}') for key in ("b", "é", "a", "B", "ß-1", "10", "9")]

        await store.save_notes(*notes)

        assert await store.load_notes("parked") == sorted(notes, key=lambda one: one.key.encode())

    async def test_note_takes_the_place_of_the_one_before(self, store: EventStore) -> None:
        await store.save_notes(Note("parked", "a", b"1"))

        await store.save_notes(Note("parked", "a", b"2"), Note("parked", "b", b"3"))

        assert [note.value_json for note in await store.load_notes("parked")] == [b"2", b"3"]

    async def test_note_without_a_value_is_forgotten(self, store: EventStore) -> None:
        await store.save_notes(Note("parked", "a", b"1"), Note("parked", "b", b"2"))

        for _ in range(2):
            await store.save_notes(Note("parked", "a", None))

        assert [note.key for note in await store.load_notes("parked")] == ["b"]

    async def test_spaces_do_not_share_notes(self, store: EventStore) -> None:
        await store.save_notes(Note("parked", "a", b"1"), Note("parked_", "a", b"2"))

        assert await store.load_notes("Parked") == []
        assert await store.load_notes("parked") == [Note("parked", "a", b"1")]

    async def test_many_notes_are_all_read(self, store: EventStore) -> None:
        notes = [Note("parked", f"{number:05}", b"1") for number in range(2_500)]

        await store.save_notes(*notes)

        assert await store.load_notes("parked") == notes

    async def test_notes_are_there_after_closing(self, tmp_path: Path, clock: ManualClock) -> None:
        async with self.make_store(tmp_path, clock) as store:
            skip_unless_durable(store)
            await store.save_notes(Note("parked", "a", b"1"))

        async with self.make_store(tmp_path, clock) as store:
            assert await store.load_notes("parked") == [Note("parked", "a", b"1")]

    @pytest.mark.parametrize(
        "note",
        [
            Note("", "a", b"1"),
            Note("a", "", b"1"),
            Note("a", "a\0b", b"1"),
            Note("x" * 1_025, "a", b"1"),
            Note("a", "a", b"1" * (NOTE_BYTES_MAX + 1)),
        ],
        ids=["no space", "no key", "NUL", "long space", "long value"],
    )
    async def test_note_outside_the_limits_is_refused(self, store: EventStore, note: Note) -> None:
        whole = Note("whole", "a", b"1")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: store.save_notes(whole, note),
            lambda: store.save_progress(Progress(_at(1), notes=[whole, note])),
        ]

        for call in calls:
            with pytest.raises(InvalidInputError):
                await call()

        assert await store.load_notes("whole") == []
        assert await store.load_checkpoint("Counts") is None


class ProgressTogether(Contract):
    """How everything of one checkpoint is kept together."""

    async def test_checkpoint_and_notes_are_kept_together(self, store: EventStore) -> None:
        await store.save_progress(Progress(_at(3), notes=[Note("parked", "a", b"1")]))

        assert await store.load_checkpoint("Counts") == _at(3)
        assert await store.load_notes("parked") == [Note("parked", "a", b"1")]

    @pytest.mark.parametrize("expected", [0, 4, 6])
    async def test_checkpoint_that_was_moved_refuses_everything(
        self, store: EventStore, expected: int
    ) -> None:
        await store.save_checkpoint(_at(5))
        note = Note("parked", "a", b"1")

        with pytest.raises(CheckpointMovedError) as caught:
            await store.save_progress(Progress(_at(9), expected, notes=[note]))

        assert (caught.value.expected_position, caught.value.actual_position) == (expected, 5)
        assert caught.value.projection == "Counts"
        assert await store.load_checkpoint("Counts") == _at(5)
        assert await store.load_notes("parked") == []

    async def test_checkpoint_is_moved_from_where_it_is_expected(self, store: EventStore) -> None:
        await store.save_progress(Progress(_at(5), after_position=0))
        await store.save_progress(Progress(_at(9), after_position=5))
        await store.save_progress(Progress(_at(2)))

        assert await store.load_checkpoint("Counts") == _at(2)

    async def test_of_two_that_move_it_at_once_one_does(self, store: EventStore) -> None:
        await store.save_checkpoint(_at(5))

        answers = await self.gather(
            *[
                lambda position=position: store.save_progress(
                    Progress(_at(position), after_position=5)
                )
                for position in (6, 7, 8)
            ]
        )

        refused = [one for one in answers if isinstance(one, CheckpointMovedError)]
        assert len(refused) == 2
        assert answers.count(None) == 1


class ReadModelTables(Contract):
    """How read models have tables in the store."""

    async def _create(self, store: EventStore) -> None:
        skip_unless_tables(store)
        await store.save_progress(Progress(_at(1), changes=[_CREATE]))

    async def test_statements_are_kept_with_the_checkpoint(self, store: EventStore) -> None:
        await self._create(store)

        await store.save_progress(Progress(_at(2), 1, [_insert(1), _insert(2, "é")]))

        found = await store.query_tables("SELECT id, text FROM rows__1 ORDER BY id")
        assert (found.columns, found.rows) == (("id", "text"), [(1, "a"), (2, "é")])
        assert await store.load_checkpoint("Counts") == _at(2)

    async def test_statement_that_is_refused_leaves_nothing(self, store: EventStore) -> None:
        await self._create(store)
        note = Note("parked", "a", b"1")

        for changes in (
            [_insert(1), _insert(1, position=7)],
            [_insert(1), TableChange("INSERT INTO nowhere VALUES (1)", (), 7)],
            [_insert(1), TableChange("no SQL at all", (), 7)],
        ):
            with pytest.raises(TableStatementError) as caught:
                await store.save_progress(Progress(_at(2), 1, changes, [note]))
            assert caught.value.position == 7

        assert (await store.query_tables("SELECT count(*) FROM rows__1")).rows == [(0,)]
        assert await store.load_checkpoint("Counts") == _at(1)
        assert await store.load_notes("parked") == []
        await store.save_progress(Progress(_at(2), 1, [_insert(1)]))
        assert (await store.query_tables("SELECT count(*) FROM rows__1")).rows == [(1,)]

    @pytest.mark.parametrize("refused", [0, 5, 11])
    async def test_of_many_like_statements_the_one_that_is_refused_is_named(
        self, store: EventStore, refused: int
    ) -> None:
        await self._create(store)
        await store.save_progress(Progress(_at(2), 1, [_insert(100)]))
        changes = [_insert(id, position=1_000 + id) for id in range(12)]
        changes[refused] = _insert(100, position=1_000 + refused)

        with pytest.raises(TableStatementError) as caught:
            await store.save_progress(Progress(_at(3), 2, changes))

        assert caught.value.position == 1_000 + refused
        assert (await store.query_tables("SELECT id FROM rows__1")).rows == [(100,)]
        assert await store.load_checkpoint("Counts") == _at(2)

    @pytest.mark.parametrize(
        "sql",
        [
            *("DELETE FROM events", "DROP TABLE checkpoints", "UPDATE log SET position = 0"),
            *("INSERT INTO notes VALUES ('a', 'b', '1')", "DROP TABLE EVENTS"),
            *("COMMIT", "BEGIN", "ROLLBACK"),
        ],
    )
    async def test_statement_on_what_is_not_a_read_model_is_refused(
        self, store: EventStore, sql: str
    ) -> None:
        await self._create(store)
        await store.append("task-1", noted("a"), expected_version=NO_STREAM)
        changes = [_insert(1), TableChange(sql, (), 7)]

        with pytest.raises(TableStatementError) as caught:
            await store.save_progress(Progress(_at(2), 1, changes, [Note("parked", "a", b"1")]))

        assert (caught.value.sql, caught.value.position) == (sql, 7)
        assert (await store.query_tables("SELECT count(*) FROM rows__1")).rows == [(0,)]
        assert await store.load_checkpoint("Counts") == _at(1)
        assert await store.load_notes("parked") == []
        await store.append("task-1", noted("b"), expected_version=1)
        assert texts_of(await drain(store.read_log())) == ["a", "b"]
        await store.save_progress(Progress(_at(2), 1, [_insert(1)]))
        assert (await store.query_tables("SELECT count(*) FROM rows__1")).rows == [(1,)]

    @pytest.mark.parametrize("sql", ["BEGIN", "COMMIT", "SAVEPOINT a"])
    async def test_query_leaves_no_transaction_behind(self, store: EventStore, sql: str) -> None:
        await self._create(store)

        with pytest.raises(TableStatementError):
            await store.query_tables(sql)

        for id in (1, 2):
            await store.save_progress(Progress(_at(2), changes=[_insert(id)]))
            found = await store.query_tables("SELECT count(*) FROM rows__1")
            assert found.rows == [(id,)]

    async def test_checkpoint_that_was_moved_changes_no_table(self, store: EventStore) -> None:
        await self._create(store)

        with pytest.raises(CheckpointMovedError):
            await store.save_progress(Progress(_at(9), 5, [_insert(1)]))

        assert (await store.query_tables("SELECT count(*) FROM rows__1")).rows == [(0,)]

    @pytest.mark.parametrize(
        "value", [None, 0, -1, 2**63 - 1, -(2**63), 0.5, 1e300, "", "é\u2028🙂", b"", b"\x00\xff"]
    )
    async def test_values_come_back_as_they_were(self, store: EventStore, value: object) -> None:
        skip_unless_tables(store)
        columns: dict[type, str] = {bytes: "BYTEA", str: "TEXT", float: "DOUBLE PRECISION"}
        column = columns.get(type(value), "BIGINT")
        create = TableChange(f"CREATE TABLE rows__2 (value {column})")
        insert = TableChange("INSERT INTO rows__2 VALUES ($1)", (value,))  # type: ignore[arg-type]  # each is one

        await store.save_progress(Progress(_at(1), changes=[create, insert]))

        found = await store.query_tables("SELECT value FROM rows__2")
        assert found.rows == [(value,)]
        assert type(found.rows[0][0]) is type(value)

    async def test_query_takes_parameters_by_their_numbers(self, store: EventStore) -> None:
        await self._create(store)
        await store.save_progress(Progress(_at(2), 1, [_insert(1, "a"), _insert(2, "b")]))

        sql = "SELECT id FROM rows__1 WHERE text = $2 AND id > $1 AND text = $2"

        assert (await store.query_tables(sql, 0, "b")).rows == [(2,)]
        assert (await store.query_tables(sql, 2, "b")).rows == []

    @pytest.mark.parametrize(
        "sql", ["DELETE FROM rows__1", "DROP TABLE rows__1", "INSERT INTO rows__1 VALUES (9, 'z')"]
    )
    async def test_query_can_change_nothing(self, store: EventStore, sql: str) -> None:
        await self._create(store)
        await store.save_progress(Progress(_at(2), 1, [_insert(1)]))

        with pytest.raises(TableStatementError):
            await store.query_tables(sql)

        assert (await store.query_tables("SELECT id FROM rows__1")).rows == [(1,)]

    async def test_tables_are_there_after_closing(self, tmp_path: Path, clock: ManualClock) -> None:
        async with self.make_store(tmp_path, clock) as store:
            skip_unless_durable(store)
            await self._create(store)
            await store.save_progress(Progress(_at(2), 1, [_insert(1)]))

        async with self.make_store(tmp_path, clock) as store:
            assert (await store.query_tables("SELECT id FROM rows__1")).rows == [(1,)]
