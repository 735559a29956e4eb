"""Appends as their clients saw them, held against the log.

What is judged together is an append: all calls that carried the same event ids, whoever made them.
One that is repeated after a conflict, or after an answer that was lost, is one append that was
called several times; it may have happened in any call that was not told that nothing happened.

Where two appends share only some of their ids, each repeats a part of the other. Which of the two
brought that part nobody can say, so what it expected is not judged then. One whose outcome is
unknown, and whose ids are all there as other appends gave them and not as it did, was refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from backstory._commit import AppendCondition, Receipt
from backstory._errors import InvalidInputError, VersionConflictError
from backstory._recorded import RecordedEvent
from backstory._versions import ANY, judge_version
from backstory.testing._history import Answered, History, Invoked, InvokedPart, Result
from backstory.testing._history_log import JudgedLog, place_name
from backstory.testing._history_verdict import Findings, Invariant

_NEVER: Final = float("inf")
_SECOND_NS: Final = 1_000_000_000


class Call:
    """One call of an append, and its answer if one came."""

    def __init__(self, history: str, invoked: Invoked) -> None:
        self.invoked = invoked
        self.answered: Answered | None = None
        self.where = f"append {invoked.number} of {history!r}"

    @property
    def result(self) -> Result:
        """What its client knows of it."""
        return Result.UNKNOWN if self.answered is None else self.answered.result

    @property
    def may_be_done(self) -> bool:
        """Whether its client was not told that nothing happened."""
        return self.result in (Result.OK, Result.UNKNOWN)


class Append:
    """All calls with the same event ids."""

    def __init__(self, event_ids: tuple[str, ...]) -> None:
        self.event_ids = event_ids
        self.calls: list[Call] = []

    @property
    def candidates(self) -> list[Call]:
        """The calls in which it may have happened."""
        return [call for call in self.calls if call.may_be_done]

    @property
    def acknowledged(self) -> list[Call]:
        """The calls that were told that it has happened."""
        return [call for call in self.calls if call.result is Result.OK]


class Appends:
    """The appends of all histories, and the judge of each."""

    def __init__(
        self, histories: Iterable[History], findings: Findings, *, answer_seconds_max: float | None
    ) -> None:
        self._findings = findings
        self._answer_ns_max = (
            _NEVER if answer_seconds_max is None else answer_seconds_max * _SECOND_NS
        )
        self._appends: dict[tuple[str, ...], Append] = {}
        self._owner_of: dict[str, Append] = {}
        self._shared: set[str] = set()
        self._asked: set[str] = set()
        self._brought: set[str] = set()
        self.acknowledged_ns: dict[str, int] = {}
        """When each event was first acknowledged, by its id."""
        self.reached: list[tuple[int, int]] = []
        """When an append was acknowledged, and the last position that its receipt says."""
        self._invoked_ns: dict[str, int] = {}
        for history in histories:
            for call in calls_of(history):
                self._add(call)

    def _add(self, call: Call) -> None:
        self._findings.counts[f"{call.result.value}_count"] += 1
        self._judge_answer(call)
        ids = call.invoked.event_ids
        self._asked.update(ids)
        append = self._appends.setdefault(ids, Append(ids))
        append.calls.append(call)
        if call.answered is not None:
            last = max((one.last_position for one in call.answered.receipts), default=0)
            self.reached.append((call.answered.at_ns, last))
        if not call.may_be_done:
            return
        for id in ids:
            if self._owner_of.setdefault(id, append) is not append:
                self._shared.add(id)
            _lower(self._invoked_ns, id, call.invoked.at_ns)
            if call.answered is not None and call.result is Result.OK:
                _lower(self.acknowledged_ns, id, call.answered.at_ns)

    def _judge_answer(self, call: Call) -> None:
        if (answered := call.answered) is None:
            return
        if not answered.is_documented:
            what = f"an undocumented error reached the caller: {answered.error}"
            self._findings.add(Invariant.ERRORS, what, where=call.where)
        if (waited_ns := answered.at_ns - call.invoked.at_ns) > self._answer_ns_max:
            what = f"the answer took {waited_ns / _SECOND_NS:.1f} s"
            self._findings.add(Invariant.ERRORS, what, where=call.where)

    def judge(self, log: JudgedLog, *, after_position: int) -> None:
        """Hold every append against the log, and every event of the log against the appends."""
        for append in self._appends.values():
            if append.acknowledged or _doer(append, log) is not None:
                self._brought.update(append.event_ids)
        for append in self._appends.values():
            if append.candidates:
                self._judge_candidate(append, log, after_position)
            else:
                self._judge_not_done(append, log, after_position)
        self._judge_ghosts(log, after_position)
        self._judge_real_time(log)

    def _judge_not_done(self, append: Append, log: JudgedLog, after_position: int) -> None:
        call = append.calls[-1]
        for event in _found(append.event_ids, log):
            # Another append may have brought it, or it was there before.
            if event.event_id not in self._owner_of and event.position > after_position:
                what = f"the caller was told {call.result.value!r}, and event {event.event_id} is"
                where = f"{call.where}; {place_name(event)}"
                self._findings.add(Invariant.NO_GHOSTS, f"{what} there", where=where)

    def _judge_candidate(self, append: Append, log: JudgedLog, after_position: int) -> None:
        found = list(_found(append.event_ids, log))
        acknowledged = append.acknowledged
        if len(found) < len(append.event_ids):
            if acknowledged:
                missing = len(append.event_ids) - len(found)
                what = f"{missing} of {len(append.event_ids)} acknowledged events are not there"
                self._findings.add(Invariant.DURABLE, what, where=acknowledged[0].where)
            elif found and self._shared.isdisjoint(append.event_ids):
                what = f"{len(found)} of {len(append.event_ids)} events are there"
                self._findings.add(Invariant.ATOMIC, what, where=append.candidates[0].where)
            return
        doer = _doer(append, log)
        if not acknowledged and doer is None and self._brought.issuperset(append.event_ids):
            return
        self._judge_content(append, log)
        for call in acknowledged:
            self._judge_receipts(call, found)
        self._judge_layout(append, doer or append.candidates[0], found)
        if found[0].position > after_position and self._shared.isdisjoint(append.event_ids):
            self._judge_expectations(append, found, log)

    def _judge_content(self, append: Append, log: JudgedLog) -> None:
        """Judge that each event is what one of the calls gave."""
        given = [_digests(call) for call in append.candidates]
        for number, id in enumerate(append.event_ids):
            digest = log.digests[log.place_of[id]]
            if not any(digests[number] == digest for digests in given):
                where = f"{append.candidates[0].where}; {place_name(log.events[log.place_of[id]])}"
                what = f"event {id} says something else than it was given"
                self._findings.add(Invariant.DURABLE, what, where=where)

    def _judge_receipts(self, call: Call, found: Sequence[RecordedEvent]) -> None:
        receipts = () if call.answered is None else call.answered.receipts
        expected = [_receipt(part, events) for part, events in _by_part(call, found)]
        said = [_fields(receipt) for receipt in receipts]
        if said != expected:
            what = f"the receipt says {said}, the log {expected}"
            self._findings.add(Invariant.DURABLE, what, where=call.where)

    def _judge_layout(self, append: Append, call: Call, found: Sequence[RecordedEvent]) -> None:
        """Judge that the events lie one behind the other, in the streams they were meant for."""
        for part, events in _by_part(call, found):
            if stray := [event for event in events if event.stream_id != part.stream_id]:
                what = f"the event was for stream {part.stream_id!r}"
                where = f"{call.where}; {place_name(stray[0])}"
                self._findings.add(Invariant.DURABLE, what, where=where)
            if not _is_run([event.version for event in events]):
                what = "its versions are not one behind the other"
                self._findings.add(Invariant.ATOMIC, what, where=call.where)
        is_whole = self._shared.isdisjoint(append.event_ids)
        if is_whole and not _is_run([event.position for event in found]):
            what = "its positions are not one behind the other"
            self._findings.add(Invariant.ATOMIC, what, where=call.where)

    def _judge_expectations(
        self, append: Append, found: Sequence[RecordedEvent], log: JudgedLog
    ) -> None:
        """Judge that it came when one of the calls would have been let pass."""
        calls, counts = append.candidates, self._findings.counts
        counts["batch_count"] += len(calls[0].invoked.parts) > 1
        counts["expected_count"] += any(
            part.expected_version is not ANY for part in calls[0].invoked.parts
        )
        counts["condition_count"] += calls[0].invoked.condition is not None
        as_expected = [call for call in calls if _is_as_expected(call, found)]
        if not as_expected:
            said = ", ".join(str(part.expected_version) for part in calls[0].invoked.parts)
            parts = _by_part(calls[0], found)
            came_at = ", ".join(str(events[0].version - 1) for _, events in parts)
            what = f"it expected version {said}, and came at {came_at}"
            where = f"{calls[0].where}; {place_name(found[0])}"
            self._findings.add(Invariant.STREAM_ORDER, what, where=where)
            return
        against = [_excluded(call.invoked.condition, found[0], log) for call in as_expected]
        if (excluded := against[0]) is not None and None not in against:
            what = f"its condition excludes {place_name(excluded)}"
            where = f"{as_expected[0].where}; {place_name(found[0])}"
            self._findings.add(Invariant.CONDITION, what, where=where)

    def _judge_ghosts(self, log: JudgedLog, after_position: int) -> None:
        for place in log.between(after_position, None):
            if (event := log.events[place]).event_id not in self._asked:
                what = f"nobody asked for event {event.event_id}"
                self._findings.add(Invariant.NO_GHOSTS, what, where=place_name(event))

    def _judge_real_time(self, log: JudgedLog) -> None:
        """Judge each event against what lies behind it, from the last one to the first."""
        earliest_ns, earliest = _NEVER, None
        for event in reversed(log.events):
            if earliest is not None and self._invoked_ns.get(event.event_id, 0) > earliest_ns:
                what = f"it was asked for when {place_name(earliest)} was acknowledged already"
                self._findings.add(Invariant.REAL_TIME, what, where=place_name(event))
            if (acknowledged_ns := self.acknowledged_ns.get(event.event_id, _NEVER)) < earliest_ns:
                earliest_ns, earliest = acknowledged_ns, event


def calls_of(history: History) -> Iterator[Call]:
    """Yield every append of a history, in the order of invocation.

    Raises:
        InvalidInputError: An answer belongs to no append.
    """
    calls: dict[int, Call] = {}
    for line in history.lines:
        if isinstance(line, Invoked):
            calls[line.number] = Call(history.name, line)
        elif isinstance(line, Answered):
            if line.number not in calls:
                reason = f"an answer belongs to append {line.number}, which was not made"
                raise InvalidInputError(argument="history", found=history.name, reason=reason)
            calls[line.number].answered = line
    yield from calls.values()


def _lower(times: dict[str, int], id: str, at_ns: int) -> None:
    times[id] = min(times.get(id, at_ns), at_ns)


def _found(event_ids: Sequence[str], log: JudgedLog) -> Iterator[RecordedEvent]:
    return (log.events[log.place_of[id]] for id in event_ids if id in log.place_of)


def _doer(append: Append, log: JudgedLog) -> Call | None:
    """Return a call of an append that may have brought all of its events as they are, or None."""
    found = list(_found(append.event_ids, log))
    if len(found) < len(append.event_ids):
        return None
    digests = [log.digests[log.place_of[id]] for id in append.event_ids]
    return next(
        (
            call
            for call in append.candidates
            if _digests(call) == digests
            and all(_lies_in(part.stream_id, events) for part, events in _by_part(call, found))
        ),
        None,
    )


def _lies_in(stream_id: str, events: Sequence[RecordedEvent]) -> bool:
    in_stream = all(event.stream_id == stream_id for event in events)
    return in_stream and _is_run([event.version for event in events])


def _digests(call: Call) -> list[str]:
    return [event.digest for event in chain(*(part.events for part in call.invoked.parts))]


def _by_part(
    call: Call, found: Sequence[RecordedEvent]
) -> Iterator[tuple[InvokedPart, Sequence[RecordedEvent]]]:
    """Yield each part of a call with its events of the log."""
    first = 0
    for part in call.invoked.parts:
        yield part, found[first : (first := first + len(part.events))]


def _receipt(part: InvokedPart, events: Sequence[RecordedEvent]) -> tuple[str, int, int, int, int]:
    first, last = events[0], events[-1]
    return part.stream_id, first.version, last.version, first.position, last.position


def _fields(receipt: Receipt) -> tuple[str, int, int, int, int]:
    return (
        receipt.stream_id,
        receipt.first_version,
        receipt.last_version,
        receipt.first_position,
        receipt.last_position,
    )


def _is_run(numbers: Sequence[int]) -> bool:
    return list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def _is_as_expected(call: Call, found: Sequence[RecordedEvent]) -> bool:
    for part, events in _by_part(call, found):
        try:
            judge_version(part.stream_id, part.expected_version, events[0].version - 1)
        except VersionConflictError:
            return False
    return True


def _excluded(
    condition: AppendCondition | None, first: RecordedEvent, log: JudgedLog
) -> RecordedEvent | None:
    """Return an event that a condition excludes and that lies before an append, or None."""
    if condition is None:
        return None
    between = log.between(condition.after_position, first.position - 1)
    places = log.matching(condition.where, between)
    return log.events[places[0]] if places else None
