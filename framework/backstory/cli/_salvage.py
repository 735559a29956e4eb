"""`backstory salvage`: the good beginning of a damaged store, into a new one."""

from functools import partial
from pathlib import Path

import click

from backstory._errors import ConfigurationError
from backstory._store_url import parse_store_url, store_of
from backstory.cli._damage_lines import limit_option, print_damage
from backstory.cli._help import EPILOG
from backstory.cli._output import print_json, print_line, printable
from backstory.cli._progress import progress
from backstory.cli._session import json_option, open_store, run, store_option
from backstory.operations._inspection import inspected
from backstory.operations._salvage import CUT_STREAM_COUNT_MAX, Salvage, SalvageClock
from backstory.operations._salvage import salvage as salvage_store
from backstory.operations._verification import last_position

_FAILED = 1


@click.command(short_help="Copy the good beginning of a damaged store.", epilog=EPILOG)
@click.option(
    "--into", metavar="URL", required=True, help="The new store; it is created, or is empty."
)
@limit_option
@store_option
@json_option
@click.pass_context
def salvage(context: click.Context, *, into: str, limit: int, store: str, as_json: bool) -> None:
    """Copy the events before the first damage into a new store, and tell what is missing.

    The copy has the same events with the same ids, streams, versions, times and bytes, and the same
    hashes. The damaged store is only read. Snapshots and checkpoints are caches and are not copied.
    What lies behind the first damage is not copied, whole as it may look; the streams that it
    belongs to are named, with the last version that the copy has. Of events from before schema 3 it
    is said where the order over all streams is not proved. Exits with 1 when anything is missing.

    \b
    Examples:
      backstory salvage --store sqlite:///damaged.db --into sqlite:///good.db
      backstory salvage --into sqlite:///good.db?durability=buffered --json | jq .cut_streams
    """  # noqa: D301 - \b keeps click from wrapping
    _check_apart(store, into)
    summary = run(partial(_salvage, store, into))
    if as_json:
        print_json(summary)
    else:
        print_damage(summary.damage, summary.damage_count, limit=limit)
        _print_summary(summary, limit)
    if not summary.is_whole:
        context.exit(_FAILED)


def _check_apart(store: str, into: str) -> None:
    """Refuse to write into what is to be salvaged.

    Raises:
        ConfigurationError: Both are the same.
    """
    places = [parse_store_url(url) for url in (store, into)]
    if len({(place.scheme, Path(place.path.removeprefix("/")).resolve()) for place in places}) == 1:
        raise ConfigurationError(f"{into} is the damaged store itself; name a new one")


async def _salvage(url: str, into: str) -> Salvage:
    clock = SalvageClock()
    async with (
        inspected(open_store(url, read_only=True)) as source,
        store_of(into, clock=clock) as target,
    ):
        with progress("salvaging", await last_position(source)) as advance:
            return await salvage_store(source, target, clock=clock, on_progress=advance)


def _print_summary(summary: Salvage, limit: int) -> None:
    for cut in summary.cut_streams[:limit]:
        have = f"up to version {cut.after_version}" if cut.after_version else "nothing"
        print_line(f"cut         {printable(cut.stream_id)}  {have} is saved")
    if (more := len(summary.cut_streams) - limit) > 0:
        is_all = len(summary.cut_streams) < CUT_STREAM_COUNT_MAX
        print_line(f"and {'' if is_all else 'at least '}{more:,} cut streams more")
    print_line(f"{summary.event_count:,} events saved, up to position {summary.last_position}")
    if summary.undigested_count and not summary.is_whole:
        print_line(
            f"{summary.undigested_count:,} of them are from before schema 3 and have no digest of "
            "their own: their order over all streams is not proved"
        )
    if not summary.keeps_positions:
        print_line("the copy has no gaps, so its positions differ from those of the damaged store")
    if summary.left_count:
        print_line(
            f"{summary.left_count:,} events behind the first damage can be read, and are not copied"
        )
    print_line("nothing is missing" if summary.is_whole else "the copy is not whole")
