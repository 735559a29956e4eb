"""`backstory stream`: the events of one stream."""

from functools import partial

import click

from backstory._errors import StreamNotFoundError
from backstory.cli._log import print_event
from backstory.cli._session import json_option, open_store, run, store_option


@click.command(short_help="Print a stream.")
@click.argument("stream_id")
@click.option("--after", type=click.IntRange(0), default=0, help="Only behind this version.")
@click.option("--until", type=click.IntRange(0), help="Only up to this version.")
@click.option("--limit", type=click.IntRange(0), help="At most so many events.")
@click.option("--backward", is_flag=True, help="The newest first.")
@store_option
@json_option
def stream(
    *,
    stream_id: str,
    after: int,
    until: int | None,
    limit: int | None,
    backward: bool,
    store: str,
    as_json: bool,
) -> None:
    """Print the events of STREAM_ID (category-id) in the order of their versions.

    \b
    Example:
        backstory stream task-write-docs --after 10
    """  # noqa: D301 - \b keeps click from wrapping
    run(
        partial(
            _print_stream,
            store,
            stream_id,
            after=after,
            until=until,
            limit=limit,
            backward=backward,
            as_json=as_json,
        )
    )


async def _print_stream(
    url: str,
    stream_id: str,
    *,
    after: int,
    until: int | None,
    limit: int | None,
    backward: bool,
    as_json: bool,
) -> None:
    async with open_store(url, read_only=True) as store:
        if not [event async for event in store.read_stream(stream_id, limit=1)]:
            raise StreamNotFoundError(stream_id=stream_id)
        async for recorded in store.read_stream(
            stream_id, after_version=after, until_version=until, limit=limit, backward=backward
        ):
            print_event(recorded, as_json=as_json)
