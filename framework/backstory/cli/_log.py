"""`backstory log`: the events of a store, as lines."""

from datetime import datetime
from functools import partial

import click
from msgspec import Struct

from backstory._filter import EventFilter, where
from backstory._recorded import RecordedEvent
from backstory._store import EventStore
from backstory.cli._moment import MOMENT
from backstory.cli._output import print_line, printable
from backstory.cli._session import json_option, open_store, run, store_option

_DATA_WIDTH = 80


@click.command(short_help="Print the log.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only behind this position.")
@click.option("--until", type=click.IntRange(0), help="Only up to this position.")
@click.option("--type", "types", multiple=True, help="Only this type; may be repeated.")
@click.option("--category", "categories", multiple=True, help="Only this category; likewise.")
@click.option("--tag", "tags", multiple=True, help="Only with this tag; repeated, with all.")
@click.option("--correlation", help="Only with this correlation id.")
@click.option("--actor", help="Only caused by this actor.")
@click.option("--recorded-after", type=MOMENT, help="Only later than this time.")
@click.option("--recorded-until", type=MOMENT, help="Only up to this time.")
@click.option("--limit", type=click.IntRange(0), help="At most so many events.")
@click.option("--backward", is_flag=True, help="The newest first.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is appended; end with Ctrl-C.")
@store_option
@json_option
def log(
    *,
    after: int,
    until: int | None,
    types: tuple[str, ...],
    categories: tuple[str, ...],
    tags: tuple[str, ...],
    correlation: str | None,
    actor: str | None,
    recorded_after: datetime | None,
    recorded_until: datetime | None,
    limit: int | None,
    backward: bool,
    follow: bool,
    store: str,
    as_json: bool,
) -> None:
    """Print the events of the store in the order of their positions.

    A line holds position, time, stream, version, type, actor and the beginning of the data; with
    --json it is the whole event.

    \b
    Examples:
        backstory log --category task --after 1000 --limit 20
        backstory log --type task:failed --json | jq .data.error
        backstory log --follow
    """  # noqa: D301 - \b keeps click from wrapping
    if follow and (backward or until is not None):
        raise click.UsageError("--follow goes on for ever: leave out --backward and --until")
    wanted = where(
        types=types,
        categories=categories,
        tags=tags,
        correlation_id=correlation,
        actor=actor,
        recorded_after=recorded_after,
        recorded_until=recorded_until,
    )
    read = _Read(after, until, wanted, limit, backward, follow)
    run(partial(_print_log, store, read, as_json=as_json))


class _Read(Struct, frozen=True):
    """What the call asks for."""

    after: int
    until: int | None
    wanted: EventFilter
    limit: int | None
    backward: bool
    follow: bool


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
            print_event(recorded, as_json=as_json)


async def _follow_log(store: EventStore, read: _Read, *, as_json: bool) -> None:
    left = read.limit
    async with store.subscribe(after_position=read.after, where=read.wanted) as subscription:
        while left != 0:
            print_event(await anext(subscription), as_json=as_json)
            left = None if left is None else left - 1


def print_event(recorded: RecordedEvent, *, as_json: bool) -> None:
    """Print an event as one line, or whole as JSON."""
    if as_json:
        print_line(recorded.to_json().decode())
        return
    data = printable(recorded.data_json.decode(errors="replace"))
    shown = data if len(data) <= _DATA_WIDTH else data[: _DATA_WIDTH - 1] + "…"
    time = f"{recorded.recorded_at:%Y-%m-%d %H:%M:%S}"
    place = f"{printable(recorded.stream_id)} {recorded.version}"
    actor = f"  by {printable(who)}" if (who := recorded.metadata.actor) else ""
    print_line(
        f"{recorded.position:>8}  {time}  {place}  {printable(recorded.type)}{actor}  {shown}"
    )
