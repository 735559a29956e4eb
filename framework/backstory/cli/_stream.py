"""`backstory stream`: the events of one stream."""

from functools import partial
from typing import Any

import click

from backstory._store import EventStore
from backstory.cli._event_line import Reading, decode_options, print_event, reading_of
from backstory.cli._help import EPILOG
from backstory.cli._hint import stream_not_found
from backstory.cli._session import json_option, open_store, run, store_option


@click.command(short_help="Print the events of one stream.", epilog=EPILOG)
@click.argument("stream_id")
@click.option("--after", type=click.IntRange(0), default=0, help="Only behind this version.")
@click.option("--until", type=click.IntRange(0), help="Only up to this version.")
@click.option("--limit", type=click.IntRange(0), help="At most so many events.")
@click.option("--backward", is_flag=True, help="The newest first.")
@decode_options
@store_option
@json_option
def stream(
    *,
    stream_id: str,
    after: int,
    until: int | None,
    limit: int | None,
    backward: bool,
    decode: bool,
    modules: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Print the events of STREAM_ID (category-id) in the order of their versions.

    The lines are those of `backstory log`. A stream that does not exist is an error, with a hint at
    what may have been meant.

    \b
    Examples:
      backstory stream task-write-docs
      backstory stream task-write-docs --after 10 --json | jq .data
      backstory stream order-o-7 --decode --import shop
    """  # noqa: D301 - \b keeps click from wrapping
    reading = reading_of(modules, decode=decode)
    bounds = {
        "after_version": after,
        "until_version": until,
        "limit": limit,
        "backward": backward,
    }
    run(partial(_print_stream, store, stream_id, bounds, reading, as_json=as_json))


async def _print_stream(
    url: str, stream_id: str, bounds: dict[str, Any], reading: Reading, *, as_json: bool
) -> None:
    async with open_store(url, read_only=True) as store:
        if not await _exists(store, stream_id):
            raise await stream_not_found(store, stream_id)
        async for recorded in store.read_stream(stream_id, **bounds):
            print_event(reading(recorded), as_json=as_json)


async def _exists(store: EventStore, stream_id: str) -> bool:
    # A category alone is no stream id; the hint then says what is in it.
    has_id = bool(stream_id.partition("-")[2])
    return has_id and bool([event async for event in store.read_stream(stream_id, limit=1)])
