"""What stands in front of a store passes on all that it is asked."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backstory import EventStore
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import FaultyStore, HistoryWriter, WitnessedStore

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["faulty", "witnessed"])
def in_front(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[[EventStore], EventStore]]:
    with HistoryWriter(tmp_path / "history.jsonl") as history:
        yield FaultyStore if request.param == "faulty" else lambda s: WitnessedStore(s, history)


async def test_schema_is_brought_up_to_date_behind_it(
    in_front: Callable[[EventStore], EventStore], tmp_path: Path
) -> None:
    store = in_front(SQLiteStore(tmp_path / "story.db"))

    planned = await store.migrate(dry_run=True)
    made = await store.migrate()

    assert (planned.before, made.before) == (0, 0)
    assert (await store.migrate()).before == made.version > 0
