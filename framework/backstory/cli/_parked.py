"""`backstory parked`: the events that projections could not handle, and what becomes of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import click
import msgspec
from msgspec import Struct

from backstory._orders import OrderKind
from backstory._parking import ParkedEvent
from backstory._projections import Projections
from backstory._recorded import RecordedEvent
from backstory._store import EventStore
from backstory.cli._event import print_whole
from backstory.cli._help import EPILOG
from backstory.cli._order import (
    Outcome,
    carry_out,
    confirm,
    report,
    wait_option,
    yes_option,
)
from backstory.cli._output import print_fields, print_json, print_line, print_table, printable
from backstory.cli._session import json_option, open_store, run, store_option

_FAILED: Final = 1
_NAMED_COUNT: Final = 3
"""Streams that an error names, of those that are parked."""
_COLUMNS: Final = (
    *("projection", "stream", "version", "position", "type", "attempts", "parked at", "reason"),
)


@click.group(short_help="Deal with events that could not be handled.", epilog=EPILOG)
def parked() -> None:
    """List, show, retry and discard the events that projections could not handle.

    An event that a handler fails on, also when it is tried again, is parked: it waits with the
    later events of its stream, and all others go on. Nothing is left out until somebody says so.

    \b
    Examples:
      backstory parked list
      backstory parked retry task-history task-write-docs --wait 10
    """  # noqa: D301 - \b keeps click from wrapping


@parked.command("list", short_help="List the parked events.", epilog=EPILOG)
@click.argument("name", required=False)
@store_option
@json_option
def list_all(*, name: str | None, store: str, as_json: bool) -> None:
    """List the parked events of the projection NAME, or of all, in the order of the log.

    Of each stream it is the first one that waits; the later ones wait behind it.

    \b
    Examples:
      backstory parked list
      backstory parked list task-history --json | jq -r .stream_id
    """  # noqa: D301 - \b keeps click from wrapping
    found = run(partial(_list, store, name))
    if as_json:
        for projection, one in found:
            print_json({"projection": projection, **msgspec.to_builtins(one)})
        return
    rows = [_row(projection, one) for projection, one in found]
    print_table("parked events", _COLUMNS, rows, empty="nothing is parked")


async def _list(url: str, name: str | None) -> list[tuple[str, ParkedEvent]]:
    async with open_store(url, read_only=True) as store:
        known = Projections(store)
        infos = await known.list_all() if name is None else [await known.show(name)]
        return [(info.name, one) for info in infos for one in await known.parked(info.name)]


def _row(projection: str, one: ParkedEvent) -> tuple[object, ...]:
    return (
        *(projection, one.stream_id, one.version, one.position, one.event_type),
        *(one.attempt_count, _time(one), one.reason),
    )


def _time(one: ParkedEvent) -> str:
    return f"{one.parked_at:%Y-%m-%d %H:%M:%S}"


def parked_line(one: ParkedEvent) -> str:
    """Return a parked event as one line: position, stream, version, type, reason."""
    place = f"{one.position} {printable(one.stream_id)} {one.version}"
    return f"{place}  {printable(one.event_type)}  {printable(one.reason)}"


class _Case(Struct, frozen=True):
    """A parked event with what was read about it."""

    parked: ParkedEvent
    waiting_count: int
    """The later events of its stream."""
    event: RecordedEvent | None
    """The event itself; None where this log does not have it."""


@parked.command(short_help="Show a parked event whole, and why it waits.", epilog=EPILOG)
@click.argument("name")
@click.argument("stream")
@store_option
@json_option
def show(*, name: str, stream: str, store: str, as_json: bool) -> None:
    """Show the event that holds up STREAM in the projection NAME, and why.

    First what the handler raised the last time, how often the event was tried, and how many later
    events of the stream wait behind it; then the event itself, as `backstory event` prints it.

    \b
    Examples:
      backstory parked show task-history task-write-docs
      backstory parked show task-history task-write-docs --json | jq .event.data
    """  # noqa: D301 - \b keeps click from wrapping
    case = run(partial(_show, store, name, stream))
    if as_json:
        event = None if case.event is None else msgspec.Raw(case.event.to_json())
        fields = {**msgspec.to_builtins(case.parked), "waiting_count": case.waiting_count}
        print_json({"projection": name, **fields, "event": event})
    else:
        _print_case(name, case)


async def _show(url: str, name: str, stream_id: str) -> _Case:
    async with open_store(url, read_only=True) as store:
        found = await _find(Projections(store), name, stream_id)
        version = found.version
        async for last in store.read_stream(stream_id, backward=True, limit=1):
            version = max(version, last.version)
        event = await store.read_event(found.event_id)
        return _Case(found, version - found.version, event)


def _print_case(name: str, case: _Case) -> None:
    fields: dict[str, Any] = {
        "reason": case.parked.reason,
        "attempts": case.parked.attempt_count,
        "parked at": _time(case.parked),
        "events behind it": case.waiting_count,
    }
    print_fields(f"{case.parked.stream_id}, parked in {name}", fields)
    if case.event is None:
        print_line(f"the log has no event {printable(case.parked.event_id)}")
        return
    print_whole(case.event)
    print_line(f"its causes and effects: backstory event @{case.parked.position}")


@parked.command(short_help="Try what waits of a stream again.", epilog=EPILOG)
@click.argument("name")
@click.argument("stream")
@wait_option
@store_option
@json_option
@click.pass_context
def retry(
    context: click.Context,
    *,
    name: str,
    stream: str,
    wait_seconds: float,
    store: str,
    as_json: bool,
) -> None:
    """Try what waits of STREAM in the projection NAME again, in its order.

    What fails again is parked again, from there on. This gives the order; a program that runs the
    projection carries it out, so first let one run whose handler is mended. With --wait, it exits
    with 0 when nothing of the stream waits any more.

    \b
    Examples:
      backstory parked retry task-history task-write-docs --wait 10
      backstory parked retry task-history task-write-docs --json
    """  # noqa: D301 - \b keeps click from wrapping
    outcome, still = run(partial(_retry, store, name, stream, wait_seconds))
    if outcome.is_done and still is not None and not as_json:
        raise click.ClickException(f"{printable(name)}: parked again: {parked_line(still)}")
    done = f"{printable(name)}: nothing of {printable(stream)} waits any more"
    _report(outcome, done, stream, still, wait_seconds=wait_seconds, as_json=as_json)
    if outcome.is_done and still is not None:
        context.exit(_FAILED)


async def _retry(
    url: str, name: str, stream_id: str, wait_seconds: float
) -> tuple[Outcome, ParkedEvent | None]:
    await _look(url, name, stream_id)  # before anything is written, or created
    async with open_store(url, read_only=False) as store:
        give = partial(Projections(store).retry, name, stream_id)
        outcome = await carry_out(store, name, OrderKind.RETRY, give, wait_seconds=wait_seconds)
        return outcome, await _still(store, name, stream_id)


@parked.command(short_help="Leave a parked event out for good.", epilog=EPILOG)
@click.argument("name")
@click.argument("stream")
@click.option(
    "--position",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the event at this position; fail when another one holds up the stream.",
)
@yes_option
@wait_option
@store_option
@json_option
def discard(
    *,
    name: str,
    stream: str,
    position: int | None,
    is_sure: bool,
    wait_seconds: float,
    store: str,
    as_json: bool,
) -> None:
    """Leave the event that holds up STREAM out of the projection NAME, and try those behind it.

    The event stays in the log; this read model alone goes without it, until it is built anew. This
    gives the order; a program that runs the projection carries it out. It asks first; --yes
    answers, and --position says which event that is about.

    \b
    Examples:
      backstory parked discard task-history task-write-docs
      backstory parked discard task-history task-write-docs --position 14 --yes --wait 10
    """  # noqa: D301 - \b keeps click from wrapping
    found = run(partial(_look, store, name, stream))
    _check_meant(found, position)
    question = f"Leave {parked_line(found)} out of {printable(name)} for good?"
    confirm(question, is_sure=is_sure)
    outcome, still = run(partial(leave_out, store, name, found, wait_seconds))
    place = f"{printable(stream)} {found.version}"
    more = "" if still is None else f"; now parked is {parked_line(still)}"
    done = f"{printable(name)}: {place} is left out{more}"
    _report(outcome, done, stream, still, wait_seconds=wait_seconds, as_json=as_json)


async def leave_out(
    url: str, name: str, meant: ParkedEvent, wait_seconds: float
) -> tuple[Outcome, ParkedEvent | None]:
    """Discard a parked event, and return what became of that, and what holds up its stream then.

    Raises:
        ClickException: Another event holds up the stream by now, which nobody was asked about.
    """
    async with open_store(url, read_only=False) as store:
        known = Projections(store)
        _check_meant(await _find(known, name, meant.stream_id), meant.position)
        give = partial(known.discard, name, meant.stream_id, position=meant.position)
        outcome = await carry_out(store, name, OrderKind.DISCARD, give, wait_seconds=wait_seconds)
        return outcome, await _still(store, name, meant.stream_id)


def _check_meant(found: ParkedEvent, position: int | None) -> None:
    if position not in (None, found.position):
        raise click.ClickException(
            f"another event holds up the stream now: {parked_line(found)}; nothing was done"
        )


def _report(
    outcome: Outcome,
    done: str,
    stream_id: str,
    still: ParkedEvent | None,
    *,
    wait_seconds: float,
    as_json: bool,
) -> None:
    further = {"stream_id": stream_id, "parked": still}
    report(outcome, done, wait_seconds=wait_seconds, as_json=as_json, **further)


async def _look(url: str, name: str, stream_id: str) -> ParkedEvent:
    async with open_store(url, read_only=True) as store:
        return await _find(Projections(store), name, stream_id)


async def _still(store: EventStore, name: str, stream_id: str) -> ParkedEvent | None:
    parked = await Projections(store).parked(name)
    return next((one for one in parked if one.stream_id == stream_id), None)


async def _find(known: Projections, name: str, stream_id: str) -> ParkedEvent:
    """Return what holds up a stream.

    Raises:
        ClickException: Nothing does; the error names what is parked.
        InvalidInputError: None of this name has run on the store.
    """
    streams = {one.stream_id: one for one in await known.parked(name)}
    if stream_id not in streams:
        raise click.ClickException(
            f"nothing of {printable(stream_id)} is parked in {printable(name)}; "
            f"{_others(name, [*streams])}"
        )
    return streams[stream_id]


def _others(name: str, streams: Sequence[str]) -> str:
    if not streams:
        return "nothing is"
    parked = ", ".join(map(printable, streams[:_NAMED_COUNT]))
    more = len(streams) - _NAMED_COUNT
    further = f" and {more:,} more" if more > 0 else ""
    return f"parked are {parked}{further}; `backstory parked list {printable(name)}` lists all"
