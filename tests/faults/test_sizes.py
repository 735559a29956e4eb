"""Large events and appends, and empty ones: refused before anything is written, or kept whole."""

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import pytest
from tests.conftest import Noted, drain, new_event, noted, texts_of
from tests.faults.account import faults

from backstory import (
    ANY,
    EncodeError,
    EventStore,
    InvalidInputError,
    Metadata,
    NewEvent,
    StreamAppend,
)

pytestmark = pytest.mark.anyio

TOO_LARGE: dict[str, Callable[[], Any]] = {
    "an event of 10 MB": lambda: [new_event(Noted(text="x" * 10_000_000))],
    "a raw event of 10 MB": lambda: [
        NewEvent.raw("x.large", b'"%s"' % (b"x" * 10_000_000), event_id=uuid.uuid4())
    ],
    "metadata of 10 MB": lambda: [new_event(metadata=Metadata(free={"x": "x" * 10_000_000}))],
    "a thousand tags": lambda: [new_event(metadata=Metadata(tags=tuple(map(str, range(1_000)))))],
    "no event": list[NewEvent],
    "10,000 events": lambda: noted(*["a"] * 10_000),
    "one event more than is allowed": lambda: noted(*["a"] * 1_001),
    "100 MB": lambda: noted(*["x" * 900_000] * 112),
}


@pytest.mark.fault(23, without="the limits of an append")
@pytest.mark.parametrize("name", TOO_LARGE)
async def test_append_beyond_its_limits_is_refused_and_leaves_nothing(
    store: EventStore, name: str
) -> None:
    faults.count()

    with pytest.raises((EncodeError, InvalidInputError)):
        await store.append("large-1", TOO_LARGE[name](), expected_version=ANY)

    assert await store.head() == 0
    assert [stream async for stream in store.read_streams()] == []
    await store.append("large-1", noted("a"), expected_version=0)


@pytest.mark.fault(23, without="the limits of an append")
async def test_part_that_is_unfit_refuses_the_whole_commit(store: EventStore) -> None:
    for unfit in (list[NewEvent](), noted(*["a"] * 1_000)):
        faults.count()
        with pytest.raises(InvalidInputError):
            await store.append_many(
                [StreamAppend("large-1", noted("a"), ANY), StreamAppend("large-2", unfit, ANY)]
            )

    assert await store.head() == 0


@pytest.mark.fault(23, without="the end of a page that has become large")
async def test_largest_appends_come_back_whole(store: EventStore) -> None:
    # More of them than one page holds.
    texts = ["x" * 999_000 + str(number) for number in range(48)]

    for begin in (0, 16, 32):
        faults.count()
        events = noted(*texts[begin : begin + 16])
        receipt = await store.append("large-1", events, expected_version=begin)
        assert (receipt.first_version, receipt.last_version) == (begin + 1, begin + 16)

    assert texts_of(await drain(store.read_log())) == texts
    assert texts_of(await drain(store.read_stream("large-1", backward=True))) == texts[::-1]


@pytest.mark.fault(23, without="the place of a batch that waits for the next group")
async def test_group_of_large_appends_comes_back_whole(store: EventStore) -> None:
    async with anyio.create_task_group() as group:
        for number in range(6):
            faults.count()
            events = noted(*[f"{number}" + "x" * 900_000] * 5)
            group.start_soon(partial(store.append, f"large-{number}", events, expected_version=0))

    lengths = [stream.version async for stream in store.read_streams()]
    assert lengths == [5] * 6
