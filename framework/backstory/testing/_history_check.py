"""Judges a log by what its clients were told: the one oracle for every fault.

Whatever was done to a store, by many processes, kills, full disks or lost answers: afterwards its
log is read once from the first event to the last, and laid beside the histories of all clients.
What must hold is said in `Invariant`.

It finds what contradicts the histories, and no more. That a conflict was one is not judged, since
nobody knows in which order calls that overlap were meant; nor are reads of single streams.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from backstory._projection import Projection
from backstory._store import EventStore
from backstory.testing._history import Closed, Failed, History, Measured, Opened
from backstory.testing._history_appends import Appends, calls_of
from backstory.testing._history_feeds import judge_feeds
from backstory.testing._history_log import JudgedLog
from backstory.testing._history_models import JudgedProjection
from backstory.testing._history_verdict import Findings, HistoryVerdict, Invariant


async def check_history(
    store: EventStore,
    histories: Iterable[History],
    *,
    projections: Sequence[type[Projection]] = (),
    read_models: Sequence[Projection] = (),
    after_position: int = 0,
    answer_seconds_max: float | None = None,
) -> HistoryVerdict:
    """Judge the log of a store, and what its clients saw of it; nobody may write meanwhile.

    Args:
        store: Whose log is read.
        histories: Those of all clients that have written to it; see `read_history`.
        projections: Those whose checkpoints are judged. A checkpoint that other code has made, by
            its fingerprint, is left out.
        read_models: Read models that have seen all of the log.
        after_position: What lies up to here was there before the histories began, and nobody needs
            to have asked for it.
        answer_seconds_max: An append that was answered later is found; None for no limit.

    Returns:
        What does not hold, and how much was judged.

    Raises:
        InvalidInputError: A history contradicts itself.
        ProjectionFailedError: A handler of a projection raised.
        StoreError: The log could not be read.
    """
    histories = tuple(histories)
    findings = Findings()
    classes = dict.fromkeys((*projections, *map(type, read_models)))
    judged = {cls: JudgedProjection(cls, histories, findings) for cls in classes}
    log = JudgedLog(findings)
    async for recorded in store.read_log():
        log.see(recorded)
        for projection in judged.values():
            projection.see(recorded)
    for cls, projection in judged.items():
        projection.finish(log.head, [model for model in read_models if type(model) is cls])
    findings.counts.update(history_count=len(histories), event_count=len(log.events))
    appends = Appends(histories, findings, answer_seconds_max=answer_seconds_max)
    appends.judge(log, after_position=after_position)
    judge_feeds(histories, log, findings, acknowledged_ns=appends.acknowledged_ns)
    _judge_openings(histories, findings, appends.reached)
    for history in histories:
        _judge_client(history, findings)
    return findings.verdict()


def _judge_openings(
    histories: Iterable[History], findings: Findings, reached: Sequence[tuple[int, int]]
) -> None:
    """Judge that a store that was opened ended no earlier than what had been acknowledged."""
    reached = sorted(reached)
    heads = [0]
    for _, position in reached:
        heads.append(max(heads[-1], position))
    for history in histories:
        for line in history.lines:
            if isinstance(line, Opened) and not line.error:
                due = heads[bisect_left(reached, (line.begun_at_ns, 0))]
                findings.counts["opening_count"] += 1
                if line.head < due:
                    what = f"the log ended at {line.head}, and {due} had been acknowledged"
                    where = f"an opening by {history.name!r}"
                    findings.add(Invariant.RECOVERY, what, where=where)


def _judge_client(history: History, findings: Findings) -> None:
    """Judge what one client shows by itself: its errors, what it left open, and how it ended."""
    first: Measured | None = None
    for line in history.lines:
        match line:
            case Failed(verb=verb, error=error, is_documented=is_documented):
                _judge_error(verb, error, history, findings, is_documented=is_documented)
            case Opened(error=error, is_documented=is_documented) if error:
                _judge_error("open", error, history, findings, is_documented=is_documented)
            case Measured():
                if first is not None:
                    findings.counts["measure_count"] += 1
                    _judge_measure(first, line, history, findings)
                first = first or line
            case Closed():
                _judge_end(history, findings)
            case _:
                pass


def _judge_error(
    verb: str, error: str, history: History, findings: Findings, *, is_documented: bool
) -> None:
    findings.counts["error_count"] += 1
    if not is_documented:
        what = f"an undocumented error reached the caller: {error}"
        findings.add(Invariant.ERRORS, what, where=f"{verb} by {history.name!r}")


def _judge_measure(first: Measured, line: Measured, history: History, findings: Findings) -> None:
    where = f"a measure of {history.name!r}"
    if (line.file_count or 0) > (first.file_count or 0):
        what = f"{line.file_count} files are open, {first.file_count} were at first"
        findings.add(Invariant.LEAKS, what, where=where)
    if line.task_count > first.task_count:
        what = f"{line.task_count} tasks are there, {first.task_count} were at first"
        findings.add(Invariant.LEAKS, what, where=where)


def _judge_end(history: History, findings: Findings) -> None:
    for call in calls_of(history):
        if call.answered is None:
            what = "it was never answered, and its client ended in good order"
            findings.add(Invariant.ERRORS, what, where=call.where)
