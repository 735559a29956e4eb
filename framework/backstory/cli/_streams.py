"""`backstory streams`: which streams there are."""

from functools import partial

import click

from backstory.cli._help import EPILOG
from backstory.cli._output import print_json, print_line, printable
from backstory.cli._session import json_option, open_store, run, store_option


@click.command(short_help="List the streams.", epilog=EPILOG)
@click.option("--category", help="Only of this category.")
@click.option("--limit", type=click.IntRange(0), help="At most so many streams.")
@store_option
@json_option
def streams(*, category: str | None, limit: int | None, store: str, as_json: bool) -> None:
    """List the streams in the order of their ids, each behind its version.

    A stream's version is the number of its events. Lines are printed as they are read, so a long
    list needs no memory and can be cut by its reader.

    \b
    Examples:
      backstory streams --category task
      backstory streams --json | jq -r 'select(.version > 1000).stream_id'
    """  # noqa: D301 - \b keeps click from wrapping
    run(partial(_print_streams, store, category, limit, as_json=as_json))


async def _print_streams(
    url: str, category: str | None, limit: int | None, *, as_json: bool
) -> None:
    async with open_store(url, read_only=True) as store:
        count = 0
        async for stream in store.read_streams(category):
            if count == limit:
                return
            count += 1
            if as_json:
                print_json(stream)
            else:
                print_line(f"{stream.version:>8}  {printable(stream.stream_id)}")
