"""Each doctored log and each doctored history is found, and what is whole passes.

The base of every test is what real clients wrote of a real store; one thing in it is then changed.
"""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from anyio import CancelScope
from msgspec.structs import replace
from tests.conftest import Counted, Noted, drain, new_event, noted

from backstory import (
    ANY,
    AppendCondition,
    Backstory,
    ConditionConflictError,
    DuplicateEventError,
    EventStore,
    InvalidInputError,
    Metadata,
    Projection,
    RecordedEvent,
    StoreUnavailableError,
    StreamAppend,
    VersionConflictError,
    on,
    where,
)
from backstory.stores.in_memory import InMemoryStore
from backstory.testing import (
    FaultyStore,
    History,
    HistoryVerdict,
    HistoryWriter,
    Invariant,
    Judged,
    WitnessedStore,
    check_history,
    read_history,
)
from backstory.testing._history import (
    Answered,
    Checkpointed,
    Ended,
    Failed,
    Followed,
    Invoked,
    Line,
    Measured,
    Opened,
    Received,
    Result,
)

pytestmark = pytest.mark.anyio

L = TypeVar("L")


class Total(Projection, name="history total"):
    """Adds up."""

    total: int = 0

    @on(Counted)
    def _counted(self, event: Counted) -> None:
        self.total += event.by


class WrittenLog(InMemoryStore):
    """A store whose log is what a test says."""

    def __init__(self, log: list[RecordedEvent]) -> None:
        super().__init__()
        self._log = log

    async def read_log(self, **bounds: Any) -> AsyncGenerator[RecordedEvent]:
        for recorded in self._log:
            yield recorded


class Case:
    """A log and the histories of two clients, to be doctored."""

    def __init__(self, log: list[RecordedEvent], histories: list[History]) -> None:
        self.log = log
        self.histories = histories

    async def judge(self, **options: Any) -> HistoryVerdict:
        options.setdefault("projections", [Total])
        return await check_history(WrittenLog(self.log), self.histories, **options)

    def lines(self, kind: type[L], *, client: int = 0) -> list[L]:
        return [line for line in self.histories[client].lines if isinstance(line, kind)]

    def doctor(self, line: Line, *instead: Line, client: int = 0) -> None:
        """Put other lines in place of one; none to leave it out."""
        old = self.histories[client]
        place = next(number for number, one in enumerate(old.lines) if one is line)
        lines = (*old.lines[:place], *instead, *old.lines[place + 1 :])
        self.histories[client] = History(old.name, lines)

    def change(self, line: Line, *, client: int = 0, **fields: Any) -> None:
        self.doctor(line, replace(line, **fields), client=client)

    def change_event(self, place: int, **fields: Any) -> None:
        self.log[place] = replace(self.log[place], **fields)


async def found(case: Case, **options: Any) -> dict[Invariant, str]:
    """Return the first finding of each invariant."""
    first: dict[Invariant, str] = {}
    for finding in (await case.judge(**options)).findings:
        first.setdefault(finding.invariant, f"{finding.what} ({finding.where})")
    return first


def ticks() -> Callable[[], int]:
    return iter(range(0, 10**9, 1_000)).__next__


async def write(store: EventStore, faulty: FaultyStore, other: EventStore) -> None:
    """Do a bit of everything; the places in the log are said beside."""
    await store.append("note-1", noted("a", "b"), expected_version=0)  # 0, 1
    with pytest.raises(VersionConflictError):
        await other.append("note-1", noted("c"), expected_version=0)
    await other.append_many(
        [StreamAppend("note-1", noted("d"), 2), StreamAppend("note-2", noted("e"), 0)]  # 2, 3
    )
    tagged = new_event(Noted(text="f"), metadata=Metadata(tags=("seat",)))
    free = AppendCondition(where(tags=["seat"]), 0)
    await store.append("note-3", [tagged], expected_version=ANY, condition=free)  # 4
    with pytest.raises(ConditionConflictError):
        await other.append("note-4", noted("g"), expected_version=ANY, condition=free)
    faulty.lose_answer("commit")
    lost = noted("h", "i")
    for _ in range(2):  # 5, 6
        try:
            await store.append("note-5", lost, expected_version=0)
        except StoreUnavailableError:
            continue
    faulty.fail("commit")
    with pytest.raises(StoreUnavailableError):
        await store.append("note-5", noted("j"), expected_version=ANY)
    with pytest.raises(DuplicateEventError):
        await store.append("note-6", lost[:1], expected_version=ANY)
    async with Backstory(store, projections=[Total]) as story:
        await other.append("counter-1", [new_event(Counted(by=3))], expected_version=0)  # 7
        await story.read_model(Total)
    async with store.subscribe(where=where(streams=["counter-1"])) as subscription:
        await anext(subscription)
    await drain(store.read_log())
    await drain(other.read_log(backward=True, after_position=1))
    async with other.subscribe(where=where(streams=["note-1"])) as subscription:
        for _ in range(3):
            await anext(subscription)
    await other.append("note-7", noted("k"), expected_version=0)  # 8


@pytest.fixture
async def case(tmp_path: Path) -> Case:
    """Return what two clients of one store have seen."""
    clock, inner = ticks(), InMemoryStore()
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    with HistoryWriter(one, clock_ns=clock) as first, HistoryWriter(two, clock_ns=clock) as second:
        first.measure()
        faulty = FaultyStore(inner)
        async with WitnessedStore(faulty, first) as store:
            other = WitnessedStore(inner, second)
            await other.open()
            await write(store, faulty, other)
            log = await drain(inner.read_log())
        first.measure()
    return Case(log, [read_history(one), read_history(two)])


async def test_whole_history_passes_and_says_what_was_judged(case: Case) -> None:
    verdict = await case.judge(answer_seconds_max=1)

    verdict.check()
    assert verdict.judged == Judged(
        history_count=2,
        event_count=9,
        ok_count=6,
        conflict_count=2,
        refused_count=1,
        failed_count=1,
        unknown_count=1,
        batch_count=1,
        expected_count=5,
        condition_count=1,
        read_count=2,
        subscription_count=2,
        received_count=9 - 1 + 7 + 1 + 3,
        checkpoint_count=1,
        opening_count=2,
        measure_count=1,
    )


async def test_report_lists_findings_and_counts(case: Case) -> None:
    case.log.clear()

    verdict = await case.judge()

    with pytest.raises(AssertionError, match="durable: 2 of 2 acknowledged events are not there"):
        verdict.check()
    assert "judged: Judged(history_count=2" in verdict.report()
    assert str(verdict.findings[0]) in verdict.report()


async def test_long_report_is_cut(case: Case) -> None:
    case.log += [
        replace(case.log[-1], position=place, event_id=f"{place}") for place in range(10, 30)
    ]

    verdict = await case.judge()

    assert "stream order: and 10 more" in verdict.report()


# Durable.


async def test_lost_acknowledged_event_is_found(case: Case) -> None:
    del case.log[8]

    assert await found(case) == {
        Invariant.DURABLE: "1 of 1 acknowledged events are not there (append 7 of 'two')"
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"data_json": b'{"text":"other"}'},
        {"metadata_json": b'{"actor":"eve"}'},
        {"type": "test:other"},
        {"schema_version": 2},
    ],
)
async def test_changed_content_is_found(case: Case, fields: dict[str, Any]) -> None:
    case.change_event(8, **fields)

    assert "says something else" in (await found(case))[Invariant.DURABLE]


async def test_event_at_another_place_than_the_receipt_says_is_found(case: Case) -> None:
    case.change_event(8, position=10)

    assert list(await found(case)) == [Invariant.DURABLE]


async def test_event_in_another_stream_is_found(case: Case) -> None:
    place = case.lines(Answered, client=1)[-1]
    case.change_event(8, stream_id="note-8")
    case.change(place, client=1, receipts=(replace(place.receipts[0], stream_id="note-8"),))

    findings = (await case.judge()).findings

    assert "the event was for stream 'note-7'" in [finding.what for finding in findings]


# Atomic.


async def test_half_of_an_unknown_append_is_found(case: Case) -> None:
    unknown, acknowledged = [
        line
        for line in case.lines(Answered)
        if line.result is Result.UNKNOWN
        or (line.receipts and line.receipts[0].stream_id == "note-5")
    ]
    case.doctor(acknowledged)
    case.doctor(unknown)
    del case.log[6]

    assert "1 of 2 events are there" in (await found(case))[Invariant.ATOMIC]


async def test_unknown_append_that_did_not_happen_is_none(case: Case) -> None:
    answered = case.lines(Answered, client=1)[-1]
    case.change(answered, client=1, result=Result.UNKNOWN, receipts=())
    assert await found(case) == {}

    del case.log[8]
    assert await found(case) == {}


async def test_stranger_inside_an_append_is_found(case: Case) -> None:
    events = case.log
    for place in range(3, 9):
        case.change_event(place, position=events[place].position + 1)

    assert "its positions are not one behind the other" in (await found(case))[Invariant.ATOMIC]


async def test_gap_in_the_versions_of_an_append_is_found(case: Case) -> None:
    case.change_event(6, version=3)

    findings = await found(case)

    assert "its versions are not one behind the other" in findings[Invariant.ATOMIC]
    assert "2 was due" in findings[Invariant.STREAM_ORDER]


# No ghosts.


async def test_event_that_nobody_asked_for_is_found(case: Case) -> None:
    ghost = new_event().event_id
    case.log.append(replace(case.log[8], position=10, version=2, event_id=ghost))

    assert await found(case) == {
        Invariant.NO_GHOSTS: f"nobody asked for event {ghost} (position 10, 'note-7' version 2)"
    }


async def test_what_was_there_before_the_histories_needs_no_asking(case: Case) -> None:
    case.histories = []

    assert await found(case, after_position=9) == {}
    assert list(await found(case, after_position=8)) == [Invariant.NO_GHOSTS]


@pytest.mark.parametrize("result", [Result.CONFLICT, Result.REFUSED, Result.FAILED])
async def test_append_that_was_told_no_and_is_there_is_found(case: Case, result: Result) -> None:
    answered = case.lines(Answered, client=1)[-1]
    case.change(answered, client=1, result=result, receipts=())

    assert f"the caller was told {result.value!r}" in (await found(case))[Invariant.NO_GHOSTS]


async def test_event_that_is_there_twice_is_found(case: Case) -> None:
    case.log.append(replace(case.log[8], position=10, version=2))

    assert "there a second time" in (await found(case))[Invariant.NO_GHOSTS]


# Stream order.


async def test_position_that_does_not_rise_is_found(case: Case) -> None:
    case.log[7], case.log[8] = case.log[8], case.log[7]

    assert "does not lie behind the one before" in (await found(case))[Invariant.STREAM_ORDER]


async def test_gap_in_a_stream_is_found(case: Case) -> None:
    case.change_event(2, version=4)

    assert "3 was due" in (await found(case))[Invariant.STREAM_ORDER]


async def test_append_past_its_expected_version_is_found(case: Case) -> None:
    invoked = case.lines(Invoked, client=1)[1]
    first, second = invoked.parts
    case.change(invoked, client=1, parts=(replace(first, expected_version=1), second))

    expected = "it expected version 1, 0, and came at 2, 0"
    assert expected in (await found(case))[Invariant.STREAM_ORDER]


async def test_repetition_is_judged_by_the_call_that_may_have_brought_it(case: Case) -> None:
    # The first call, whose answer was lost, came at version 0; what the second one says is free.
    *_, again = [line for line in case.lines(Invoked) if line.parts[0].stream_id == "note-5"][:2]
    case.change(again, parts=(replace(again.parts[0], expected_version=7),))

    assert await found(case) == {}


# Condition.


async def test_append_against_its_condition_is_found(case: Case) -> None:
    (invoked,) = [line for line in case.lines(Invoked) if line.condition is not None]
    case.change(invoked, condition=AppendCondition(where(streams=["note-2"]), 0))

    excluded = "its condition excludes position 4, 'note-2' version 1"
    assert excluded in (await found(case))[Invariant.CONDITION]


async def test_condition_looks_only_behind_its_position(case: Case) -> None:
    (invoked,) = [line for line in case.lines(Invoked) if line.condition is not None]
    case.change(invoked, condition=AppendCondition(where(streams=["note-2"]), 4))

    assert await found(case) == {}


# Real time.


async def test_append_before_what_was_acknowledged_earlier_is_found(case: Case) -> None:
    first, last = case.lines(Invoked)[0], case.lines(Answered, client=1)[-1]
    case.change(last, client=1, at_ns=first.at_ns - 1)

    assert "was acknowledged already" in (await found(case))[Invariant.REAL_TIME]


# Stable feed.


async def test_event_that_a_reader_was_not_handed_is_found(case: Case) -> None:
    case.doctor(case.lines(Received)[3])

    assert "event 3 that was handed out is (4," in (await found(case))[Invariant.STABLE_FEED]


async def test_event_that_a_subscriber_was_handed_twice_is_found(case: Case) -> None:
    received = case.lines(Received, client=1)[-1]
    case.doctor(received, received, received, client=1)

    assert "the log has nothing there" in (await found(case))[Invariant.STABLE_FEED]


async def test_event_that_was_another_one_then_is_found(case: Case) -> None:
    case.change(case.lines(Received)[-1], digest="0")

    assert list(await found(case)) == [Invariant.STABLE_FEED]


async def test_read_that_left_out_the_last_acknowledged_event_is_found(case: Case) -> None:
    case.doctor(case.lines(Received)[-1])

    assert "was acknowledged before it began" in (await found(case))[Invariant.STABLE_FEED]


async def test_backward_read_that_left_out_an_event_is_found(case: Case) -> None:
    newest, *_ = case.lines(Received, client=1)
    case.doctor(newest, client=1)
    assert "was acknowledged before it began" in (await found(case))[Invariant.STABLE_FEED]


async def test_backward_read_that_ended_too_early_is_found(case: Case) -> None:
    oldest = case.lines(Received, client=1)[6]
    case.doctor(oldest, client=1)

    assert "it ended after 6 events, and 7 were due" in (await found(case))[Invariant.STABLE_FEED]


async def test_reader_that_left_early_or_had_a_limit_has_missed_nothing(case: Case) -> None:
    *_, read = [line for line in case.lines(Followed) if not line.is_live]
    case.change(read, limit=7)
    case.doctor(case.lines(Received)[-1])
    (backward,) = case.lines(Ended, client=1)
    case.doctor(backward, client=1)
    case.doctor(case.lines(Received, client=1)[6], client=1)

    assert await found(case) == {}


# Read models.


async def test_checkpoint_with_another_read_model_is_found(case: Case) -> None:
    (checkpoint,) = case.lines(Checkpointed)
    case.change(checkpoint, model_json='{"total":4}')

    assert await found(case) == {
        Invariant.READ_MODELS: "'total' is 4, folded from the log it is 3 "
        "(checkpoint of 'history total' at position 8, seen by 'one')"
    }


async def test_checkpoint_is_judged_at_its_position(case: Case) -> None:
    (checkpoint,) = case.lines(Checkpointed)
    case.change(checkpoint, position=7)

    assert "'total' is 3, folded from the log it is 0" in (await found(case))[Invariant.READ_MODELS]


async def test_checkpoint_ahead_of_the_log_is_found(case: Case) -> None:
    (checkpoint,) = case.lines(Checkpointed)
    case.change(checkpoint, position=10)

    assert "the log ends at 9" in (await found(case))[Invariant.READ_MODELS]


async def test_checkpoint_that_cannot_be_read_is_found(case: Case) -> None:
    (checkpoint,) = case.lines(Checkpointed)
    case.change(checkpoint, model_json='{"total":')

    assert "cannot be read" in (await found(case))[Invariant.READ_MODELS]


async def test_checkpoint_of_other_code_is_left_out(case: Case) -> None:
    (checkpoint,) = case.lines(Checkpointed)
    case.change(checkpoint, fingerprint="other", model_json='{"total":4}')

    verdict = await case.judge()

    verdict.check()
    assert verdict.judged.checkpoint_count == 0


async def test_read_model_is_compared_with_a_fold_of_the_whole_log(case: Case) -> None:
    assert await found(case, read_models=[Total(total=3)]) == {}
    assert (
        "'total' is 4" in (await found(case, read_models=[Total(total=4)]))[Invariant.READ_MODELS]
    )


# Errors, recovery, leaks.


async def test_undocumented_error_of_an_append_is_found(case: Case) -> None:
    (answered,) = [line for line in case.lines(Answered) if line.result is Result.UNKNOWN]
    case.change(answered, is_documented=False, error="OperationalError: database is locked")

    assert "database is locked" in (await found(case))[Invariant.ERRORS]


async def test_undocumented_error_of_another_call_is_found(case: Case) -> None:
    measured, opened = case.lines(Measured)[0], case.lines(Opened)[0]
    case.doctor(measured, Failed(0, "read_page", "OSError: no", is_documented=False))
    case.doctor(opened, Opened(0, 0, error="OSError: no way", is_documented=False))

    verdict = await case.judge()

    assert [finding.invariant for finding in verdict.findings] == [Invariant.ERRORS] * 2
    assert verdict.judged.error_count == 2


async def test_documented_errors_are_counted_only(case: Case) -> None:
    case.doctor(
        case.lines(Measured)[0], Failed(0, "head", "StoreClosedError: closed", is_documented=True)
    )

    verdict = await case.judge()

    verdict.check()
    assert verdict.judged.error_count == 1


async def test_late_answer_is_found(case: Case) -> None:
    assert "the answer took 0.0 s" in (await found(case, answer_seconds_max=0))[Invariant.ERRORS]


async def test_append_without_an_answer_is_unknown_after_a_kill_and_an_error_otherwise(
    case: Case,
) -> None:
    case.doctor(case.lines(Answered, client=1)[-1], client=1)
    assert "never answered" in (await found(case))[Invariant.ERRORS]

    case.histories[1] = History("two", case.histories[1].lines[:-1])
    verdict = await case.judge()
    verdict.check()
    assert verdict.judged.unknown_count == 2


async def test_opening_of_a_shorter_log_than_was_acknowledged_is_found(case: Case) -> None:
    (opened,) = case.lines(Opened, client=1)
    late = case.lines(Answered, client=1)[-1].at_ns + 1
    case.change(opened, client=1, begun_at_ns=late, head=8)

    assert await found(case) == {
        Invariant.RECOVERY: "the log ended at 8, and 9 had been acknowledged (an opening by 'two')"
    }


async def test_file_or_task_that_stays_open_is_found(case: Case) -> None:
    first, second = case.lines(Measured)
    case.change(second, file_count=(first.file_count or 0) + 1, task_count=first.task_count + 1)

    findings = (await case.judge()).findings

    assert [finding.invariant for finding in findings] == [Invariant.LEAKS] * 2


# The judge itself.


async def test_contradictory_histories_are_refused(case: Case) -> None:
    answered = case.lines(Answered)[0]
    case.doctor(answered, replace(answered, number=99))
    with pytest.raises(InvalidInputError, match="append 99, which was not made"):
        await case.judge()


async def test_event_of_no_read_is_refused(case: Case) -> None:
    received = case.lines(Received)[0]
    case.doctor(received, replace(received, number=99))
    with pytest.raises(InvalidInputError, match="read 99, which was not begun"):
        await case.judge()


async def test_appends_that_share_a_part_are_judged_by_their_parts(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    one, two = noted("a"), noted("b")
    inner = InMemoryStore()
    with HistoryWriter(path) as history:
        async with WitnessedStore(inner, history) as store:
            await store.append("note-1", one, expected_version=0)
            await store.append("note-3", noted("between"), expected_version=0)
            await store.append_many(
                [StreamAppend("note-1", one, 0), StreamAppend("note-2", two, 0)]
            )

            verdict = await check_history(inner, [read_history(path)])

    verdict.check()
    assert verdict.judged.ok_count == 3


async def verdict_behind_unknown(path: Path, appends: list[StreamAppend]) -> HistoryVerdict:
    """Return the verdict where an append is of unknown outcome, and shares ids with another."""
    inner = InMemoryStore()
    with HistoryWriter(path) as history:
        async with WitnessedStore(inner, history) as store:
            await store.append("note-1", [SHARED, OTHER], expected_version=0)
            with CancelScope() as scope:
                scope.cancel()
                await store.append_many(appends)
            return await check_history(inner, [read_history(path)])


SHARED, OTHER = noted("a", "b")


@pytest.mark.parametrize(
    "appends",
    [
        [StreamAppend("note-2", [replace(SHARED, data_json=b'{"text":"x"}')], 0)],
        [StreamAppend("note-2", [SHARED], 0)],
        [StreamAppend("note-1", [OTHER, SHARED], 0)],
    ],
    ids=["other content", "another stream", "another order"],
)
async def test_unknown_append_of_ids_that_another_one_brought_was_refused(
    tmp_path: Path, appends: list[StreamAppend]
) -> None:
    verdict = await verdict_behind_unknown(tmp_path / "one.jsonl", appends)

    verdict.check()
    assert (verdict.judged.ok_count, verdict.judged.unknown_count) == (1, 1)


async def test_changed_content_of_unknown_appends_is_found_all_the_same(tmp_path: Path) -> None:
    path, inner = tmp_path / "one.jsonl", InMemoryStore()
    one, other = (replace(SHARED, data_json=data) for data in (b'{"text":"x"}', b'{"text":"y"}'))
    with HistoryWriter(path) as history:
        async with WitnessedStore(inner, history) as store:
            for stream_id, event in (("note-1", one), ("note-2", other)):
                with CancelScope() as scope:
                    scope.cancel()
                    await store.append(stream_id, [event], expected_version=0)
            await inner.append("note-1", [SHARED], expected_version=0)  # as neither gave it

            verdict = await check_history(inner, [read_history(path)])

    assert {finding.invariant for finding in verdict.findings} == {Invariant.DURABLE}


async def test_unknown_append_that_was_made_to_two_streams_is_judged_by_the_one(
    tmp_path: Path,
) -> None:
    path, inner = tmp_path / "one.jsonl", InMemoryStore()
    with HistoryWriter(path) as history:
        async with WitnessedStore(inner, history) as store:
            for stream_id in ("note-1", "note-2"):
                with CancelScope() as scope:
                    scope.cancel()
                    await store.append(stream_id, [SHARED], expected_version=0)
            await inner.append("note-2", [SHARED], expected_version=0)  # as the second call gave it

            verdict = await check_history(inner, [read_history(path)])

    verdict.check()


async def test_repetition_of_what_was_there_before_is_judged_by_its_receipt(
    tmp_path: Path,
) -> None:
    path, old, inner = tmp_path / "one.jsonl", noted("a"), InMemoryStore()
    async with inner:
        await inner.append("note-1", old, expected_version=0)
    with HistoryWriter(path) as history:
        async with WitnessedStore(inner, history) as store:
            with pytest.raises(DuplicateEventError):
                await store.append("note-2", old, expected_version=0)
            refused = read_history(path)
            await store.append("note-1", old, expected_version=9)

            (await check_history(inner, [refused], after_position=1)).check()
            verdict = await check_history(inner, [read_history(path)], after_position=1)

    verdict.check()
    assert (verdict.judged.ok_count, verdict.judged.refused_count) == (1, 1)


async def test_conditions_are_found_by_index_as_by_looking(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    inner = InMemoryStore()
    with HistoryWriter(path) as history:
        async with WitnessedStore(inner, history) as store:
            for number in range(300):
                seat = Metadata(tags=(f"seat:{number}",))
                free = AppendCondition(
                    where(tags=[f"seat:{number}"])
                    | where(tags=[f"seat:{number - 1}"], streams=[f"seat-{number - 2}"]),
                    0,
                )
                await store.append(
                    f"seat-{number}",
                    [new_event(metadata=seat)],
                    expected_version=ANY,
                    condition=free,
                )
            log = await drain(inner.read_log())
    taken = replace(log[7], metadata_json=log[250].metadata_json)
    log[7] = taken

    verdict = await check_history(WrittenLog(log), [read_history(path)])

    assert verdict.judged.condition_count == 300
    assert [finding.invariant for finding in verdict.findings] == [
        Invariant.DURABLE,
        Invariant.CONDITION,
    ]
    assert "position 8, 'seat-7' version 1" in verdict.findings[1].what
