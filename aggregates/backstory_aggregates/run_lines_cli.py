"""`backstory import` and `backstory export`: recorded runs into a store, and out of it again."""

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
from typing import BinaryIO, Final, cast

import click
import msgspec

from backstory import EventStore
from backstory.cli import json_option, open_store, print_json, print_line, run, store_option
from backstory_aggregates.run_lines import (
    ImportSummary,
    OnError,
    RunLineError,
    export_run_lines,
    import_run_lines,
    read_run_lines,
)

_GZIP_MAGIC: Final = b"\x1f\x8b"


@click.command("import", short_help="Import recorded runs.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What to do about a bad line.",
)
@store_option
@json_option
def import_(*, file: str, on_error: OnError, store: str, as_json: bool) -> None:
    """Append the run lines of FILE to the store as events; a dash stands for standard input.

    A file compressed with gzip is read as it is. What was imported before is not added twice, so
    after any interruption the same file is simply imported again. A gap in the numbers of a swarm
    always stops the import.

    \b
    Examples:
        backstory import runs.jsonl
        zcat runs-*.jsonl.gz | backstory import - --on-error skip
    """  # noqa: D301 - \b keeps click from wrapping
    summary, error = run(partial(_import, store, file, on_error))
    if as_json:
        print_json({**msgspec.to_builtins(summary), "error": error and str(error)})
    else:
        _print_summary(summary)
    if error is not None:
        raise error


async def _import(
    url: str, file: str, on_error: OnError
) -> tuple[ImportSummary, RunLineError | None]:
    async with open_store(url, read_only=False) as store:
        try:
            with _lines(file) as lines:
                return await import_run_lines(store, lines, on_error=on_error), None
        except RunLineError as error:
            return error.summary or ImportSummary(), error


def _print_summary(summary: ImportSummary) -> None:
    print_line(
        f"{summary.line_count:,} lines read: {summary.added_count:,} added, "
        f"{summary.present_count:,} there already, {summary.skipped_count:,} skipped"
    )
    for skipped in summary.skipped:
        click.echo(f"skipped line {skipped.line}: {skipped.reason}", err=True)
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


@click.command(short_help="Export recorded runs, or events.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["run-lines", "events"]),
    default="run-lines",
    show_default=True,
    help="Run lines, for another store; or events with all that the store has of them.",
)
@click.option("--until", type=click.IntRange(0), help="Only up to this position.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write this file, compressed where it ends with .gz; standard output by default.",
)
@store_option
def export(*, form: str, until: int | None, output: Path | None, store: str) -> None:
    """Write the events of the store, one JSON object a line, in the order of the log.

    As run lines, what was imported comes back as it was. Other events of agents, tasks, memories
    and swarms get the number behind the last one of their swarm; what belongs to no swarm is left
    out, and its count is said. As events, everything of every kind is written.

    \b
    Examples:
        backstory export -o runs.jsonl.gz
        backstory export --format events | jq .type
    """  # noqa: D301 - \b keeps click from wrapping
    run(partial(_export, store, form, until, output))


async def _export(url: str, form: str, until: int | None, output: Path | None) -> None:
    write_lines = _write_run_lines if form == "run-lines" else _write_events
    async with open_store(url, read_only=True) as store:
        with _target(output) as target:
            await write_lines(store, until, target)


async def _write_run_lines(store: EventStore, until: int | None, target: BinaryIO) -> None:
    lines = export_run_lines(store, until_position=until)
    await _write(lines.__aiter__(), target)
    if lines.left_out_count:
        click.echo(f"left out {lines.left_out_count:,} events that are no run lines", err=True)
    if lines.stray_count:
        click.echo(
            f"{lines.stray_count:,} lines do not follow the one before in their swarm, and an "
            "import would stop there",
            err=True,
        )


async def _write_events(store: EventStore, until: int | None, target: BinaryIO) -> None:
    events = store.read_log(until_position=until)
    await _write((recorded.to_json() + b"\n" async for recorded in events), target)


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
