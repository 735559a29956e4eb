"""`backstory state`: an aggregate as it is, or as it was."""

from datetime import datetime
from functools import partial
from typing import Any

import click
import msgspec

from backstory._aggregate import Aggregate
from backstory._repository import Repository
from backstory.cli._help import EPILOG
from backstory.cli._hint import stream_not_found
from backstory.cli._modules import find_aggregate, import_option
from backstory.cli._moment import MOMENT
from backstory.cli._output import print_fields, print_json
from backstory.cli._session import json_option, open_store, run, store_option


@click.command(short_help="Print an aggregate's state, now or then.", epilog=EPILOG)
@click.argument("category")
@click.argument("id")
@click.option("--at-version", type=click.IntRange(0), help="As it was at this version.")
@click.option("--at-position", type=click.IntRange(0), help="As it was at this position.")
@click.option("--at-time", type=MOMENT, help="As it was at this time.")
@import_option
@store_option
@json_option
def state(
    *,
    category: str,
    id: str,
    at_version: int | None,
    at_position: int | None,
    at_time: datetime | None,
    modules: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Print the state of the aggregate ID of CATEGORY, folded from its events.

    The category's class is found among those that installed packages name (entry point group
    `backstory.aggregates`), and in the modules named with --import, which may lie in the current
    folder. Give one moment, or none for now.

    \b
    Examples:
      backstory state task write-docs
      backstory state task write-docs --at-version 1 --json
      backstory state task write-docs --at-time 2026-11-21T07:02:10
      backstory state order o-7 --import shop
    """  # noqa: D301 - \b keeps click from wrapping
    moments: dict[str, Any] = {"at_version": at_version, "at_position": at_position}
    if at_time is not None:
        moments["at_time"] = at_time
    if sum(moment is not None for moment in moments.values()) > 1:
        raise click.UsageError("give one of --at-version, --at-position and --at-time")
    aggregate = find_aggregate(category, modules)
    run(partial(_print_state, store, aggregate, id, moments, as_json=as_json))


async def _print_state(
    url: str, cls: type[Aggregate], id: str, moments: dict[str, Any], *, as_json: bool
) -> None:
    async with open_store(url, read_only=True) as store:
        repository = Repository(store)
        aggregate = await repository.load(cls, id, **moments)
        if not aggregate.version and not (await repository.load(cls, id)).version:
            raise await stream_not_found(store, aggregate.stream_id)
    fields: dict[str, Any] = {
        "id": aggregate.id,
        "version": aggregate.version,
        **msgspec.to_builtins(aggregate),
    }
    if as_json:
        print_json(fields)
    else:
        print_fields(aggregate.stream_id, fields)
