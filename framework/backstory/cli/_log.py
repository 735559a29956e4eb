"""`backstory log`: the events of a store, as lines."""

from datetime import datetime
from functools import partial

import click
from msgspec import Struct

from backstory._filter import EventFilter, where
from backstory._store import EventStore
from backstory.cli._event_line import Reading, decode_options, print_event, reading_of
from backstory.cli._help import EPILOG
from backstory.cli._moment import MOMENT
from backstory.cli._session import json_option, open_store, run, store_option


@click.command(short_help="Print the events, or follow them.", epilog=EPILOG)
@click.option("--after", type=click.IntRange(0), default=0, help="Only behind this position.")
@click.option("--until", type=click.IntRange(0), help="Only up to this position.")
@click.option("--type", "types", multiple=True, help="Only this type; may be repeated.")
@click.option("--category", "categories", multiple=True, help="Only this category; likewise.")
@click.option("--stream", "streams", multiple=True, help="Only of this stream; likewise.")
@click.option("--tag", "tags", multiple=True, help="Only with this tag; repeated, with all.")
@click.option("--correlation", help="Only with this correlation id.")
@click.option("--caused-by", metavar="ID", help="Only directly caused by this event or command.")
@click.option("--actor", help="Only caused by this actor.")
@click.option("--recorded-after", type=MOMENT, help="Only later than this time.")
@click.option("--recorded-until", type=MOMENT, help="Only up to this time.")
@click.option("--limit", type=click.IntRange(0), help="At most so many events.")
@click.option("--backward", is_flag=True, help="The newest first.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is appended; end with Ctrl-C.")
@decode_options
@store_option
@json_option
def log(
    *,
    after: int,
    until: int | None,
    types: tuple[str, ...],
    categories: tuple[str, ...],
    streams: tuple[str, ...],
    tags: tuple[str, ...],
    correlation: str | None,
    caused_by: str | None,
    actor: str | None,
    recorded_after: datetime | None,
    recorded_until: datetime | None,
    limit: int | None,
    backward: bool,
    follow: bool,
    decode: bool,
    modules: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Print the events of the store in the order of their positions.

    A line holds position, time (UTC), stream, version, type, actor and the beginning of the data;
    with --json it is the whole event. Every option that is given must hold; of an option that may
    be repeated, one does, and of --tag all. Times are ISO 8601, or a part of one.

    \b
    Examples:
      backstory log --category task --after 1000 --limit 20
      backstory log --type task:failed --json | jq .data.error
      backstory log --recorded-after 2026-11-21T07:00 --actor ada
      backstory log --caused-by 0192e4a0-7c1e-7d5a-8a3b-6f1c2d3e4f50
      backstory log --decode --import shop --category order
      backstory log --follow
    """  # noqa: D301 - \b keeps click from wrapping
    if follow and (backward or until is not None):
        raise click.UsageError("--follow goes on for ever: leave out --backward and --until")
    wanted = where(
        types=types,
        categories=categories,
        streams=streams,
        tags=tags,
        correlation_id=correlation,
        causation_id=caused_by,
        actor=actor,
        recorded_after=recorded_after,
        recorded_until=recorded_until,
    )
    reading = reading_of(modules, decode=decode)
    read = _Read(after, until, wanted, limit, backward, follow, reading)
    run(partial(_print_log, store, read, as_json=as_json))


class _Read(Struct, frozen=True):
    """What the call asks for."""

    after: int
    until: int | None
    wanted: EventFilter
    limit: int | None
    backward: bool
    follow: bool
    reading: Reading


async def _print_log(url: str, read: _Read, *, as_json: bool) -> None:
    async with open_store(url, read_only=True) as store:
        if read.follow:
            await _follow_log(store, read, as_json=as_json)
            return
        async for recorded in store.read_log(
            after_position=read.after,
            until_position=read.until,
            where=read.wanted,
            backward=read.backward,
            limit=read.limit,
        ):
            print_event(read.reading(recorded), as_json=as_json)


async def _follow_log(store: EventStore, read: _Read, *, as_json: bool) -> None:
    left = read.limit
    async with store.subscribe(after_position=read.after, where=read.wanted) as subscription:
        while left != 0:
            print_event(read.reading(await anext(subscription)), as_json=as_json)
            left = None if left is None else left - 1
