"""`backstory stats`: what a store holds, in numbers."""

from functools import partial

import click

from backstory._statistics import StoreStatistics
from backstory.cli._help import EPILOG
from backstory.cli._output import print_json, print_line, print_table
from backstory.cli._session import json_option, open_store, run, store_option


@click.command(short_help="Count what the store holds.", epilog=EPILOG)
@store_option
@json_option
def stats(*, store: str, as_json: bool) -> None:
    """Print how many events, streams, snapshots and checkpoints the store has, and its size.

    Events are counted by type and by category. Times are UTC, sizes are bytes; a store on a disk
    says what its files take. All events are looked at, so a large store takes a while.

    \b
    Examples:
      backstory stats
      backstory stats --json | jq .events_by_type
    """  # noqa: D301 - \b keeps click from wrapping
    statistics = run(partial(_statistics, store))
    if as_json:
        print_json(statistics)
    else:
        _print_statistics(statistics)


async def _statistics(url: str) -> StoreStatistics:
    async with open_store(url, read_only=True) as store:
        return await store.statistics()


def _print_statistics(statistics: StoreStatistics) -> None:
    totals = {
        "events": f"{statistics.event_count:,}",
        "streams": f"{statistics.stream_count:,}",
        "last position": f"{statistics.head:,}",
        "oldest event": _time(statistics, "oldest"),
        "newest event": _time(statistics, "newest"),
        "snapshots": f"{statistics.snapshot_count:,}",
        "checkpoints": f"{statistics.checkpoint_count:,}",
        "size": human_size(statistics.size_bytes),
    }
    for name, value in totals.items():
        print_line(f"{name:<14} {value}")
    if not statistics.event_count:
        return
    by_type = statistics.events_by_type.items()
    print_table("by type", ("type", "events"), list(by_type), empty="")
    by_category = [
        (category, count, statistics.streams_by_category.get(category, 0))
        for category, count in statistics.events_by_category.items()
    ]
    print_table("by category", ("category", "events", "streams"), by_category, empty="")


def _time(statistics: StoreStatistics, name: str) -> str:
    moment = getattr(statistics, name)
    return "none" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def human_size(size_bytes: int) -> str:
    """Return a size for people, with the exact one behind it."""
    exact = f"{size_bytes:,} bytes"
    size = float(size_bytes)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1_000
        if size < 1_000 or unit == "TB":  # noqa: PLR2004 - the step from unit to unit
            return exact if size < 1 else f"{size:.1f} {unit} ({exact})"
    return exact
