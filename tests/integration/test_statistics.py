"""What a store holds, in numbers; and pages that begin at an offset."""

import pytest
from tests.conftest import Counted, Noted, drain, new_event, noted, texts_of

from backstory import ANY, Checkpoint, EventStore, Snapshot, where

pytestmark = pytest.mark.anyio


async def test_statistics_of_an_empty_store_are_zero(store: EventStore) -> None:
    statistics = await store.statistics()

    assert (statistics.event_count, statistics.stream_count, statistics.head) == (0, 0, 0)
    assert statistics.oldest is statistics.newest is None
    assert statistics.events_by_type == statistics.events_by_category == {}


async def test_statistics_count_what_is_there(store: EventStore) -> None:
    await store.append("task-1", noted("a", "b"), expected_version=ANY)
    await store.append("task-2", [new_event(Counted())], expected_version=ANY)
    await store.append("memo.x-1-2", noted("c"), expected_version=ANY)
    await store.save_snapshot(Snapshot("task-1", 2, "f", b"{}"))
    await store.save_checkpoint(Checkpoint("p", 3, "f", b"{}"))

    statistics = await store.statistics()

    log = await drain(store.read_log())
    assert (statistics.event_count, statistics.stream_count) == (4, 3)
    assert (statistics.head, statistics.oldest) == (log[-1].position, log[0].recorded_at)
    assert statistics.newest == log[-1].recorded_at
    assert dict(statistics.events_by_type) == {"test:counted": 1, "test:noted": 3}
    assert dict(statistics.events_by_category) == {"memo.x": 1, "task": 3}
    assert dict(statistics.streams_by_category) == {"memo.x": 1, "task": 2}
    assert (statistics.snapshot_count, statistics.checkpoint_count) == (1, 1)
    assert statistics.size_bytes >= sum(len(e.data_json) + len(e.metadata_json) for e in log)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 7, 1_234, 2_499, 2_500, 2_501])
async def test_page_begins_behind_an_offset(
    store: EventStore, offset: int, *, backward: bool
) -> None:
    texts = [str(number) for number in range(2_500)]
    for start in range(0, 2_500, 500):
        await store.append("task-1", noted(*texts[start : start + 500]), expected_version=ANY)
    await store.append("task-1", [new_event(Counted())], expected_version=ANY)

    page = await store.read_log_page(
        offset=offset, limit=10, where=where(types=[Noted]), backward=backward
    )

    ordered = texts[::-1] if backward else texts
    assert texts_of(page.events) == ordered[offset : offset + 10]
    assert (page.cursor is None) is (offset + 10 >= 2_500)


async def test_offset_counts_behind_the_cursor(store: EventStore) -> None:
    await store.append("task-1", noted(*"abcdefgh"), expected_version=ANY)
    first = await store.read_log_page(limit=2)

    page = await store.read_log_page(cursor=first.cursor, offset=3, limit=2)

    assert texts_of(page.events) == ["f", "g"]
