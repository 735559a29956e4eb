"""Many callers of one store append to streams that overlap."""

import random
from collections import Counter as Tally
from dataclasses import dataclass, field

import anyio
import pytest
from tests.conftest import Counter, drain, noted
from tests.faults.account import faults

from backstory import (
    ANY,
    DuplicateEventError,
    EventStore,
    NewEvent,
    Receipt,
    RecordedEvent,
    Repository,
    StreamAppend,
    VersionConflictError,
)

pytestmark = pytest.mark.anyio

CALLERS = 64
STREAMS = 5


@dataclass
class Written:
    """What the callers were told."""

    acknowledged: list[tuple[list[NewEvent], Receipt]] = field(
        default_factory=list[tuple[list[NewEvent], Receipt]]
    )
    conflicts: int = 0

    async def append(
        self, store: EventStore, stream_id: str, events: list[NewEvent], version: int | None
    ) -> None:
        try:
            receipt = await store.append(
                stream_id, events, expected_version=ANY if version is None else version
            )
        except VersionConflictError:
            self.conflicts += 1
            faults.count()
        else:
            assert version in (None, receipt.first_version - 1)
            self.acknowledged.append((events, receipt))


def check_log(log: list[RecordedEvent], written: Written) -> None:
    """Check that the log holds what was acknowledged, and nothing else, where it was said to be."""
    by_id = {recorded.event_id: recorded for recorded in log}
    assert len(by_id) == len(log) == sum(len(events) for events, _ in written.acknowledged)
    for events, receipt in written.acknowledged:
        for place, event in enumerate(events):
            recorded = by_id[event.event_id]
            assert recorded.stream_id == receipt.stream_id
            assert recorded.version == receipt.first_version + place
            assert recorded.position == receipt.first_position + place
            assert recorded.data_json == event.data_json
    positions = [recorded.position for recorded in log]
    assert positions == sorted(positions)
    versions: dict[str, list[int]] = {}
    for recorded in log:
        versions.setdefault(recorded.stream_id, []).append(recorded.version)
    assert all(found == list(range(1, len(found) + 1)) for found in versions.values())


@pytest.mark.fault(10, "T6", without="the judgement of expected versions")
async def test_overlapping_appends_are_dense_and_in_order(store: EventStore) -> None:
    written = Written()

    async def call(number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - a fixed sample
        for _ in range(5):
            stream_id = f"hot-{chance.randrange(STREAMS)}"
            events = noted(*(f"{number}" for _ in range(chance.randint(1, 4))))
            version = None
            if chance.random() < 0.7:
                version = 0
                async for recorded in store.read_stream(stream_id, backward=True, limit=1):
                    version = recorded.version
            await written.append(store, stream_id, events, version)

    async with anyio.create_task_group() as group:
        for number in range(CALLERS):
            group.start_soon(call, number)

    check_log(await drain(store.read_log()), written)
    assert written.conflicts > 0


@pytest.mark.fault(10, "T6", without="the judgement of expected versions")
async def test_one_caller_wins_each_expected_version(store: EventStore) -> None:
    written = Written()

    for version in range(10):
        async with anyio.create_task_group() as group:
            for number in range(CALLERS):
                event = noted(f"{number} at {version}")
                group.start_soon(written.append, store, "hot-1", event, version)
        assert len(written.acknowledged) == version + 1

    assert written.conflicts == 10 * (CALLERS - 1)
    check_log(await drain(store.read_log()), written)


async def test_refusals_are_answered_to_their_own_callers(store: EventStore) -> None:
    taken = noted("taken")
    await store.append("hot-1", taken, expected_version=0)
    outcomes: dict[int, str] = {}

    async def call(number: int) -> None:
        try:
            match number % 4:
                case 0:
                    await store.append("hot-1", noted("late"), expected_version=0)
                case 1:
                    await store.append("hot-2", taken, expected_version=ANY)
                case 2:
                    first = StreamAppend(f"own-{number}", noted("a"), 0)
                    await store.append_many([first, StreamAppend("hot-1", noted("b"), 0)])
                case _:
                    await store.append(f"own-{number}", noted("mine"), expected_version=0)
        except (VersionConflictError, DuplicateEventError) as error:
            outcomes[number] = type(error).__name__
        else:
            outcomes[number] = "appended"

    async with anyio.create_task_group() as group:
        for number in range(CALLERS):
            group.start_soon(call, number)

    kinds = ["VersionConflictError", "DuplicateEventError", "VersionConflictError", "appended"]
    assert outcomes == {number: kinds[number % 4] for number in range(CALLERS)}
    log = await drain(store.read_log())
    assert len(log) == 1 + CALLERS // 4
    assert {event.id for event in log[1:]} == {str(n) for n in range(CALLERS) if n % 4 == 3}


@pytest.mark.fault(10, "T6", without="the attempt that follows a conflict")
async def test_commands_at_once_all_take_effect(store: EventStore) -> None:
    repository = Repository(store, attempt_count_max=1_000)
    totals: list[int] = []

    async def call() -> None:
        faults.count()
        totals.append(await repository.execute(Counter.count, "1"))

    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(call)

    assert sorted(totals) == list(range(1, CALLERS + 1))
    assert (await repository.load(Counter, "1")).total == CALLERS


@pytest.mark.fault(28, "T31", without="the look whether a caller is still there")
async def test_cancelled_callers_take_nobody_along(store: EventStore) -> None:
    answered: Tally[str] = Tally()

    async def call(number: int) -> None:
        with anyio.CancelScope() as scope:
            if number % 2:
                scope.cancel()
                faults.count()
            await store.append(f"own-{number}", noted("a", "b"), expected_version=0)
            answered["appended"] += 1

    async with anyio.create_task_group() as group:
        for number in range(CALLERS):
            group.start_soon(call, number)

    streams = {stream.stream_id: stream.version async for stream in store.read_streams()}
    assert answered["appended"] == CALLERS // 2
    assert {f"own-{number}" for number in range(0, CALLERS, 2)} <= set(streams)
    assert set(streams.values()) == {2}
