"""`backstory state`: an aggregate as it is, or as it was."""

import sys
from datetime import datetime
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from backstory._aggregate import Aggregate
from backstory._errors import ConfigurationError, StreamNotFoundError
from backstory._repository import Repository
from backstory.cli._moment import MOMENT
from backstory.cli._output import print_fields, print_json
from backstory.cli._session import json_option, open_store, run, store_option


@click.command(short_help="Print an aggregate's state.")
@click.argument("category")
@click.argument("id")
@click.option("--at-version", type=click.IntRange(0), help="As it was at this version.")
@click.option("--at-position", type=click.IntRange(0), help="As it was at this position.")
@click.option("--at-time", type=MOMENT, help="As it was at this time.")
@click.option("--import", "modules", multiple=True, help="Import this module of yours first.")
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
    folder.

    \b
    Examples:
        backstory state task write-docs
        backstory state task write-docs --at-version 1 --json
    """  # noqa: D301 - \b keeps click from wrapping
    moments: dict[str, Any] = {"at_version": at_version, "at_position": at_position}
    if at_time is not None:
        moments["at_time"] = at_time
    if sum(moment is not None for moment in moments.values()) > 1:
        raise click.UsageError("give one of --at-version, --at-position and --at-time")
    aggregate = _aggregate_class(category, modules)
    run(partial(_print_state, store, aggregate, id, moments, as_json=as_json))


async def _print_state(
    url: str, cls: type[Aggregate], id: str, moments: dict[str, Any], *, as_json: bool
) -> None:
    async with open_store(url, read_only=True) as store:
        repository = Repository(store)
        aggregate = await repository.load(cls, id, **moments)
        if not aggregate.version and not (await repository.load(cls, id)).version:
            raise StreamNotFoundError(stream_id=aggregate.stream_id)
    fields: dict[str, Any] = {
        "id": aggregate.id,
        "version": aggregate.version,
        **msgspec.to_builtins(aggregate),
    }
    if as_json:
        print_json(fields)
    else:
        print_fields(aggregate.stream_id, fields)


def _aggregate_class(category: str, modules: tuple[str, ...]) -> type[Aggregate]:
    # A script has the folder of its program on the path, and not the one that it is called in.
    sys.path.insert(0, str(Path.cwd()))
    for name in modules:
        try:
            module = import_module(name)
        except ImportError as error:
            raise ConfigurationError(f"--import {name}: {error}") from error
        members: list[Any] = list(vars(module).values())
        for member in members:
            if isinstance(member, type) and issubclass(member, Aggregate):
                cls: type[Aggregate] = member
                if cls.category == category:
                    return cls
    for point in entry_points(group="backstory.aggregates", name=category):
        return cast("type[Aggregate]", point.load())
    known = sorted({point.name for point in entry_points(group="backstory.aggregates")})
    raise ConfigurationError(
        f"no installed package names an aggregate for category {category!r}; "
        f"known: {', '.join(known) or 'none'}; or name its module with --import"
    )
