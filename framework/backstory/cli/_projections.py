"""`backstory projections`: how the projections of a store are doing, and orders to them."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import click
import msgspec

from backstory._orders import Order, OrderKind
from backstory._parking import ParkedEvent
from backstory._projections import ProjectionInfo, Projections
from backstory._registry import ProjectorState
from backstory.cli._help import EPILOG
from backstory.cli._order import (
    Outcome,
    carry_out,
    confirm,
    look,
    report,
    wait_option,
    yes_option,
)
from backstory.cli._output import print_fields, print_json, print_line, print_table, printable
from backstory.cli._parked import parked_line
from backstory.cli._progress import Advance, progress
from backstory.cli._session import json_option, open_store, run, store_option

_PARKED_COUNT: Final = 10
"""Parked events that `show` prints."""
_COLUMNS: Final = (
    *("projection", "state", "position", "lag", "seconds", "parked", "orders"),
    *("read model", "revision"),
)


@click.group(short_help="See how projections are doing, and direct them.", epilog=EPILOG)
def projections() -> None:
    """See how the projections of a store are doing, pause them, and have them built anew.

    Every projection is known that has run on the store, whether a program runs it now or not. What
    it is told is kept in the store: a program that runs it, in whatever process, finds it there
    within about a second, and one that is started later finds it then.

    \b
    Examples:
      backstory projections list
      backstory projections rebuild task-history --wait 60
    """  # noqa: D301 - \b keeps click from wrapping


@projections.command("list", short_help="List the projections.", epilog=EPILOG)
@store_option
@json_option
def list_all(*, store: str, as_json: bool) -> None:
    """List the projections that have run on the store, by name.

    A line holds what the projector does, as it last noted it, and how far a rebuild is; of one that
    was killed, after 15 seconds, that it is not heard of. Then up to where it has come, and how far
    the log is beyond that, in positions and in seconds since the first event there; the streams
    that wait behind an event that could not be handled; the orders that have not been carried out;
    where the read model is, and the revision of its class.

    \b
    Examples:
      backstory projections list
      backstory projections list --json | jq 'select(.is_healthy | not).name'
    """  # noqa: D301 - \b keeps click from wrapping
    infos = run(partial(_list, store))
    if as_json:
        for info in infos:
            print_json(_named(info))
        return
    empty = "no projection has run on this store"
    print_table("projections", _COLUMNS, map(_row, infos), empty=empty)


async def _list(url: str) -> list[ProjectionInfo]:
    async with open_store(url, read_only=True) as store:
        return await Projections(store).list_all()


def _named(info: ProjectionInfo) -> dict[str, Any]:
    return {**msgspec.to_builtins(info), "is_healthy": info.is_healthy}


def _row(info: ProjectionInfo) -> tuple[object, ...]:
    return (
        *(info.name, _state(info), info.position, info.lag, round(info.lag_seconds, 1)),
        *(info.parked_count, info.order_count, _place(info), info.revision),
    )


def _state(info: ProjectionInfo) -> str:
    is_pausing = info.state is ProjectorState.PAUSED and not info.is_stale
    wish = f", is to {'pause' if info.is_paused else 'go on'}"
    return f"{_doing(info)}{'' if info.is_paused == is_pausing else wish}"


def _doing(info: ProjectionInfo) -> str:
    """Return what a projector does, or since when nobody knows."""
    if info.is_stale or info.state is None:
        return f"not heard of{f' since {_time(info.noted_at)}' if info.noted_at else ''}"
    if info.building_position is None:
        return info.state.value
    head = info.position + info.lag
    return f"{info.state.value}, a rebuild is at {info.building_position:,} of {head:,}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _place(info: ProjectionInfo) -> str:
    return "in tables" if info.is_in_tables else "in memory"


@projections.command(short_help="Show one projection.", epilog=EPILOG)
@click.argument("name")
@store_option
@json_option
def show(*, name: str, store: str, as_json: bool) -> None:
    """Show the projection NAME: what `list` says, who keeps it, what waits, and what is parked.

    The owner is the machine and the process that keep the read model, or were the last to do so. An
    order that waits has not been carried out yet.

    \b
    Examples:
      backstory projections show task-history
      backstory projections show task-history --json | jq .lag
    """  # noqa: D301 - \b keeps click from wrapping
    info, orders, parked = run(partial(_show, store, name))
    if as_json:
        print_json({**_named(info), "orders": orders})
        return
    fields = dict(zip(_COLUMNS[1:], _row(info)[1:], strict=True))
    noted = {} if info.noted_at is None else {"noted at": _time(info.noted_at)}
    owner = "nobody has said" if info.owner is None else info.owner
    print_fields(f"projection {info.name}", {**fields, "owner": owner, **noted})
    if info.error is not None:
        print_line(f"error   {printable(info.error)}")
    for order in orders:
        print_line(f"waits   {_order_words(order)}")
    _print_parked(info.name, parked)


async def _show(url: str, name: str) -> tuple[ProjectionInfo, list[Order], list[ParkedEvent]]:
    async with open_store(url, read_only=True) as store:
        known = Projections(store)
        return (
            *(await known.show(name), await known.waiting_orders(name)),
            await known.parked(name),
        )


def _order_words(order: Order) -> str:
    stream = f" {printable(order.stream_id)}" if order.stream_id else ""
    position = f" at position {order.position}" if order.position else ""
    return f"{order.kind.value}{stream}{position}"


def _print_parked(name: str, parked: Sequence[ParkedEvent]) -> None:
    for one in parked[:_PARKED_COUNT]:
        print_line(f"parked  {parked_line(one)}")
    if (more := len(parked) - _PARKED_COUNT) > 0:
        print_line(f"and {more:,} more: backstory parked list {printable(name)}")


@projections.command(short_help="Let a projection do nothing for now.", epilog=EPILOG)
@click.argument("name")
@store_option
@json_option
def pause(*, name: str, store: str, as_json: bool) -> None:
    """Let the projection NAME do nothing until it is resumed, also after a restart.

    It is a wish that is kept in the store; whoever runs the projection finds it there within about
    a second. The read model is still read, as it is.

    \b
    Examples:
      backstory projections pause task-history
      backstory projections pause task-history --store sqlite:///story.db
    """  # noqa: D301 - \b keeps click from wrapping
    run(partial(_set_paused, store, name, is_paused=True))
    _print_paused(name, is_paused=True, as_json=as_json)


@projections.command(short_help="Let a paused projection go on.", epilog=EPILOG)
@click.argument("name")
@store_option
@json_option
def resume(*, name: str, store: str, as_json: bool) -> None:
    """Let the projection NAME go on from where it was paused.

    \b
    Examples:
      backstory projections resume task-history
      backstory projections resume task-history --store sqlite:///story.db
    """  # noqa: D301 - \b keeps click from wrapping
    run(partial(_set_paused, store, name, is_paused=False))
    _print_paused(name, is_paused=False, as_json=as_json)


async def _set_paused(url: str, name: str, *, is_paused: bool) -> None:
    await look(url, name)  # before anything is written, or created
    async with open_store(url, read_only=False) as store:
        known = Projections(store)
        await (known.pause(name) if is_paused else known.resume(name))


def _print_paused(name: str, *, is_paused: bool, as_json: bool) -> None:
    if as_json:
        print_json({"projection": name, "is_paused": is_paused})
    else:
        wish = "pause" if is_paused else "go on"
        print_line(f"{printable(name)}: is to {wish}; a program that runs it looks every second")


@projections.command(short_help="Build a read model anew, beside the old one.", epilog=EPILOG)
@click.argument("name")
@wait_option
@store_option
@json_option
def rebuild(*, name: str, wait_seconds: float, store: str, as_json: bool) -> None:
    """Build the read model of NAME anew from the first event, beside the one that serves.

    The old one serves until the new one has come as far, and then the new one takes its place. This
    gives the order; a program that runs the projection carries it out. With --wait, the exit code
    says whether that is done; on a terminal a bar shows how far it is.

    \b
    Examples:
      backstory projections rebuild task-history
      backstory projections rebuild task-history --wait 600
    """  # noqa: D301 - \b keeps click from wrapping
    done = f"{printable(name)}: is rebuilt"
    is_shown = bool(wait_seconds) and not as_json
    outcome = run(partial(_rebuild, store, name, wait_seconds, is_shown=is_shown))
    report(outcome, done, wait_seconds=wait_seconds, as_json=as_json)


@projections.command(short_help="Drop a read model, and begin anew.", epilog=EPILOG)
@click.argument("name")
@yes_option
@wait_option
@store_option
@json_option
def reset(*, name: str, is_sure: bool, wait_seconds: float, store: str, as_json: bool) -> None:
    """Drop the read model of NAME with all that is parked, and fold from the first event again.

    Until it has come to the end of the log, readers see the read model grow; `rebuild` keeps the
    old one until then. The events themselves are not touched. This gives the order; a program that
    runs the projection carries it out. It asks first; --yes answers.

    \b
    Examples:
      backstory projections reset task-history
      backstory projections reset task-history --yes --wait 10
    """  # noqa: D301 - \b keeps click from wrapping
    info = run(partial(look, store, name))
    confirm(
        f"Drop the read model of {printable(name)} ({_place(info)}, at position {info.position:,}) "
        "and fold it from the first event again?",
        is_sure=is_sure,
    )
    done = f"{printable(name)}: is reset, and folds from the first event"
    outcome = run(partial(_reset, store, name, wait_seconds))
    report(outcome, done, wait_seconds=wait_seconds, as_json=as_json)


async def _reset(url: str, name: str, wait_seconds: float) -> Outcome:
    async with open_store(url, read_only=False) as store:
        give = partial(Projections(store).reset, name)
        return await carry_out(store, name, OrderKind.RESET, give, wait_seconds=wait_seconds)


async def _rebuild(url: str, name: str, wait_seconds: float, *, is_shown: bool) -> Outcome:
    await look(url, name)  # before anything is written, or created
    async with open_store(url, read_only=False) as store:
        known, head = Projections(store), await store.head()
        with progress("rebuilding", head, is_wanted=is_shown) as advance:
            return await carry_out(
                *(store, name, OrderKind.REBUILD, partial(known.rebuild, name)),
                wait_seconds=wait_seconds,
                watch=advance and partial(_show_building, known, name, advance),
            )


async def _show_building(known: Projections, name: str, advance: Advance) -> None:
    position = (await known.show(name)).building_position
    if position is not None:
        advance(position)
