"""`backstory verify`: whether a store still holds what was written."""

import time
from functools import partial

import click
import msgspec

from backstory.cli._damage_lines import limit_option, print_damage
from backstory.cli._help import EPILOG
from backstory.cli._output import print_json, print_line, printable
from backstory.cli._progress import progress
from backstory.cli._session import json_option, open_store, run, store_option
from backstory.operations._inspection import inspected
from backstory.operations._verification import Verification, last_position
from backstory.operations._verification import verify as verify_store

_FAILED = 1


@click.command(short_help="Check that the store holds what was written.", epilog=EPILOG)
@click.option(
    "--after",
    "after_position",
    type=click.IntRange(min=0),
    default=0,
    metavar="POSITION",
    help="Begin behind this position, where an earlier verification ended.",
)
@limit_option
@store_option
@json_option
@click.pass_context
def verify(
    context: click.Context, *, after_position: int, limit: int, store: str, as_json: bool
) -> None:
    """Read the whole store, and tell what is not as it was written; writes nothing.

    Every event is compared with its hash, the order of the events with the log's digest, and the
    end with what is kept of it beside the store; then the store's engine checks itself, with its
    indexes, snapshots and checkpoints. It may run beside programs that write. A line holds the
    simplest explanation, the position, stream and version, and the evidence:

    \b
      changed     an event does not say what its hash was taken of
      doubled     an event stands there twice
      missing     positions of the log, or versions of a stream, are not there
      swapped     two events stand each in the place of the other
      moved       an event stands elsewhere than it was written
      inserted    an event was put in
      broken      the log's digest does not go on, and nothing simpler explains it
      malformed   an event holds what no append accepts
      unreadable  events cannot be read
      end         the log does not end where its head says, or what is kept of it
      index       an index, or the engine's file; the events may all be whole

    The last lines tell what was read, which log it is, and its head. Keep these elsewhere: whoever
    computes the whole chain anew is found only against them. Exits with 1 when anything is found.

    \b
    Examples:
      backstory verify
      backstory verify --after 120000 --store sqlite:///story.db
      backstory verify --json | jq '.damage[] | {what, position, evidence}'
    """  # noqa: D301 - \b keeps click from wrapping
    begun = time.monotonic()
    verification = run(partial(_verify, store, after_position))
    seconds = time.monotonic() - begun
    if as_json:
        is_whole = {"is_whole": verification.is_whole}
        print_json({**is_whole, **msgspec.to_builtins(verification), "seconds": seconds})
    else:
        print_damage(verification.damage, verification.damage_count, limit=limit)
        _print_summary(verification, seconds)
    if not verification.is_whole:
        context.exit(_FAILED)


async def _verify(url: str, after_position: int) -> Verification:
    async with inspected(open_store(url, read_only=True)) as store:
        with progress("verifying", await last_position(store)) as advance:
            return await verify_store(store, after_position=after_position, on_progress=advance)


def _print_summary(verification: Verification, seconds: float) -> None:
    found = verification
    behind = f" behind position {found.after_position}" if found.after_position else ""
    print_line(
        f"{found.event_count:,} events of {found.stream_count:,} streams, {found.size_bytes:,} "
        f"bytes, up to position {found.until_position}{behind}, in {seconds:.1f} s "
        f"({found.event_count / max(seconds, 0.001):,.0f} events a second)"
    )
    if found.undigested_count:
        print_line(
            f"{found.undigested_count:,} of them are from before schema 3 and have no digest of "
            "their own; they were judged together"
        )
    if not found.has_kept_head:
        print_line("no head is kept beside the log: whether it has lost its end cannot be told")
    print_line(
        f"log {printable(found.incarnation) or 'unknown'}, position {found.until_position}, digest "
        f"{found.digest or 'unknown'}"
    )
    count = found.damage_count
    print_line("nothing is wrong" if found.is_whole else f"damaged: {count:,} found")
