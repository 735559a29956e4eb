"""A specification of a read model in tables asks for rows, and finds what would fail later."""

from collections import Counter as Tally
from collections.abc import Generator

import pytest
from tests.conftest import Counted

from backstory import (
    ConfigurationError,
    Projection,
    ProjectionFailedError,
    RecordedEvent,
    TableProjection,
    TableStatementError,
    on,
)
from backstory.testing import ProjectionSpec, recorded_on


class CountTable(TableProjection, name="spec-counts"):
    """Adds up what each counter has counted."""

    schema = (
        "CREATE TABLE {counts} (id TEXT PRIMARY KEY, total INTEGER NOT NULL)",
        "CREATE INDEX {counts}_total ON {counts} (total)",
    )

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        self.execute(
            "INSERT INTO {counts} VALUES ($1, $2) "
            "ON CONFLICT (id) DO UPDATE SET total = {counts}.total + $2",
            *(recorded.id, event.by),
        )

    async def total(self, id: str) -> int:
        rows = await self.read_rows("SELECT total FROM {counts} WHERE id = $1", id)
        return int(rows[0][0])


SPEC = ProjectionSpec(CountTable).given(
    recorded_on("counter-a", Counted(by=1)),
    recorded_on("counter-b", Counted(by=2)),
    recorded_on("counter-a", Counted(by=3)),
)
ALL = "SELECT id, total FROM {counts} ORDER BY id"


def test_rows_are_asked_for_by_a_query() -> None:
    SPEC.then_rows(ALL, ("a", 4), ("b", 2)).then_rows(
        "SELECT id FROM {counts} WHERE total > $1", ("a",), parameters=(2,)
    ).then_rows("SELECT id FROM {counts} WHERE total > 9")


def test_empty_log_gives_empty_tables() -> None:
    ProjectionSpec(CountTable).then_rows(ALL)


def test_other_rows_are_named_one_by_one() -> None:
    with pytest.raises(AssertionError) as caught:
        SPEC.then_rows(ALL, ("a", 4), ("b", 3))

    assert str(caught.value) == (
        "CountTable has other rows after 3 events (- expected, + found):\n"
        "  ('a', 4)\n- ('b', 3)\n+ ('b', 2)"
    )


def test_rows_in_another_order_are_other_rows() -> None:
    with pytest.raises(AssertionError, match="other rows"):
        SPEC.then_rows(ALL, ("b", 2), ("a", 4))


def test_check_may_wait_for_queries_of_the_read_model() -> None:
    async def check(table: CountTable) -> bool:
        return await table.total("a") == 4 and await table.total("b") == 2

    SPEC.then_model(check).then_model(lambda table: table.tables == ("counts",))


def test_check_that_says_no_shows_what_is_in_the_tables() -> None:
    async def check(table: CountTable) -> bool:
        return await table.total("a") == 5

    with pytest.raises(AssertionError, match=r"counts: \('a', 4\)\n  counts: \('b', 2\)"):
        SPEC.then_model(check)


class Elsewhere:
    """Something that is not there yet."""

    def __await__(self) -> Generator[None]:
        yield


def test_check_may_wait_for_nothing_else() -> None:
    async def check(table: CountTable) -> bool:
        await Elsewhere()
        return await table.total("a") == 4

    with pytest.raises(AssertionError, match="something other than queries"):
        SPEC.then_model(check)


def test_query_that_is_refused_says_why() -> None:
    with pytest.raises(TableStatementError, match="no such column: sum"):
        SPEC.then_rows("SELECT sum FROM {counts}")
    with pytest.raises(ConfigurationError, match=r"has no table \{nowhere\}"):
        SPEC.then_rows("SELECT 1 FROM {nowhere}")


def test_statement_that_is_refused_fails_its_event() -> None:
    class Twice(CountTable):
        @on(Counted)
        def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
            self.execute("INSERT INTO {counts} VALUES ($1, $2)", recorded.id, event.by)

    with pytest.raises(ProjectionFailedError, match="UNIQUE") as caught:
        ProjectionSpec(Twice).given(Counted(), Counted()).then()

    assert caught.value.position == 2


CALLS: Tally[str] = Tally()


class Impure(CountTable, name="spec-impure"):
    """Looks at what it did before, in a variable of the module."""

    @on(Counted)
    def _counted(self, event: Counted, recorded: RecordedEvent) -> None:
        CALLS["all"] += 1
        self.execute("INSERT INTO {counts} VALUES ($1, $2)", recorded.id, CALLS["all"])


def test_handlers_that_are_not_pure_are_found() -> None:
    CALLS.clear()

    with pytest.raises(AssertionError, match=r"in counts .*\n- \('1', 1\)\n\+ \('1', 2\)"):
        ProjectionSpec(Impure).given(Counted()).then()


class NamedByHand(CountTable, name="spec-named-by-hand"):
    """Has an index whose name is the same in each generation."""

    schema = (
        "CREATE TABLE {counts} (id TEXT PRIMARY KEY, total INTEGER NOT NULL)",
        "CREATE INDEX totals ON {counts} (total)",
    )


def test_schema_that_could_not_be_built_anew_is_found() -> None:
    with pytest.raises(AssertionError, match="index totals already exists; write the table in"):
        ProjectionSpec(NamedByHand).given(Counted()).then()


def test_read_model_in_memory_has_no_rows() -> None:
    class Totals(Projection):
        total: int = 0

    with pytest.raises(ConfigurationError, match="Totals keeps no tables"):
        ProjectionSpec(Totals).then_rows("SELECT 1")
