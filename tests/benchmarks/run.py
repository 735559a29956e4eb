"""Speed, as ratios to what the same disk and the same tables allow.

    make bench                                a table
    make bench ARGS="--only appends --quick"  some rows, with less of everything
    make bench ARGS="--json out.json --plot out.png"
    make bench-peers                          beside other libraries, in an environment of its own
    make bench-growth                         a log of 10,000,000 events

What is measured on PostgreSQL runs on a server of its own, or on that of the URL in
BACKSTORY_TEST_POSTGRES_URL; where there is neither, it is left out, and that is said.

Ours and the other are run in turn, A B A B; what counts is the median of the ratios of the pairs,
with its spread. Absolute figures move with the machine and its neighbours, and only help to read
the ratios. What is in ours and in the other is said in docs/reference/benchmarks.md.
"""

import argparse
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import anyio
from tests.benchmarks import growth, page
from tests.benchmarks.bench import FULL, QUICK, Bench
from tests.benchmarks.group import Group
from tests.benchmarks.groups import GROUPS
from tests.benchmarks.machine import PACKAGES, machine
from tests.benchmarks.peers import comparison
from tests.benchmarks.plot import plot
from tests.benchmarks.report import Report, to_json
from tests.benchmarks.row import Result
from tests.benchmarks.table import print_report

PAIR_COUNT = 9
"""Odd, so that the median is one of them."""

BUILD = Path(__file__).parents[2] / "build"
"""Not the folder for temporary files, which may be in memory, where a sync costs nothing."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and say what came out."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.quick or options.growth):
        parser.error("--write writes the page from a whole run; leave out the other options")
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib, which the group `bench` of pyproject.toml has")
    report = anyio.run(_report, options)
    print_report(report)
    if options.json:
        options.json.write_bytes(to_json(report))
    if options.plot:
        plot(report, options.plot)
    if options.write:
        if options.peers:
            page.write("make bench-peers", report, comparison.ROWS)
        else:
            page.write("make bench", report, [row for group in GROUPS for row in group.rows])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure, and print ratios.")
    parser.add_argument(
        "--only", action="append", choices=[group.name for group in GROUPS], help="a group of rows"
    )
    parser.add_argument("--pairs", type=int, default=PAIR_COUNT, help="rounds of both in turn")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios")
    parser.add_argument("--write", action="store_true", help="write the page of the reference anew")
    parser.add_argument("--peers", action="store_true", help="beside other libraries")
    parser.add_argument(
        "--growth", type=int, metavar="EVENTS", help="only the rows of growth, to so many events"
    )
    parser.add_argument(
        "--folder", type=Path, default=BUILD, help="where files are made; a disk, not memory"
    )
    return parser


async def _report(options: argparse.Namespace) -> Report:
    options.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = Bench(
            Path(folder), scale=QUICK if options.quick else FULL, pair_count=options.pairs
        )
        if options.growth:
            results = await growth.measure(bench, long_count=options.growth)
        elif options.peers:
            results = await comparison.measure(bench)
        else:
            chosen = [one for one in GROUPS if not options.only or one.name in options.only]
            results = [result for group in chosen for result in await _measured(group, bench)]
    bench.say("")
    facts = machine(PACKAGES + comparison.PACKAGES if options.peers else PACKAGES)
    return Report(f"{datetime.now(UTC):%Y-%m-%d}", facts, options.pairs, results, bench.notes)


async def _measured(group: Group, bench: Bench) -> list[Result]:
    results = await group.measure(bench)
    measured = tuple(result.row for result in results)
    assert measured in (group.rows, ()), "the page lists the rows"
    return results


if __name__ == "__main__":
    main()
