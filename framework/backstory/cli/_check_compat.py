"""`backstory check-compat`: whether today's classes still read what is stored."""

from collections.abc import Sequence
from functools import partial

import click
import msgspec

from backstory._aggregate import Aggregate
from backstory.cli._help import EPILOG
from backstory.cli._modules import import_classes, import_option
from backstory.cli._output import print_json, print_line, printable
from backstory.cli._progress import progress
from backstory.cli._session import json_option, open_store, run, store_option
from backstory.operations._compatibility import CompatibilityReport, check_compatibility
from backstory.operations._folding import AggregateFinding
from backstory.operations._kind import CompatibilityFinding, Verdict

_FAILED = 1


@click.command(
    "check-compat", short_help="Check that today's classes read what is stored.", epilog=EPILOG
)
@click.option("--strict", is_flag=True, help="Fail also on what is unknown, newer or lost.")
@import_option
@store_option
@json_option
@click.pass_context
def check_compat(
    context: click.Context, *, strict: bool, modules: tuple[str, ...], store: str, as_json: bool
) -> None:
    """Read all that is stored by the classes of today, and tell what breaks; writes nothing.

    Every event is decoded, through its upcasters. Of each shape of data (its keys, and the kinds of
    their values) one event is compared with what its class keeps. A line holds the verdict, type,
    schema version, number of events, and the place of the first:

    \b
      reads    the class reads and keeps all of it
      fills    it fills a field that is not stored with its default
      loses    it drops a field that is stored
      unknown  there is no class for the type
      newer    stored in a newer schema version than the class's
      breaks   cannot be decoded
      fails    an aggregate cannot be loaded from its stream

    The classes are those of installed packages (entry point group `backstory.aggregates`) and of
    the modules named with --import. Exits with 1 where something breaks or fails.

    \b
    Examples:
      backstory check-compat
      backstory check-compat --import shop.orders --import shop.billing --strict
      backstory check-compat --json | jq '.findings[] | select(.verdict == "breaks")'
    """  # noqa: D301 - \b keeps click from wrapping
    aggregates = list(import_classes(modules).values())
    report = run(partial(_check, store, aggregates))
    if as_json:
        print_json({**msgspec.to_builtins(report), "breaks": report.breaks})
    else:
        _print_report(report)
    suspect = report.has(Verdict.UNKNOWN, Verdict.NEWER, Verdict.LOSES)
    if report.breaks or (strict and suspect):
        context.exit(_FAILED)


async def _check(url: str, aggregates: Sequence[type[Aggregate]]) -> CompatibilityReport:
    async with open_store(url, read_only=True) as store:
        with progress("checking", await store.head()) as advance:
            return await check_compatibility(store, aggregates=aggregates, on_progress=advance)


def _print_report(report: CompatibilityReport) -> None:
    for finding in report.findings:
        print_line(_finding_line(finding))
    for failure in report.aggregate_findings:
        print_line(_failure_line(failure))
    print_line(
        f"{report.event_count:,} events and {report.shape_count:,} shapes up to position "
        f"{report.until_position}; aggregates were folded along {report.folded_stream_count:,} "
        "streams"
    )
    if report.categories_without_class:
        names = ", ".join(map(printable, report.categories_without_class))
        print_line(f"not checked: loading what is in {names}, which no class is known for")
    if report.uncompared_count:
        print_line(
            f"not checked: what is lost of {report.uncompared_count:,} events, whose types have "
            "too many shapes"
        )


def _finding_line(finding: CompatibilityFinding) -> str:
    subject = f"  {printable(finding.subject)}" if finding.subject else ""
    return f"{finding.verdict.value:<8} {_place(finding)}{subject}"


def _failure_line(failure: AggregateFinding) -> str:
    return f"fails    {_place(failure)}  {printable(failure.category)}: {printable(failure.reason)}"


def _place(found: CompatibilityFinding | AggregateFinding) -> str:
    return (
        f"{printable(found.event_type)} v{found.schema_version}  {found.event_count:,} events, "
        f"first at {found.position}: {printable(found.stream_id)} {found.version}"
    )
