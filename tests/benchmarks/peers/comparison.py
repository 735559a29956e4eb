"""Ours beside other libraries: the same rows, in one run and in turn, each on files of its own.

Those that can are asked once more, on one PostgreSQL server. A peer that is not installed is left
out, and so is PostgreSQL where no server can be had; that is said.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from typing import Final

from msgspec import Struct
from tests.benchmarks.bench import Bench, timed
from tests.benchmarks.peers.ours import Ours
from tests.benchmarks.peers.peer import Peer
from tests.benchmarks.postgres.groups import why_left_out
from tests.benchmarks.row import Result, Row, Target, at_least

PACKAGES: Final = ("eventsource-py", "eventsourcing")
"""Those that are compared, as they are called where packages are listed."""

_CLASSES: Final = {
    "eventsource-py": ("eventsource_py", "EventsourcePy"),
    "eventsourcing": ("eventsourcing", "Eventsourcing"),
}
_ON_POSTGRES: Final = {"eventsourcing": ("eventsourcing_on_postgres", "EventsourcingOnPostgres")}
"""Those that keep their events in PostgreSQL too."""

_WRITER_COUNT: Final = 64


class _Contest(Struct, frozen=True):
    """What each of them does."""

    name: str
    size: str
    count: Callable[[Bench], int]
    run: Callable[[Peer, Bench], Awaitable[object]]
    targets: dict[str, Target] = {}


_CONTESTS: Final = (
    _Contest(
        "load an aggregate without a snapshot",
        "10,000 events",
        lambda bench: bench.scale.load_count,
        lambda peer, bench: peer.load(bench.scale.load_count),
        {"eventsourcing": at_least(4)},
    ),
    _Contest(
        "replay the log, typed",
        "10,000 events",
        lambda bench: bench.scale.load_count,
        lambda peer, _: peer.replay(),
    ),
    _Contest(
        "append one event after the other",
        "one at a time",
        lambda bench: bench.scale.single_count,
        lambda peer, bench: peer.append_one_by_one(bench.scale.single_count),
        {"eventsource-py": at_least(2)},
    ),
    _Contest(
        "append from 64 tasks or threads",
        "64 streams",
        lambda bench: _WRITER_COUNT * bench.scale.append_count_per_task,
        lambda peer, bench: peer.append_at_once(_WRITER_COUNT, bench.scale.append_count_per_task),
        {"eventsourcing": at_least(8)},
    ),
    _Contest(
        "append a batch of 1,000",
        "1,000 events",
        lambda _: 1_000,
        lambda peer, _: peer.append_batch(1_000),
    ),
)
"""The reads come first, on a log that holds nothing but what is loaded."""


def _row(contest: _Contest, peer: str) -> Row:
    return Row(contest.name, "events/s", against=peer, target=contest.targets.get(peer))


def _row_on_postgres(contest: _Contest, peer: str) -> Row:
    return Row(f"on PostgreSQL, {contest.name}", "events/s", against=peer)


ROWS: Final = (
    *(_row(contest, peer) for contest in _CONTESTS for peer in _CLASSES),
    *(_row_on_postgres(contest, peer) for contest in _CONTESTS for peer in _ON_POSTGRES),
)


async def measure(bench: Bench) -> list[Result]:
    """Measure every row of every peer that is installed."""
    peers = [Ours(), *_installed(bench, _CLASSES)]
    results = await _contests(bench, peers, _row)
    if (reason := why_left_out()) is not None:
        bench.notes.append(f"what is compared on PostgreSQL is left out: {reason}")
        return results
    with import_module("tests.benchmarks.postgres.database").database(bench) as url:
        ours = import_module("tests.benchmarks.peers.ours_on_postgres").OursOnPostgres(url)
        peers = [ours, *_installed(bench, _ON_POSTGRES, url)]
        return [*results, *await _contests(bench, peers, _row_on_postgres)]


def _installed(bench: Bench, classes: Mapping[str, tuple[str, str]], *arguments: str) -> list[Peer]:
    found: list[Peer] = []
    for name, (module, cls) in classes.items():
        try:
            peer = import_module(f"tests.benchmarks.peers.{module}")
        except ImportError as error:
            bench.notes.append(f"{name}: left out, it is not installed ({error})")
        else:
            found.append(getattr(peer, cls)(*arguments))
    return found


async def _contests(
    bench: Bench, peers: Sequence[Peer], row: Callable[[_Contest, str], Row]
) -> list[Result]:
    async with AsyncExitStack() as stack:
        for peer in peers:
            await peer.open(bench.folder)
            stack.push_async_callback(peer.aclose)
            bench.notes.append(f"{peer.name}: {peer.setting}")
            for _ in range(bench.scale.load_count // 1_000):
                await peer.append_batch(1_000)
        return [
            result for contest in _CONTESTS for result in await _held(contest, bench, peers, row)
        ]


async def _held(
    contest: _Contest,
    bench: Bench,
    peers: Sequence[Peer],
    row: Callable[[_Contest, str], Row],
) -> list[Result]:
    count = contest.count(bench)
    seconds: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(bench.pair_count):
        bench.say(contest.name, f"round {number + 1} of {bench.pair_count}")
        for peer in peers:
            seconds[peer.name].append(await timed(partial(contest.run, peer, bench)))
    rates = {name: [count / one for one in taken] for name, taken in seconds.items()}
    ours = rates[Ours.name]
    return [
        Result(row(contest, name), contest.size, ours, rate)
        for name, rate in rates.items()
        if name != Ours.name
    ]
