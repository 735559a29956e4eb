"""What readers of the log and subscribers were handed, held against the log."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from backstory._errors import InvalidInputError
from backstory.testing._history import Ended, Followed, History, Received
from backstory.testing._history_log import JudgedLog
from backstory.testing._history_verdict import Findings, Invariant

Item = tuple[int, str, int, str, str]


class Feed:
    """One read of the log or one subscription, with what it gave."""

    def __init__(self, history: str, followed: Followed) -> None:
        self.followed = followed
        self.received: list[Received] = []
        self.is_ended = False
        kind = "subscription" if followed.is_live else "read"
        self.where = f"{kind} {followed.number} of {history!r}"


def judge_feeds(
    histories: Iterable[History],
    log: JudgedLog,
    findings: Findings,
    *,
    acknowledged_ns: Mapping[str, int],
) -> None:
    """Judge every feed of all histories.

    Args:
        histories: Whose.
        log: What they must have been handed.
        findings: Where to say what is wrong.
        acknowledged_ns: When each event was first acknowledged, by its id.
    """
    acknowledgements = _Acknowledgements(log, acknowledged_ns)
    for history in histories:
        for feed in _feeds_of(history):
            kind = "subscription" if feed.followed.is_live else "read"
            findings.counts[f"{kind}_count"] += 1
            findings.counts["received_count"] += len(feed.received)
            _judge(feed, log, findings, acknowledgements)


def _feeds_of(history: History) -> Iterator[Feed]:
    feeds: dict[int, Feed] = {}
    for line in history.lines:
        if isinstance(line, Followed):
            feeds[line.number] = Feed(history.name, line)
        elif isinstance(line, Received | Ended):
            if line.number not in feeds:
                reason = f"something belongs to read {line.number}, which was not begun"
                raise InvalidInputError(argument="history", found=history.name, reason=reason)
            if isinstance(line, Received):
                feeds[line.number].received.append(line)
            else:
                feeds[line.number].is_ended = True
    yield from feeds.values()


def _judge(
    feed: Feed, log: JudgedLog, findings: Findings, acknowledgements: "_Acknowledgements"
) -> None:
    followed, received = feed.followed, feed.received
    bounds = log.between(followed.after_position, followed.until_position)
    due = log.matching(followed.where, bounds)
    seen_count = _count_seen(feed, due, log)
    missed = due[seen_count:]
    if followed.backward:
        # The newest may not have been there yet; what is handed out begins below them.
        due = due[:seen_count][::-1]
    for number, (line, item) in enumerate(zip(received, _items(due, log), strict=False), 1):
        if _item(line) != item:
            what = f"event {number} that was handed out is {_item(line)}, the log has {item}"
            findings.add(Invariant.STABLE_FEED, what, where=feed.where)
            return
    if len(received) > len(due):
        what = f"{_item(received[len(due)])} was handed out, and the log has nothing there"
        findings.add(Invariant.STABLE_FEED, what, where=feed.where)
    is_short = followed.limit is not None and len(received) == followed.limit
    if followed.backward and feed.is_ended and not is_short and len(received) < len(due):
        what = f"it ended after {len(received)} events, and {len(due)} were due"
        findings.add(Invariant.STABLE_FEED, what, where=feed.where)
    if feed.is_ended and (followed.backward or not is_short):
        place = acknowledgements.first_before(followed.at_ns, missed)
        if place is not None:
            id = log.events[place].event_id
            what = f"it left out event {id}, which was acknowledged before it began"
            findings.add(Invariant.STABLE_FEED, what, where=feed.where)


class _Acknowledgements:
    """When the event at each place was first acknowledged."""

    def __init__(self, log: JudgedLog, acknowledged_ns: Mapping[str, int]) -> None:
        self._at_ns = [acknowledged_ns.get(event.event_id, math.inf) for event in log.events]
        # And when the first one from there on was. Events are acknowledged roughly in their order,
        # so that few have to be looked at to know of all behind a place.
        self._earliest_ns = [*accumulate(reversed(self._at_ns), min)][::-1]

    def first_before(self, at_ns: int, places: Sequence[int]) -> int | None:
        """Return the first of some places at which it was before a time, or None."""
        for place in places:
            if self._earliest_ns[place] >= at_ns:
                return None
            if self._at_ns[place] < at_ns:
                return place
        return None


def _count_seen(feed: Feed, due: Sequence[int], log: JudgedLog) -> int:
    """Return how many places lie up to the newest event that was handed out."""
    newest = max((line.position for line in feed.received), default=0)
    return bisect_right(due, newest, key=lambda place: log.events[place].position)


def _item(line: Received) -> Item:
    return line.position, line.stream_id, line.version, line.event_id, line.digest


def _items(places: Sequence[int], log: JudgedLog) -> Iterator[Item]:
    for place in places:
        event = log.events[place]
        yield event.position, event.stream_id, event.version, event.event_id, log.digests[place]
