"""Connections are reset around each statement of a call: before it arrives, or with its answer.

An append whose answer was lost has happened or not, and the store finds out by its event ids. What
it cannot find out in time it says.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, Noted, drain, new_event, noted
from tests.faults.postgres.opened import (
    SCHEMA,
    check_dense,
    held_turn,
    session_on,
    store_on,
    until_waiting,
)
from tests.servers.proxy import Proxy

from backstory import (
    ANY,
    AppendCondition,
    Checkpoint,
    CheckpointMovedError,
    EventStore,
    NewEvent,
    Receipt,
    Snapshot,
    StoreUnavailableError,
    StreamAppend,
    where,
)
from backstory._progress import Note, Progress, TableChange
from backstory.stores.postgres._statement import statement

pytestmark = pytest.mark.anyio

FILES: Final = (
    *("take_turn", "read_log_head", "read_stream_heads", "find_events", "append_events"),
)
"""The statements of the long way, but for the condition's, by the files that hold them."""

LONG_WAY: Final[dict[str, bytes]] = {
    "BEGIN": b"BEGIN",
    **{name: statement(name, f'"{SCHEMA}"').encode() for name in FILES},
    "condition": b"size_so_far",
    "COMMIT": b"COMMIT",
}

STATEMENTS_MAX: Final = 20
"""No call has so many."""


@pytest.fixture
async def direct(postgres_url: str) -> AsyncIterator[EventStore]:
    """Yield a store that goes round the proxy."""
    async with store_on(postgres_url, listen=False) as store:
        yield store


@pytest.fixture
async def ours(direct: EventStore, proxy: Proxy) -> AsyncIterator[EventStore]:  # noqa: ARG001 - it has made the schema
    """Yield a store behind the proxy."""
    async with store_on(proxy.url, listen=False) as store:
        yield store


def cut(proxy: Proxy, fault: str, to: bytes) -> None:
    getattr(proxy, fault)(to)


@pytest.mark.fault(14, "T12", store="postgres", without="the event ids of the second attempt")
@pytest.mark.parametrize(
    ("count", "fault"),
    [
        (25, "cut_at_reply"),
        (5, "cut_before"),
        pytest.param(1_000, "cut_at_reply", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
async def test_append_whose_connection_is_cut_happens_once_and_is_answered(
    proxy: Proxy, ours: EventStore, direct: EventStore, count: int, fault: str
) -> None:
    receipts: dict[str, Receipt] = {}
    for number in range(count):
        stream_id, version = f"note-{number % 3}", number // 3
        (event,) = events = noted(str(number))
        cut(proxy, fault, b"append_events")

        receipt = await ours.append(stream_id, events, expected_version=version)

        assert proxy.injected[fault] == number + 1
        assert await ours.append(stream_id, events, expected_version=version) == receipt
        receipts[event.event_id] = receipt

    log = await check_dense(direct)
    assert len(log) == count
    for recorded in log:
        receipt = receipts[recorded.event_id]
        assert (receipt.last_position, receipt.last_version) == (
            recorded.position,
            recorded.version,
        )


@pytest.mark.fault(14, "T12", store="postgres", without="the event ids of the second attempt")
@pytest.mark.parametrize("count", [25, pytest.param(250, marks=pytest.mark.slow)])
async def test_appends_that_wait_together_are_each_answered_once(
    proxy: Proxy, ours: EventStore, direct: EventStore, count: int
) -> None:
    answered: dict[str, Receipt] = {}

    async def append(stream: int) -> None:
        for number in range(count):
            events = noted(f"{stream} {number}")
            receipt = await ours.append(f"note-{stream}", events, expected_version=number)
            answered[events[0].event_id] = receipt

    # Each fifth group, and by chance what else is asked.
    for _ in range(count // 5):
        proxy.cut_at_reply(b"append_events", spared=4)
    proxy.cut_at_random(at_reply=0.03, before=0.02)
    with anyio.fail_after(10 * DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:
            for stream in range(16):
                group.start_soon(append, stream)
    proxy.lift()

    log = await check_dense(direct)
    assert len(log) == len(answered) == 16 * count
    assert proxy.injected["cut_at_reply"] >= count // 5
    for recorded in log:
        assert answered[recorded.event_id].last_position == recorded.position


@pytest.mark.fault(14, "T12", store="postgres", without="the word that the outcome is unknown")
@pytest.mark.parametrize("fault", ["cut_at_reply", "cut_before"])
async def test_append_that_is_not_tried_again_says_that_its_outcome_is_unknown(
    direct: EventStore, proxy: Proxy, fault: str
) -> None:
    events = noted("a", "b")
    async with store_on(proxy.url, listen=False, retry_seconds=0) as ours:
        cut(proxy, fault, b"append_events")

        with pytest.raises(StoreUnavailableError) as raised:
            await ours.append("note-1", events, expected_version=0)

        assert raised.value.outcome_unknown
        found = len(await drain(direct.read_log()))
        assert found == (2 if fault == "cut_at_reply" else 0)
        receipt = await ours.append("note-1", events, expected_version=0)
        assert (receipt.first_position, receipt.last_position) == (1, 2)
        assert await ours.append("note-1", events, expected_version=0) == receipt
    assert len(await check_dense(direct)) == 2


@pytest.mark.fault(14, "T12", store="postgres", without="the look whether anything was sent")
async def test_append_that_was_never_sent_did_not_happen_and_says_so(
    direct: EventStore, proxy: Proxy
) -> None:
    async with store_on(proxy.url, listen=False, retry_seconds=0) as ours:
        proxy.cut_before(statement("read_stream_heads", f'"{SCHEMA}"').encode())

        with pytest.raises(StoreUnavailableError) as raised:
            await ours.append("note-1", noted("a"), expected_version=ANY)

        assert not raised.value.outcome_unknown
        assert await drain(direct.read_log()) == []
        assert (await ours.append("note-1", noted("a"), expected_version=ANY)).last_position == 1


@pytest.mark.fault(14, "T12", store="postgres", without="the event ids of the second attempt")
@pytest.mark.parametrize("fault", ["cut_at_reply", "cut_before"])
async def test_transaction_of_an_append_is_cut_at_each_statement(
    proxy: Proxy, ours: EventStore, direct: EventStore, fault: str
) -> None:
    for number, sql in enumerate(LONG_WAY.values(), 1):
        head = await direct.head()
        condition = AppendCondition(where(types=[Counted]), head)
        appends = [StreamAppend(f"note-{name}", noted(name), number - 1) for name in ("a", "b")]
        cut(proxy, fault, sql)

        receipts = await ours.append_many(appends, condition=condition)

        assert proxy.injected == {fault: number}
        assert [receipt.last_position for receipt in receipts] == [head + 1, head + 2]
        assert await ours.append_many(appends, condition=condition) == receipts
    assert len(await check_dense(direct)) == 2 * len(LONG_WAY)


@pytest.mark.fault(14, "T12", store="postgres", without="the long way of the second attempt")
@pytest.mark.parametrize("expected_version", [0, ANY])
async def test_statement_that_outlives_its_connection_comes_too_late_or_is_found(
    postgres_url: str, proxy: Proxy, ours: EventStore, direct: EventStore, expected_version: Any
) -> None:
    receipts: list[Receipt] = []
    events = noted("a", "b")

    async def append() -> None:
        receipts.append(await ours.append("note-1", events, expected_version=expected_version))

    async with (
        session_on(postgres_url) as looking,
        held_turn(postgres_url) as holding,
        anyio.create_task_group() as group,
    ):
        group.start_soon(append)
        await until_waiting(looking, "%append_events%")
        # The server does not notice before it answers: the statement goes on waiting.
        proxy.cut_all()
        await until_waiting(looking, "%take_turn%")
        assert await looking.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%append_events%'"
            " AND wait_event_type = 'Lock'"
        )
        await holding.execute("ROLLBACK")

    assert (receipts[0].first_position, receipts[0].last_position) == (1, 2)
    assert len(await check_dense(direct)) == 2


@pytest.mark.fault(14, 15, "T12", store="postgres", without="the event ids of the second attempt")
async def test_statement_that_arrives_late_does_not_happen_again(
    direct: EventStore, proxy: Proxy
) -> None:
    receipts: list[Receipt] = []
    async with store_on(
        proxy.url, listen=False, connect_timeout_seconds=0.5, statement_timeout_seconds=0.5
    ) as ours:
        await ours.append("note-1", noted("before"), expected_version=0)

        async def append() -> None:
            receipts.append(await ours.append("note-1", noted("a"), expected_version=ANY))

        proxy.black_hole()
        with anyio.fail_after(DEADLINE_SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(append)
                # The request, and connections that were made after it had got no answer.
                await proxy.until_injected("black_hole", times=4)
                proxy.lift()

    assert receipts[0].last_position == 2
    assert len(await check_dense(direct)) == 2


async def make_some(store: EventStore) -> NewEvent:
    event = new_event(Noted(text="a"))
    await store.append("note-1", [event], expected_version=0)
    await store.save_snapshot(Snapshot("note-1", 1, "f", b"{}"))
    await store.save_checkpoint(Checkpoint("Counts", 1, "f", b"{}"))
    await store.put_notes([Note("space", "key", b"{}")])
    return event


def calls_of(store: EventStore, event: NewEvent) -> dict[str, Callable[[], Awaitable[object]]]:
    """Return calls that come to the same when they are made twice, each by its name."""

    async def read_streams() -> Sequence[object]:
        return [stream async for stream in store.read_streams()]

    async def save_snapshot() -> None:
        await store.save_snapshot(Snapshot("note-1", 1, "f", b"{}"))

    return {
        "read_log": lambda: drain(store.read_log()),
        "read_stream": lambda: drain(store.read_stream("note-1")),
        "read_event": lambda: store.read_event(event.event_id),
        "read_streams": read_streams,
        "head": store.head,
        "read_seal": store.read_seal,
        "check_engine": store.check_engine,
        "statistics": store.statistics,
        "query": lambda: store.query("SELECT 1 AS one", ()),
        "save_snapshot": save_snapshot,
        "load_snapshot": lambda: store.load_snapshot("note-1", fingerprint="f"),
        "load_checkpoint": lambda: store.load_checkpoint("Counts"),
        "put_notes": lambda: store.put_notes([Note("space", "key", b"{}")]),
        "list_notes": lambda: store.list_notes("space", "", 10),
    }


@pytest.mark.fault(15, store="postgres", without="the attempts after the first")
@pytest.mark.parametrize("fault", ["cut_at_reply", "cut_before"])
async def test_call_whose_connection_is_cut_is_made_again(
    proxy: Proxy, ours: EventStore, direct: EventStore, fault: str
) -> None:
    event = await make_some(direct)
    for call in calls_of(ours, event).values():
        expected = await call()
        for spared in range(STATEMENTS_MAX):
            before = proxy.injected[fault]
            getattr(proxy, fault)(spared=spared)
            assert await call() == expected
            proxy.lift()
            if proxy.injected[fault] == before:
                break  # it has no more statements than were spared
            assert proxy.injected[fault] == before + 1
        else:
            pytest.fail("it has more statements than any call should have")
        assert proxy.injected[fault] > 0


async def until_owned(store: EventStore, name: str) -> None:
    """Wait until a name is owned: the server needs a moment to notice that a session is lost."""
    with anyio.fail_after(DEADLINE_SECONDS):
        while not await store.try_own(name):
            pass


@pytest.mark.fault(
    14, 19, "T7", store="postgres", without="the position that the checkpoint moves from"
)
@pytest.mark.parametrize("fault", ["cut_at_reply", "cut_before"])
async def test_progress_whose_connection_is_cut_is_kept_once(
    postgres_url: str, proxy: Proxy, ours: EventStore, direct: EventStore, fault: str
) -> None:
    async with session_on(postgres_url) as session:
        await session.execute("CREATE TABLE backstory.counted AS SELECT 0 AS total")
        for number, at in enumerate(("BEGIN", "UPDATE counted", "INSERT INTO", "COMMIT"), 1):
            checkpoint = Checkpoint(at, 1, "f", b"{}")
            changes = [TableChange("UPDATE counted SET total = total + 1")]
            progress = Progress(checkpoint, after_position=0, changes=changes)
            await until_owned(ours, at)
            cut(proxy, fault, at.encode())

            with pytest.raises(StoreUnavailableError) as raised:
                await ours.put_progress(progress)

            assert raised.value.outcome_unknown
            kept = await direct.load_checkpoint(at)
            assert (kept is not None) == ((at, fault) == ("COMMIT", "cut_at_reply"))
            with pytest.raises(StoreUnavailableError, match="owned again"):
                await ours.put_progress(progress)
            await until_owned(ours, at)
            if kept is None:
                await ours.put_progress(progress)
            with pytest.raises(CheckpointMovedError):
                await ours.put_progress(progress)
            assert await session.fetchval("SELECT total FROM backstory.counted") == number
