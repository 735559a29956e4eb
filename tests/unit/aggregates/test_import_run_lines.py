"""Recorded runs into a store: every line once, in order, and bad lines by name."""

import io
from pathlib import Path
from typing import Any

import pytest
from tests.unit.aggregates.conftest import line, read_all, to_bytes

from backstory import Batch, EventStore, Receipt, stream_id_of
from backstory.stores.in_memory import InMemoryStore
from backstory_aggregates.run_lines import (
    BadRunLineError,
    ImportSummary,
    RunLineGapError,
    import_run_lines,
    read_run_lines,
)

pytestmark = pytest.mark.anyio


def counts(summary: ImportSummary | None) -> tuple[int, int, int, int]:
    assert summary is not None
    return (
        summary.line_count,
        summary.added_count,
        summary.present_count,
        summary.skipped_count,
    )


def run(*ns: int, swarm: str = "s", **values: Any) -> list[bytes]:
    return to_bytes(*(line(n, "task.queued", swarm=swarm, **values) for n in ns))


async def numbers(store: EventStore) -> list[tuple[str, int]]:
    """Return swarm and n of all that a store holds, in the order of its log."""
    events = await read_all(store)
    return [(str(event.metadata.correlation_id), event.metadata.free["n"]) for event in events]


async def test_lines_are_appended_in_their_order(store: EventStore) -> None:
    lines = [*run(1, 2), *run(1, swarm="other"), *run(3), *run(2, swarm="other")]

    summary = await import_run_lines(store, lines)

    assert counts(summary) == (5, 5, 0, 0)
    assert await numbers(store) == [("s", 1), ("s", 2), ("other", 1), ("s", 3), ("other", 2)]


async def test_importing_again_adds_nothing(store: EventStore) -> None:
    lines = run(*range(1, 1_203))
    await import_run_lines(store, lines)
    head = await store.head()

    summary = await import_run_lines(store, lines)

    assert counts(summary) == (1_202, 0, 1_202, 0)
    assert await store.head() == head


async def test_interrupted_import_is_finished_by_importing_again(store: EventStore) -> None:
    await import_run_lines(store, run(*range(1, 703)))

    summary = await import_run_lines(store, run(*range(1, 1_203)))

    assert counts(summary) == (1_202, 500, 702, 0)


async def test_blank_lines_and_a_byte_order_mark_are_no_lines(store: EventStore) -> None:
    one, two = run(1, 2)
    lines = [b"\xef\xbb\xbf" + one, b"\n", b"  \r\n", two.replace(b"\n", b"\r\n"), b""]

    assert counts(await import_run_lines(store, lines)) == (2, 2, 0, 0)


async def test_empty_file_adds_nothing(store: EventStore) -> None:
    assert counts(await import_run_lines(store, [])) == (0, 0, 0, 0)


async def test_bad_line_stops_the_import_behind_what_stands_before_it(store: EventStore) -> None:
    lines = [*run(1, 2), *to_bytes("{"), *run(3)]

    with pytest.raises(BadRunLineError, match="line 3: is no JSON") as caught:
        await import_run_lines(store, lines)

    assert caught.value.line == 3
    assert counts(caught.value.summary) == (3, 2, 0, 0)
    assert await numbers(store) == [("s", 1), ("s", 2)]


async def test_skipped_lines_are_counted_and_named(store: EventStore) -> None:
    lines = [*run(1), *to_bytes("no line", line(2, "task.exploded", task="t")), *run(3)]

    summary = await import_run_lines(store, lines, on_error="skip")

    assert counts(summary) == (4, 2, 0, 2)
    assert [skipped.line for skipped in summary.skipped] == [2, 3]
    assert "is no JSON" in summary.skipped[0].reason
    assert summary.skipped[1].reason == "type 'task.exploded' is none of the format"


async def test_only_the_first_hundred_skipped_lines_are_named(store: EventStore) -> None:
    summary = await import_run_lines(store, to_bytes(*["no line"] * 150), on_error="skip")

    assert counts(summary) == (150, 0, 0, 150)
    assert [skipped.line for skipped in summary.skipped] == list(range(1, 101))


@pytest.mark.parametrize("on_error", ["stop", "skip"])
async def test_gap_is_an_error_that_names_what_is_missing(store: EventStore, on_error: Any) -> None:
    lines = [*run(1, 2, swarm="other"), *run(1), *run(3)]

    with pytest.raises(RunLineGapError) as caught:
        await import_run_lines(store, lines, on_error=on_error)

    error = caught.value
    assert (error.line, error.swarm, error.expected_n, error.found_n) == (4, "s", 2, 3)
    assert str(error).startswith("line 4: swarm 's' goes on with n 3, expected 2")
    assert counts(error.summary) == (4, 3, 0, 0)
    assert len(await read_all(store)) == 3


async def test_number_that_comes_twice_is_an_error(store: EventStore) -> None:
    with pytest.raises(RunLineGapError) as caught:
        await import_run_lines(store, run(1, 2, 2))

    assert (caught.value.expected_n, caught.value.found_n) == (3, 2)


async def test_skipped_line_takes_its_own_number_with_it(store: EventStore) -> None:
    bad = to_bytes(line(2, "task.queued", task=None))

    summary = await import_run_lines(store, [*run(1), *bad, *run(3)], on_error="skip")

    assert counts(summary) == (3, 2, 0, 1)
    with pytest.raises(RunLineGapError, match="goes on with n 4, expected 3"):
        await import_run_lines(store, [*run(1), *bad, *run(4)], on_error="skip")


async def test_skipped_line_must_follow_too(store: EventStore) -> None:
    bad = to_bytes(line(5, "task.queued", task=None))

    with pytest.raises(RunLineGapError, match="line 2: swarm 's' goes on with n 5, expected 2"):
        await import_run_lines(store, [*run(1), *bad, *run(2)], on_error="skip")


async def test_unreadable_line_explains_one_missing_number(store: EventStore) -> None:
    lines = [*run(1), *to_bytes("{"), *run(3), *run(5)]

    with pytest.raises(RunLineGapError, match="goes on with n 5, expected 4"):
        await import_run_lines(store, lines, on_error="skip")


async def test_file_goes_on_where_the_store_ends(store: EventStore) -> None:
    await import_run_lines(store, run(1, 2))

    summary = await import_run_lines(store, run(3, 4))

    assert counts(summary) == (2, 2, 0, 0)


async def test_file_may_begin_with_a_line_that_the_store_has(store: EventStore) -> None:
    await import_run_lines(store, [*run(1), *to_bytes("{"), *run(3)], on_error="skip")

    summary = await import_run_lines(store, run(3, 4))

    assert counts(summary) == (2, 1, 1, 0)


async def test_file_that_goes_on_too_late_is_refused(store: EventStore) -> None:
    await import_run_lines(store, run(1, 2))

    with pytest.raises(RunLineGapError, match="goes on with n 4, expected 1"):
        await import_run_lines(store, run(4))


async def test_unreadable_lines_explain_a_gap_behind_the_stores_end(store: EventStore) -> None:
    await import_run_lines(store, run(1, 2))

    summary = await import_run_lines(store, [*to_bytes("{", "{"), *run(5)], on_error="skip")

    assert counts(summary) == (3, 1, 0, 2)


async def test_line_that_says_something_else_now_is_named(store: EventStore) -> None:
    await import_run_lines(store, run(1, 2, 3))
    changed = [*run(1), *run(2, data={"more": 1}), *run(3, 4)]

    with pytest.raises(BadRunLineError, match=r"line 2: event .* other data") as caught:
        await import_run_lines(store, changed)

    assert counts(caught.value.summary) == (4, 0, 1, 0)
    assert counts(await import_run_lines(store, changed, on_error="skip")) == (4, 1, 2, 1)


async def test_line_whose_id_no_store_can_keep_is_named(store: EventStore) -> None:
    lines = [*run(1), *run(2, task="t" * 1_100), *run(3)]

    with pytest.raises(BadRunLineError, match=r"line 2: id .* 1,024 are allowed"):
        await import_run_lines(store, lines)

    assert await numbers(store) == [("s", 1)]
    assert counts(await import_run_lines(store, lines, on_error="skip")) == (3, 1, 1, 1)


class WatchedStore(InMemoryStore):
    """A store that notes how many lines and bytes each commit has."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[tuple[int, int]] = []

    async def commit(self, batch: Batch) -> tuple[Receipt, ...]:
        events = [event for part in batch.appends for event in part.events]
        size = sum(len(event.data_json) + len(event.metadata_json) for event in events)
        self.commits.append((len(events), size))
        return await super().commit(batch)


async def test_batches_are_bounded_in_lines_and_in_bytes() -> None:
    async with WatchedStore() as store:
        await import_run_lines(store, run(*range(1, 1_102)))
        counts_of_short = [count for count, _ in store.commits]
        store.commits.clear()
        await import_run_lines(store, run(*range(1, 21), swarm="l", data={"x": "x" * 900_000}))

    assert counts_of_short == [500, 500, 101]
    assert [count for count, _ in store.commits] == [8, 8, 4]
    assert max(size for _, size in store.commits) < 8_000_000


async def test_line_longer_than_two_megabytes_is_bad_and_costs_no_memory(
    store: EventStore, tmp_path: Path
) -> None:
    one, two, three = run(1, 2, 3)
    path = tmp_path / "runs.jsonl"
    path.write_bytes(one + two[:-3] + b" " * 9_000_000 + two[-3:] + three)

    with path.open("rb") as file:
        longest = max(map(len, read_run_lines(file)))
    with path.open("rb") as file:
        summary = await import_run_lines(store, read_run_lines(file), on_error="skip")

    assert longest == 2_000_001
    assert counts(summary) == (3, 2, 0, 1)
    assert summary.skipped[0].reason == "has more than 2,000,000 bytes"


def test_reading_keeps_line_breaks_and_needs_none_at_the_end() -> None:
    assert list(read_run_lines(io.BytesIO(b"one\n\ntwo"))) == [b"one\n", b"\n", b"two"]


async def test_weird_ids_find_a_stream_each(store: EventStore) -> None:
    ids = ["", "/", "%2F", "%", "\0", "a b", "Ω", '{"x":1}', "a/b", "a%2Fb"]
    lines = to_bytes(*(line(n, "memory.stored", key=key) for n, key in enumerate(ids, 1)))

    await import_run_lines(store, lines)

    streams = {stream.stream_id async for stream in store.read_streams("memory")}
    assert len(streams) == len(ids)
    assert stream_id_of("memory", "s/a%252Fb") in streams
