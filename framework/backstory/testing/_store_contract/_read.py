"""What readers see: of a stream, of the log, page by page, and which streams there are."""

import uuid
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest

from backstory._commit import StreamAppend
from backstory._errors import (
    InvalidInputError,
)
from backstory._events import Event
from backstory._filter import where
from backstory._recorded import RecordedEvent
from backstory._store import EventStore
from backstory._versions import ANY
from backstory.testing._clock import ManualClock
from backstory.testing._events import new_event
from backstory.testing._store_contract._contract import Contract
from backstory.testing._store_contract._sample import (
    PAGE_EVENT_COUNT,
    Counted,
    Listed,
    Noted,
    drain,
    noted,
    texts_of,
)


class Read(Contract):
    """What a reader of one stream sees."""

    @pytest.fixture
    async def letters(self, tmp_path: Path, clock: ManualClock) -> AsyncIterator[EventStore]:
        async with self.make_store(tmp_path, clock) as store:
            for text in "abcde":
                await store.append("task-1", noted(text), expected_version=ANY)
                await store.append("task-10", noted(text.upper()), expected_version=ANY)
            yield store

    @pytest.mark.parametrize(
        ("bounds", "texts"),
        [
            ({}, "abcde"),
            ({"after_version": 2}, "cde"),
            ({"until_version": 2}, "ab"),
            ({"after_version": 1, "until_version": 4}, "bcd"),
            ({"after_version": 5}, ""),
            ({"after_version": 4, "until_version": 2}, ""),
            ({"until_version": 0}, ""),
            ({"until_version": 2**63 - 1}, "abcde"),
            ({"limit": 2}, "ab"),
            ({"limit": 0}, ""),
            ({"limit": 99}, "abcde"),
            ({"after_version": 1, "limit": 2}, "bc"),
        ],
    )
    async def test_bounds_leave_the_versions_between(
        self, letters: EventStore, bounds: dict[str, Any], texts: str
    ) -> None:
        assert texts_of(await drain(letters.read_stream("task-1", **bounds))) == list(texts)

    @pytest.mark.parametrize(
        ("bounds", "texts"),
        [
            ({}, "edcba"),
            ({"after_version": 2}, "edc"),
            ({"until_version": 2}, "ba"),
            ({"after_version": 1, "until_version": 4}, "dcb"),
            ({"limit": 2}, "ed"),
            ({"until_version": 3, "limit": 2}, "cb"),
        ],
    )
    async def test_backward_keeps_the_bounds_and_turns_the_order(
        self, letters: EventStore, bounds: dict[str, Any], texts: str
    ) -> None:
        events = await drain(letters.read_stream("task-1", backward=True, **bounds))

        assert texts_of(events) == list(texts)

    @pytest.mark.parametrize("backward", [False, True])
    async def test_until_position_shows_the_stream_as_it_was(
        self, letters: EventStore, *, backward: bool
    ) -> None:
        for recorded in await drain(letters.read_log()):
            then = await drain(
                letters.read_stream("task-1", until_position=recorded.position, backward=backward)
            )

            every = await drain(letters.read_stream("task-1", backward=backward))
            assert then == [event for event in every if event.position <= recorded.position]

    async def test_missing_stream_has_no_events(self, letters: EventStore) -> None:
        assert await drain(letters.read_stream("task-100")) == []
        assert await drain(letters.read_stream("task-100", backward=True)) == []

    async def test_filter_leaves_the_versions_as_they_are(self, letters: EventStore) -> None:
        await letters.append("task-1", [new_event(Counted())], expected_version=5)
        await letters.append("task-1", noted("f"), expected_version=6)

        events = await drain(letters.read_stream("task-1", where=where(types=[Noted]), limit=7))

        assert [event.version for event in events] == [1, 2, 3, 4, 5, 7]

    @pytest.mark.parametrize(
        "bounds",
        [
            {"after_version": -1},
            {"after_version": True},
            {"after_version": 2**63},
            {"after_version": 1.0},
            {"until_version": -1},
            {"until_version": "1"},
            {"until_position": -1},
            {"limit": -1},
            {"limit": False},
        ],
    )
    async def test_bounds_that_are_no_versions_are_refused(
        self, letters: EventStore, bounds: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInputError, match=next(iter(bounds))):
            await drain(letters.read_stream("task-1", **bounds))

    async def test_stream_longer_than_a_page_is_read_whole(self, letters: EventStore) -> None:
        texts = [str(number) for number in range(PAGE_EVENT_COUNT)]
        await letters.append("long-1", noted(*texts), expected_version=0)
        await letters.append("long-1", noted("the", "end"), expected_version=ANY)
        texts += ["the", "end"]

        assert texts_of(await drain(letters.read_stream("long-1"))) == texts
        assert texts_of(await drain(letters.read_stream("long-1", backward=True))) == texts[::-1]
        assert texts_of(await drain(letters.read_stream("long-1", limit=1_001))) == texts[:1_001]

    @pytest.mark.parametrize("backward", [False, True])
    @pytest.mark.parametrize("types", [(), (Noted,), (Counted,)])
    async def test_bounds_filter_and_limit_hold_together(
        self, store: EventStore, *, backward: bool, types: tuple[type[Event], ...]
    ) -> None:
        for number in range(12):
            event = Counted(by=number) if number % 3 == 1 else Noted(text=str(number))
            await store.append("task-1", [new_event(event)], expected_version=ANY)
            await store.append("task-2", noted("x"), expected_version=ANY)
        every = await drain(store.read_stream("task-1"))

        for after, until, then, limit in product(
            (0, 4), (None, 9), (None, every[7].position), (None, 0, 1, 2, 3, 8)
        ):
            events = await drain(
                store.read_stream(
                    "task-1",
                    after_version=after,
                    until_version=until,
                    until_position=then,
                    where=where(types=types),
                    backward=backward,
                    limit=limit,
                )
            )
            wanted = [
                event
                for event in every[after:until]
                if (then is None or event.position <= then)
                and (not types or isinstance(event.data, types))
            ]
            assert events == wanted[:: -1 if backward else 1][:limit]

    @pytest.mark.parametrize("more", [-1, 0, 1])
    async def test_nothing_is_lost_where_a_page_ends(self, store: EventStore, more: int) -> None:
        count = PAGE_EVENT_COUNT + more
        texts = list(map(str, range(count)))
        await store.append("task-1", noted(*texts[:900]), expected_version=ANY)
        await store.append("task-1", noted(*texts[900:]), expected_version=ANY)

        for limit in (None, PAGE_EVENT_COUNT - 1, PAGE_EVENT_COUNT, PAGE_EVENT_COUNT + 1):
            forward = await drain(store.read_stream("task-1", limit=limit))
            backward = await drain(store.read_stream("task-1", backward=True, limit=limit))
            assert texts_of(forward) == texts[:limit]
            assert texts_of(backward) == texts[::-1][:limit]

    async def test_rare_event_is_found_pages_away(self, store: EventStore) -> None:
        await store.append("task-1", [new_event(Counted(by=1))], expected_version=ANY)
        for _ in range(2):
            await store.append("task-1", noted(*["a"] * PAGE_EVENT_COUNT), expected_version=ANY)
        await store.append("task-1", [new_event(Counted(by=2))], expected_version=ANY)
        rare = where(types=[Counted])

        for backward in (False, True):
            order = [2, 1] if backward else [1, 2]
            stream = store.read_stream("task-1", where=rare, backward=backward, limit=2)
            log = store.read_log(where=rare, backward=backward, limit=2)
            assert [event.data for event in await drain(stream)] == [Counted(by=n) for n in order]
            assert [event.data for event in await drain(log)] == [Counted(by=n) for n in order]

    async def test_reader_that_stops_early_holds_nothing(self, letters: EventStore) -> None:
        events = letters.read_stream("task-1")
        first = await anext(events)

        await letters.append("task-1", noted("f"), expected_version=5)

        assert first.version == 1
        assert [event.version async for event in events] in ([2, 3, 4, 5], [2, 3, 4, 5, 6])


class Log(Contract):
    """What a reader of the whole store sees."""

    async def test_empty_log_has_no_events(self, store: EventStore) -> None:
        assert await drain(store.read_log()) == []
        assert await drain(store.read_log(backward=True)) == []
        assert await store.head() == 0

    async def test_log_has_every_event_in_order(self, store: EventStore) -> None:
        for number in range(6):
            await store.append(f"task-{number % 3}", noted(str(number)), expected_version=ANY)

        events = await drain(store.read_log())

        assert texts_of(events) == list("012345")
        positions = [event.position for event in events]
        assert positions == sorted(set(positions))
        assert await store.head() == positions[-1]

    @pytest.mark.parametrize("backward", [False, True])
    @pytest.mark.parametrize("limit", [None, 0, 2, 99])
    @pytest.mark.parametrize(("after", "until"), [(0, None), (2, None), (0, 3), (1, 4), (4, 1)])
    async def test_bounds_leave_the_positions_between(
        self, store: EventStore, after: int, until: int | None, limit: int | None, *, backward: bool
    ) -> None:
        for text in "abcde":
            await store.append("task-1", noted(text), expected_version=ANY)
        every = await drain(store.read_log())
        position = [0, *(event.position for event in every)]

        events = await drain(
            store.read_log(
                after_position=position[after],
                until_position=None if until is None else position[until],
                limit=limit,
                backward=backward,
            )
        )

        expected = every[after:until][:: -1 if backward else 1]
        assert events == expected[:limit]

    @pytest.mark.parametrize(
        "bounds",
        [
            {"after_position": -1},
            {"after_position": True},
            {"after_position": "1"},
            {"after_position": 2**63},
            {"until_position": -1},
            {"until_position": 0.5},
            {"limit": -1},
        ],
    )
    async def test_bounds_that_are_no_positions_are_refused(
        self, store: EventStore, bounds: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInputError, match=next(iter(bounds))):
            await drain(store.read_log(**bounds))

    async def test_log_longer_than_a_page_is_read_whole(self, store: EventStore) -> None:
        for _ in range(2):
            await store.append("task-1", noted(*["a"] * 1_000), expected_version=ANY)
        await store.append("task-1", noted("z"), expected_version=ANY)

        forward = await drain(store.read_log())
        backward = await drain(store.read_log(backward=True))

        assert [event.version for event in forward] == list(range(1, 2_002))
        assert backward == forward[::-1]

    async def test_what_was_read_once_stays(self, store: EventStore) -> None:
        seen: list[RecordedEvent] = []

        for number in range(10):
            await store.append(f"task-{number % 2}", noted(str(number)), expected_version=ANY)
            events = await drain(store.read_log())
            assert events[: len(seen)] == seen
            seen = events

        assert len(seen) == 10

    async def test_reader_who_changes_data_changes_nothing(self, store: EventStore) -> None:
        await store.append("task-1", [new_event(Listed(words=["a"]))], expected_version=ANY)

        for events in (store.read_log(), store.read_stream("task-1")):
            (recorded,) = await drain(events)
            cast("Listed", recorded.data).words.append("b")

        (recorded,) = await drain(store.read_log())
        assert recorded.data == Listed(words=["a"])

    async def test_event_is_found_by_its_id(self, store: EventStore) -> None:
        first, second = noted("a", "b")
        await store.append("task-1", [first, second], expected_version=ANY)

        found = await store.read_event(second.event_id.upper())

        assert found is not None
        assert (found.version, found.data) == (2, Noted(text="b"))

    async def test_event_that_is_not_there_is_none(self, store: EventStore) -> None:
        await store.append("task-1", noted("a"), expected_version=ANY)

        assert await store.read_event(uuid.uuid4()) is None

    @pytest.mark.parametrize("event_id", ["", "7", None, "' OR 1=1", "a" * 32 + "\0"])
    async def test_what_is_no_event_id_is_refused(
        self, store: EventStore, event_id: object
    ) -> None:
        with pytest.raises(InvalidInputError, match="event id"):
            await store.read_event(event_id)


class Pages(Contract):
    """What a user interface turns over."""

    @pytest.mark.parametrize("backward", [False, True])
    @pytest.mark.parametrize("limit", [1, 3, 5, 6, 7, 100])
    @pytest.mark.parametrize("types", [(), (Noted,)])
    async def test_cursors_lead_through_every_event_once(
        self, store: EventStore, limit: int, *, backward: bool, types: tuple[type[Event], ...]
    ) -> None:
        for number in range(6):
            await store.append("task-1", noted(str(number)), expected_version=ANY)
            await store.append("task-1", [new_event(Counted())], expected_version=ANY)
        condition = where(types=types)
        seen: list[RecordedEvent] = []
        cursor: int | None = None

        for _ in range(13):
            page = await store.read_log_page(
                cursor=cursor, limit=limit, where=condition, backward=backward
            )
            seen += page.events
            assert 0 < len(page.events) <= limit
            cursor = page.cursor
            if cursor is None:
                break

        assert cursor is None
        assert seen == await drain(store.read_log(where=condition, backward=backward))

    @pytest.mark.parametrize("backward", [False, True])
    async def test_empty_log_is_one_empty_page(self, store: EventStore, *, backward: bool) -> None:
        page = await store.read_log_page(backward=backward)

        assert (page.events, page.cursor) == ([], None)

    @pytest.mark.parametrize("backward", [False, True])
    async def test_bounds_hold_on_every_page(self, store: EventStore, *, backward: bool) -> None:
        for text in "abcdefgh":
            await store.append("task-1", noted(text), expected_version=ANY)
        every = await drain(store.read_log())
        bounds: dict[str, Any] = {
            "after_position": every[1].position,
            "until_position": every[6].position,
        }

        first = await store.read_log_page(limit=3, backward=backward, **bounds)
        second = await store.read_log_page(
            cursor=first.cursor, limit=3, backward=backward, **bounds
        )

        texts = texts_of([*first.events, *second.events])
        assert texts == list("gfedc" if backward else "cdefg")
        assert second.cursor is None

    async def test_backward_pages_are_not_moved_by_appends(self, store: EventStore) -> None:
        for text in "abcd":
            await store.append("task-1", noted(text), expected_version=ANY)
        first = await store.read_log_page(limit=2, backward=True)

        await store.append("task-1", noted("e"), expected_version=ANY)
        second = await store.read_log_page(cursor=first.cursor, limit=2, backward=True)

        assert texts_of([*first.events, *second.events]) == list("dcba")

    @pytest.mark.parametrize("backward", [False, True])
    async def test_offset_leaves_out_what_matches(
        self, store: EventStore, *, backward: bool
    ) -> None:
        for number in range(8):
            await store.append("task-1", noted(str(number)), expected_version=ANY)
            await store.append("task-1", [new_event(Counted())], expected_version=ANY)
        condition = where(types=[Noted])
        every = await drain(store.read_log(where=condition, backward=backward))

        for offset in (0, 1, 5, 6, 7, 8, 9):
            page = await store.read_log_page(
                offset=offset, limit=2, where=condition, backward=backward
            )
            assert page.events == every[offset : offset + 2]
            assert (page.cursor is None) == (offset + 2 >= 8)

    async def test_offset_beyond_what_is_read_at_a_time_is_exact(self, store: EventStore) -> None:
        texts = list(map(str, range(PAGE_EVENT_COUNT)))
        for _ in range(2):
            await store.append("task-1", noted(*texts), expected_version=ANY)
        await store.append("task-1", noted("z"), expected_version=ANY)

        for offset in (999, 1_000, 1_001, 1_999, 2_000):
            page = await store.read_log_page(offset=offset, limit=1)
            assert [event.version for event in page.events] == [offset + 1]

    async def test_offset_counts_behind_the_cursor(self, store: EventStore) -> None:
        await store.append("task-1", noted(*"abcdefgh"), expected_version=ANY)
        first = await store.read_log_page(limit=2)

        page = await store.read_log_page(cursor=first.cursor, offset=3, limit=2)

        assert texts_of(page.events) == ["f", "g"]

    async def test_page_holds_more_than_iterators_read_at_a_time(self, store: EventStore) -> None:
        for _ in range(2):
            await store.append("task-1", noted(*["a"] * PAGE_EVENT_COUNT), expected_version=ANY)

        page = await store.read_log_page(limit=10_000)

        assert len(page.events) == 2 * PAGE_EVENT_COUNT
        assert page.cursor is None

    @pytest.mark.parametrize(
        "arguments",
        [{"limit": 0}, {"limit": 10_001}, {"cursor": -1}, {"cursor": "1"}, {"offset": -1}],
    )
    async def test_arguments_that_are_none_are_refused(
        self, store: EventStore, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(InvalidInputError, match=next(iter(arguments))):
            await store.read_log_page(**arguments)


class Streams(Contract):
    """Which streams there are."""

    async def test_streams_come_in_the_order_of_their_bytes(self, store: EventStore) -> None:
        ids = ["task-Z", "task-a", "task-é", "task-10", "task-1", "Task-1", "task-\U0001f3ad"]
        for stream_id in (*ids, "task-1"):
            await store.append(stream_id, noted("a"), expected_version=ANY)

        streams = [stream async for stream in store.read_streams()]

        assert [stream.stream_id for stream in streams] == sorted(ids, key=str.encode)
        assert {stream.stream_id: stream.version for stream in streams}["task-1"] == 2

    async def test_category_has_its_own_streams_only(self, store: EventStore) -> None:
        ids = ["task-1", "task--", "tasks-1", "task.x-1", "tas-k", "Task-1", "t_sk-1", "task_-1"]
        for stream_id in ids:
            await store.append(stream_id, noted("a"), expected_version=ANY)

        for category, expected in {
            "task": ["task--", "task-1"],
            "task.x": ["task.x-1"],
            "t_sk": ["t_sk-1"],
            "none": [],
        }.items():
            found = [stream.stream_id async for stream in store.read_streams(category)]
            assert found == expected

    async def test_streams_beyond_a_page_are_all_listed(self, store: EventStore) -> None:
        ids = [f"task-{number:04}" for number in range(PAGE_EVENT_COUNT + 1)]
        await store.append_many([StreamAppend(id, noted("a"), 0) for id in ids[:-1]])
        await store.append(ids[-1], noted("a"), expected_version=0)

        assert [stream.stream_id async for stream in store.read_streams("task")] == ids

    async def test_empty_store_has_no_streams(self, store: EventStore) -> None:
        assert [stream async for stream in store.read_streams()] == []

    async def test_full_page_of_streams_is_listed_once(self, store: EventStore) -> None:
        ids = [f"task-{number:04}" for number in range(PAGE_EVENT_COUNT)]
        await store.append_many([StreamAppend(id, noted("a"), 0) for id in ids])
        await store.append("tasks-1", noted("a"), expected_version=0)

        assert [stream.stream_id async for stream in store.read_streams("task")] == ids
        assert [stream.stream_id async for stream in store.read_streams()] == [*ids, "tasks-1"]

    @pytest.mark.parametrize("category", ["", "a-b", "1a", "%", "é"])
    async def test_what_is_no_category_is_refused(self, store: EventStore, category: str) -> None:
        with pytest.raises(InvalidInputError, match="category"):
            [stream async for stream in store.read_streams(category)]
