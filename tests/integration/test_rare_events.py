"""A projection of rare events gets on all the same: what it passes over, it does not read again.

One event that it wants is followed by very many that it does not want. Then the program ends
without a word, and the next one has less than one checkpoint's worth of the log to read.
"""

from collections import Counter
from typing import Any

import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, Noted, new_event
from tests.faults.account import faults

from backstory import ANY, Backstory, EventStore, Projection, TableProjection, on
from backstory._pages import LogRead, Page
from backstory._pass import _KEEP_EVERY  # pyright: ignore[reportPrivateUsage]  # the promised interval
from backstory.testing import FaultyStore

pytestmark = pytest.mark.anyio

BATCH = 1_000


class InMemory(Projection, name="rare-in-memory"):
    """Wants what was counted."""

    count: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.count += 1

    async def read_count(self) -> int:
        return self.count


class InTables(TableProjection, name="rare-in-tables"):
    """Wants what was counted."""

    schema = ("CREATE TABLE {counted} (by INTEGER)",)

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.execute("INSERT INTO {counted} VALUES ($1)", event.by)

    async def read_count(self) -> int:
        ((count,),) = await self.read_rows("SELECT count(*) FROM {counted}")
        return int(count)


FORMS: dict[str, Any] = {"memory": InMemory, "tables": InTables}


class CountingStore(FaultyStore):
    """Counts what is read of the log: positions, those that are left out by a filter included."""

    def __init__(self, store: EventStore) -> None:
        super().__init__(store)
        self.read = Counter[str]()

    async def read_page(self, read: LogRead) -> Page:
        page = await super().read_page(read)
        self.read["positions"] += page.reached - read.after_position
        self.read["events"] += len(page.events)
        return page


@pytest.mark.parametrize(
    "others",
    [
        25_000,
        pytest.param(100_000, marks=pytest.mark.slow),
        pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
    ids="{:,} others".format,
)
@pytest.mark.parametrize(
    ("store", "form"),
    [
        ("in_memory", "memory"),
        *(("sqlite", "memory"), ("sqlite", "tables")),
        *(("postgres", "memory"), ("postgres", "tables")),
    ],
    indirect=["store"],
)
@pytest.mark.fault("T8", 19, without="the checkpoint of what was only passed over")
async def test_restart_behind_rare_events_reads_less_than_a_checkpoint_interval(
    store: EventStore, form: str, others: int
) -> None:
    projection, dying = FORMS[form], FaultyStore(store)
    async with Backstory(dying, projections=[projection]) as story:
        await store.append("rare-1", [new_event(Counted())], expected_version=ANY)
        for _ in range(others // BATCH):
            events = [new_event(Noted()) for _ in range(BATCH)]
            await store.append("common-1", events, expected_version=ANY)
        model = await story.read_model(projection, timeout_seconds=10 * DEADLINE_SECONDS)
        assert await model.read_count() == 1
        dying.fail("put_progress", times=None)  # nothing more is kept, as if it were killed
        dying.fail("put_notes", times=None)
        faults.count()

    counting = CountingStore(store)
    async with Backstory(counting, projections=[projection]) as story:
        model = await story.read_model(projection)
        assert await model.read_count() == 1
        assert story.projections.status(projection).position == others + 1

    # Of the many only the last few are passed again, and the rare one not at all.
    assert counting.read["positions"] < _KEEP_EVERY
    assert counting.read["events"] == 0
