"""`backstory import` and `backstory export`: recorded runs or events, into a store and out."""

import gzip
import io
import os
import signal
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar, cast

import click
import msgspec
from msgspec import Struct

from backstory import EventFilter, EventStore, where
from backstory.cli import (
    EPILOG,
    decode_options,
    json_option,
    open_store,
    prepare_decoding,
    print_json,
    print_line,
    printable,
    run,
    store_option,
)
from backstory.operations import (
    BadEventLineError,
    EventImportSummary,
    export_events,
    import_events,
)
from backstory_aggregates.run_lines import (
    ImportSummary,
    OnError,
    RunLineError,
    export_run_lines,
    import_run_lines,
    read_run_lines,
)
from backstory_aggregates.run_lines._plan import CATEGORIES

F = TypeVar("F", bound=Callable[..., Any])

_GZIP_MAGIC: Final = b"\x1f\x8b"
_Summary = ImportSummary | EventImportSummary


def _format_option(command: F) -> F:
    return click.option(
        "--format",
        "form",
        type=click.Choice(["runs", "events"]),
        default="runs",
        help="Recorded runs of agent systems, or events with all that a store has of them.",
    )(command)


@click.command("import", short_help="Import recorded runs, or events.", epilog=EPILOG)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    help="What to do about a bad line; a skipped one is named on standard error.",
)
@_format_option
@store_option
@json_option
def import_(*, file: str, on_error: OnError, form: str, store: str, as_json: bool) -> None:
    """Append the lines of FILE to the store as events; a dash stands for standard input.

    A file compressed with gzip is read as it is. Up to 500 lines are appended at a time, all or
    none. What was imported before is not added twice, so after any interruption the same file is
    simply imported again.

    As runs, each line becomes an event of an agent, a task, a memory or a swarm; a gap in the
    numbers of a swarm always stops the import. As events, each line is appended as the event that
    `backstory export --format events` wrote: with its id, stream, version, type, schema version,
    metadata and data, whether the type is known here or not. Position and time are the store's own.

    \b
    Examples:
      backstory import runs.jsonl
      backstory import events.jsonl.gz --format events --store sqlite:///copy.db
      zcat runs-*.jsonl.gz | backstory import - --on-error skip
    """  # noqa: D301 - \b keeps click from wrapping
    summary, error = run(partial(_import, store, file, form, on_error))
    if as_json:
        print_json({**msgspec.to_builtins(summary), "error": error and str(error)})
    else:
        _print_summary(summary)
    if error is not None:
        raise error


async def _import(
    url: str, file: str, form: str, on_error: OnError
) -> tuple[_Summary, RunLineError | BadEventLineError | None]:
    import_lines = import_run_lines if form == "runs" else import_events
    async with open_store(url, read_only=False) as store:
        try:
            with _lines(file) as lines:
                return await import_lines(store, lines, on_error=on_error), None
        except (RunLineError, BadEventLineError) as error:
            return error.summary or ImportSummary(), error


def _print_summary(summary: _Summary) -> None:
    print_line(
        f"{summary.line_count:,} lines read: {summary.added_count:,} added, "
        f"{summary.present_count:,} there already, {summary.skipped_count:,} skipped"
    )
    for skipped in summary.skipped:
        click.echo(f"skipped line {skipped.line}: {printable(skipped.reason)}", err=True)
    if unnamed := summary.skipped_count - len(summary.skipped):
        click.echo(f"skipped {unnamed:,} lines more", err=True)


@contextmanager
def _lines(file: str) -> Generator[Iterable[bytes]]:
    """Open a file of lines, and show on a terminal how far it is read."""
    with _interruptible(), click.open_file(file, "rb") as opened:
        buffered = io.BufferedReader(cast("io.RawIOBase", opened))
        try:
            is_compressed = buffered.peek(2)[:2] == _GZIP_MAGIC
            source = gzip.GzipFile(fileobj=buffered) if is_compressed else buffered
            with _progress(buffered.tell, file) as advance:
                yield _watched(cast("BinaryIO", source), file, advance)
        finally:
            # Standard input is not ours to close.
            buffered.detach()


@contextmanager
def _interruptible() -> Generator[None]:
    """Let Ctrl-C end a read that waits: the event loop's own handler cancels only what awaits."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _watched(source: BinaryIO, file: str, advance: Callable[[], None]) -> Iterator[bytes]:
    try:
        for line in read_run_lines(source):
            yield line
            advance()
    except (OSError, EOFError, zlib.error) as error:
        raise click.ClickException(f"cannot read {file}: {error}") from error


@contextmanager
def _progress(tell: Callable[[], int], file: str) -> Generator[Callable[[], None]]:
    if file == "-" or not sys.stderr.isatty():
        yield lambda: None
        return
    size = Path(file).stat().st_size
    with click.progressbar(length=size, label="importing", file=sys.stderr) as bar:
        yield lambda: bar.update(tell() - bar.pos)


@click.command(short_help="Export recorded runs, or events.", epilog=EPILOG)
@_format_option
@click.option("--until", type=click.IntRange(0), help="Only up to this position.")
@click.option(
    "--category", "categories", multiple=True, help="Events only: of this category; repeatable."
)
@click.option("--type", "types", multiple=True, help="Events only: of this type; likewise.")
@decode_options
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write this file, compressed where it ends with .gz; otherwise standard output.",
)
@store_option
def export(
    *,
    form: str,
    until: int | None,
    categories: tuple[str, ...],
    types: tuple[str, ...],
    decode: bool,
    modules: tuple[str, ...],
    output: Path | None,
    store: str,
) -> None:
    """Write the events of the store, one JSON object a line, in the order of the log.

    As runs, what was imported comes back as it was. Other events of agents, tasks, memories and
    swarms get the number behind the last one of their swarm. What belongs to no swarm, is of a type
    that the format does not have, or of another category, is left out, and its count is said on
    standard error.

    As events, everything of every kind is written, as stored or, with --decode, as today's classes
    read it. `backstory import --format events` takes it. Streams are imported from their first
    event on: so choose by category, and by type only for other readers.

    \b
    Examples:
      backstory export -o runs.jsonl.gz
      backstory export --format events -o events.jsonl.gz
      backstory export --format events --category order --decode --import shop | jq .data
    """  # noqa: D301 - \b keeps click from wrapping
    if form == "runs" and (categories or types or decode):
        raise click.UsageError("--category, --type and --decode are for --format events")
    prepare_decoding(modules, decode=decode)
    wanted = where(categories=categories, types=types)
    asked = _Export(form, until, wanted, decode)
    run(partial(_export, store, asked, output))


class _Export(Struct, frozen=True):
    """What the call asks for."""

    form: str
    until: int | None
    wanted: EventFilter
    decode: bool


async def _export(url: str, asked: _Export, output: Path | None) -> None:
    write_lines = _write_run_lines if asked.form == "runs" else _write_events
    async with open_store(url, read_only=True) as store:
        with _target(output) as target:
            await write_lines(store, asked, target)


async def _write_run_lines(store: EventStore, asked: _Export, target: BinaryIO) -> None:
    lines = export_run_lines(store, until_position=asked.until)
    await _write(lines.__aiter__(), target)
    if lines.left_out_count:
        _say(f"left out {lines.left_out_count:,} events that are no run lines")
    if other_count := await _count_of_others(store, asked.until):
        _say(f"left out {other_count:,} events of other categories; see --format events")
    if lines.stray_count:
        _say(
            f"{lines.stray_count:,} lines do not follow the one before in their swarm, and an "
            "import would stop there"
        )


async def _count_of_others(store: EventStore, until: int | None) -> int:
    """Return how many events lie in categories that runs do not have."""
    counts = (await store.statistics()).events_by_category
    others = {name: count for name, count in counts.items() if name not in CATEGORIES}
    if until is None or not others:
        return sum(others.values())
    log = store.read_log(until_position=until)
    count = 0
    async for recorded in log:
        count += recorded.category in others
    return count


def _say(text: str) -> None:
    click.echo(text, err=True)


async def _write_events(store: EventStore, asked: _Export, target: BinaryIO) -> None:
    lines = export_events(
        store, until_position=asked.until, where=asked.wanted, decode=asked.decode
    )
    await _write(lines, target)


async def _write(lines: AsyncIterator[bytes], target: BinaryIO) -> None:
    async for line in lines:
        target.write(line)
    target.flush()


@contextmanager
def _target(output: Path | None) -> Generator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        return
    # Beside the file first, so that it is never there as a part.
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as raw:
            if output.suffix == ".gz":
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as compressed:
                    yield cast("BinaryIO", compressed)
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(output)
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
