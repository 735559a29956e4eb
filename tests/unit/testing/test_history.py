"""A history holds what a client asked for and was told, whatever becomes of the client."""

from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.conftest import DEADLINE_SECONDS, Counted, drain, new_event, noted

from backstory import (
    ANY,
    AppendCondition,
    Backstory,
    ConfigurationError,
    DuplicateEventError,
    EventStore,
    InvalidInputError,
    Projection,
    StoreUnavailableError,
    StreamAppend,
    VersionConflictError,
    on,
    where,
)
from backstory.operations import inspected
from backstory.stores.in_memory import InMemoryStore
from backstory.stores.sqlite import SQLiteStore
from backstory.testing import (
    FaultyStore,
    History,
    HistoryWriter,
    WitnessedStore,
    check_history,
    read_history,
)
from backstory.testing._history import (
    Answered,
    Checkpointed,
    Closed,
    Ended,
    Failed,
    Followed,
    Invoked,
    Line,
    Measured,
    Opened,
    Received,
    Result,
    content_digest,
    result_of,
)

pytestmark = pytest.mark.anyio


class Sum(Projection, name="history sum"):
    """Adds up."""

    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


def kinds(history: History) -> list[type[Line]]:
    return [type(line) for line in history.lines]


def answers(history: History) -> list[Answered]:
    return [line for line in history.lines if isinstance(line, Answered)]


async def test_append_is_written_down_before_and_after(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    condition = AppendCondition(where(tags=["a"]), 0)
    events = noted("a", "b")
    with HistoryWriter(path, clock_ns=iter(range(100)).__next__) as history:
        async with WitnessedStore(InMemoryStore(), history) as store:
            receipt = await store.append(
                "note-1", events, expected_version=ANY, condition=condition
            )

    _, invoked, answered, _ = read_history(path).lines

    assert isinstance(invoked, Invoked)
    assert isinstance(answered, Answered)
    assert invoked.condition == condition
    assert [part.stream_id for part in invoked.parts] == ["note-1"]
    assert [part.expected_version for part in invoked.parts] == [ANY]
    assert invoked.event_ids == tuple(event.event_id for event in events)
    assert [event.digest for event in invoked.parts[0].events] == list(map(content_digest, events))
    assert (answered.number, answered.receipts) == (invoked.number, (receipt,))
    assert invoked.at_ns < answered.at_ns


async def test_answers_say_what_may_have_happened(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    faulty = FaultyStore(InMemoryStore())
    with HistoryWriter(path) as history:
        async with WitnessedStore(faulty, history) as store:
            first = noted("a")
            await store.append("note-1", first, expected_version=0)
            with pytest.raises(VersionConflictError):
                await store.append("note-1", noted("b"), expected_version=0)
            with pytest.raises(DuplicateEventError):
                await store.append("note-2", first, expected_version=0)
            faulty.fail("commit")
            with pytest.raises(StoreUnavailableError):
                await store.append("note-1", noted("c"), expected_version=ANY)
            faulty.lose_answer("commit")
            with pytest.raises(StoreUnavailableError):
                await store.append("note-1", noted("d"), expected_version=ANY)

    results = [answer.result for answer in answers(read_history(path))]

    assert results == [
        Result.OK,
        Result.CONFLICT,
        Result.REFUSED,
        Result.FAILED,
        Result.UNKNOWN,
    ]


class BrokenError(Exception):
    """Not one of ours."""


class BrokenStore(InMemoryStore):
    """Raises what no store may raise."""

    async def head(self) -> int:
        raise BrokenError("the disk is on fire")


async def test_undocumented_errors_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    with HistoryWriter(path) as history:
        broken = BrokenStore()
        store = WitnessedStore(broken, history)
        with pytest.raises(BrokenError):
            await store.open()
        await broken.open()
        with pytest.raises(BrokenError):
            await store.head()

    opened, failed, _ = read_history(path).lines

    assert isinstance(opened, Opened)
    assert isinstance(failed, Failed)
    assert opened.error == failed.error == "BrokenError: the disk is on fire"
    assert not opened.is_documented
    assert not failed.is_documented


async def test_store_that_could_not_be_opened_is_let_go(tmp_path: Path) -> None:
    broken = BrokenStore()
    with HistoryWriter(tmp_path / "one.jsonl") as history, pytest.raises(BrokenError):
        await WitnessedStore(broken, history).open()

    with pytest.raises(Exception, match="is not open"):
        await broken.find_event(new_event().event_id)


async def test_cancelled_append_is_unknown_and_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    faulty = FaultyStore(InMemoryStore())
    delay = faulty.delay("commit")
    with HistoryWriter(path) as history, anyio.fail_after(DEADLINE_SECONDS):
        async with WitnessedStore(faulty, history) as store, anyio.create_task_group() as group:
            group.start_soon(lambda: store.append("note-1", noted("a"), expected_version=ANY))
            await delay.wait_reached()
            group.cancel_scope.cancel()

    (answer,) = answers(read_history(path))

    assert (answer.result, answer.is_documented) == (Result.UNKNOWN, True)


async def test_reads_and_subscriptions_are_written_down(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    with HistoryWriter(path) as history:
        async with WitnessedStore(InMemoryStore(), history) as store:
            await store.append("note-1", noted("a", "b"), expected_version=0)
            log = await drain(store.read_log(backward=True))
            async with store.subscribe(after_position=1) as subscription:
                assert await anext(subscription) == log[0]

    lines = read_history(path).lines
    read, newer, older, ended, followed, received = lines[3:-1]

    assert isinstance(read, Followed)
    assert (read.backward, read.is_live) == (True, False)
    assert isinstance(newer, Received)
    assert isinstance(older, Received)
    assert isinstance(ended, Ended)
    assert isinstance(followed, Followed)
    assert (followed.after_position, followed.is_live) == (1, True)
    assert isinstance(received, Received)
    assert (newer.position, older.position, received.position) == (2, 1, 2)
    assert newer.digest == content_digest(log[0])


async def test_program_over_a_witnessed_store_writes_its_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    inner = InMemoryStore()
    with HistoryWriter(path) as history:
        async with WitnessedStore(inner, history) as store:
            for _ in range(2):
                async with Backstory(store, projections=[Sum]) as story:
                    await store.append("counter-1", [new_event(Counted())], expected_version=ANY)
                    await story.read_model(Sum)

    lines = read_history(path).lines
    checkpoints = [line for line in lines if isinstance(line, Checkpointed)]

    # Saved, loaded by the next one, saved again.
    assert [line.model_json for line in checkpoints] == [
        '{"total":1}',
        '{"total":1}',
        '{"total":2}',
    ]


async def test_replays_read_models_and_pages_are_written_down(tmp_path: Path) -> None:
    path, inner = tmp_path / "one.jsonl", InMemoryStore()
    with HistoryWriter(path) as history:
        async with WitnessedStore(inner, history) as store, Backstory(store) as story:
            await store.append(
                "counter-1", [new_event(Counted()) for _ in range(5)], expected_version=ANY
            )
            await drain(story.replay(after_position=3))
            await story.read_model(Sum, at_position=2)
            first = await store.read_log_page(limit=2, backward=True)
            await store.read_log_page(cursor=first.cursor, limit=2, backward=True)
            await store.read_log_page(offset=3)

            read = read_history(path)
            verdict = await check_history(inner, [read])

    verdict.check()
    assert (verdict.judged.read_count, verdict.judged.received_count) == (4, 2 + 2 + 2 + 2)
    positions = [line.position for line in read.lines if isinstance(line, Received)]
    assert positions == [4, 5, 1, 2, 5, 4, 3, 2]


@pytest.mark.parametrize("wrap", [FaultyStore, "witness"])
async def test_damaged_store_is_opened_as_such_behind_another(tmp_path: Path, wrap: Any) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path) as store:
        await store.append("note-1", noted("a", "b"), expected_version=0)
    shorter = tmp_path / "shorter.db"
    async with SQLiteStore(shorter) as store:
        await store.append("note-1", noted("a"), expected_version=0)
    shorter.replace(path)
    damaged = SQLiteStore(path, read_only=True)

    with HistoryWriter(tmp_path / "one.jsonl") as history:
        in_front = WitnessedStore(damaged, history) if wrap == "witness" else wrap(damaged)
        async with inspected(in_front) as store:
            assert await store.head() == 1


async def test_everything_else_is_passed_on(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path / "one.jsonl") as history:
        async with WitnessedStore(InMemoryStore(), history) as store:
            assert store.capabilities == InMemoryStore.capabilities
            await store.append_many(
                [StreamAppend("note-1", noted("a"), 0), StreamAppend("note-2", noted("b"), 0)]
            )
            (recorded,) = await drain(store.read_stream("note-2"))
            assert await store.read_event(recorded.event_id) == recorded
            assert [stream.stream_id async for stream in store.read_streams()] == [
                "note-1",
                "note-2",
            ]
            assert await store.head() == (await store.statistics()).event_count == 2
            assert await store.load_snapshot("note-1", fingerprint="") is None
            assert await store.delete_snapshots() == 0
            await store.delete_checkpoint("none")
            assert await store.load_checkpoint("none") is None


async def test_refused_arguments_begin_no_read(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    with HistoryWriter(path) as history:
        async with WitnessedStore(InMemoryStore(), history) as store:
            await check_refusals(store)

    assert kinds(read_history(path)) == [Opened, Closed]


async def check_refusals(store: EventStore) -> None:
    with pytest.raises(InvalidInputError):
        await drain(store.read_log(after_position=-1))
    with pytest.raises(InvalidInputError):
        await drain(store.read_log(limit=-1))
    with pytest.raises(InvalidInputError):
        async with store.subscribe(after_position=-1):
            pass
    with pytest.raises(InvalidInputError):
        await store.append("note-1", [], expected_version=0)


def test_line_torn_by_a_kill_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    with HistoryWriter(path) as history:
        history.measure()
        history.measure()
    written = path.read_bytes()

    for length in range(len(written)):
        path.write_bytes(written[:length])
        assert len(read_history(path).lines) == written[:length].count(b"\n")


def test_line_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_bytes(b'{"line":"closed","at_ns":1}\n{"line":"cl\n{"line":"closed","at_ns":1}\n')

    with pytest.raises(InvalidInputError, match=r"one\.jsonl, line 2"):
        read_history(path)


def test_every_run_has_a_history_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    HistoryWriter(path).close()

    with pytest.raises(InvalidInputError, match="a history of its own"):
        HistoryWriter(path)

    assert path.stat().st_mode & 0o777 == 0o600


def test_lines_are_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    with HistoryWriter(path) as history:
        history.measure()

        assert kinds(read_history(path)) == [Measured]

        history.close()
        history.close()  # harmless
    assert kinds(read_history(path)) == [Measured, Closed]


def test_no_error_of_ours_is_unknown() -> None:
    assert result_of(ConfigurationError("a")) is Result.REFUSED
    assert result_of(KeyboardInterrupt()) is Result.UNKNOWN
