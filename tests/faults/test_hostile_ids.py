"""Hostile ids go through everything that takes one, and never reach what is another's."""

import json
import unicodedata
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import pytest
from click.testing import CliRunner, Result
from tests.conftest import Counted, Counter, Noted, drain, new_event, noted
from tests.faults.account import faults

from backstory import (
    ANY,
    AppendCondition,
    Backstory,
    Checkpoint,
    ConditionConflictError,
    EventStore,
    InvalidInputError,
    Metadata,
    Projection,
    on,
    stream_id_of,
    where,
)
from backstory.cli._main import backstory as program
from backstory.stores.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

IDS: Final = [
    *("../../etc/x", "a/b", "C:\\x", "con", "'; drop table events; --", '"', "%", "_", "?", "#"),
    *(".", "..", "*", ">", " ", "$SYS", "\r\n", "\u2028", "\u202eabc", "\ufeff", "-", "--help"),
    *("1", "10", "01", "A", "a", "\x1b[2J", "\\u0000", "${HOME}", "`id`", "{0}", "%s", "\t"),
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
]
"""Ids that hurt some system, each different from all others."""

REFUSED: Final = ["", "\0", "a\0b", "\ud800", "x" * 1_000_000]


class Sums(Projection):
    total_of: dict[str, int] = {}

    @on(Counted)
    def _counted(self, event: Counted, recorded: Any) -> None:
        self.total_of[recorded.id] = self.total_of.get(recorded.id, 0) + event.by


@pytest.mark.fault(24, without="the comparison of whole ids")
async def test_each_id_is_its_own_in_every_reader(store: EventStore) -> None:
    async with Backstory(store, projections=[Sums]) as story:
        for number, id in enumerate(IDS, 1):
            await story.using(tags=[id], actor=id).execute(Counter.count, id, number)
            faults.count()

        model = await story.read_model(Sums)
        assert model.total_of == {id: number for number, id in enumerate(IDS, 1)}
        for number, id in enumerate(IDS, 1):
            assert (await story.load(Counter, id)).total == number
            for condition in (
                where(streams=[stream_id_of("counter", id)]),
                where(tags=[id]),
                where(actor=id),
                where(streams=[f"counter-{id}"], tags=[id], actor=id, types=[Counted]),
            ):
                found = [recorded async for recorded in story.replay(where=condition)]
                assert [recorded.id for recorded in found] == [id]
                async with story.subscribe(where=condition) as subscription:
                    assert (await anext(subscription)).id == id


@pytest.mark.fault(24, without="the comparison of whole tags")
async def test_condition_on_one_id_is_not_met_by_another(store: EventStore) -> None:
    for id in IDS:
        tagged = new_event(metadata=Metadata(tags=(id,)))
        condition = AppendCondition(where(tags=[id]), 0)
        await store.append("seat-1", [tagged], expected_version=ANY, condition=condition)
        faults.count()

        again = new_event(metadata=Metadata(tags=(id,)))
        with pytest.raises(ConditionConflictError):
            await store.append("seat-1", [again], expected_version=ANY, condition=condition)


@pytest.mark.fault(24, without="the hash in the names of owners' files")
async def test_owner_of_a_hostile_name_owns_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    path = folder / "story.db"

    async with SQLiteStore(path) as one, SQLiteStore(path) as other:
        for name in IDS:
            faults.count()
            assert not await other.try_own(name) or not await one.try_own(name)
        for name in (*IDS, *("x" * 200 for _ in range(1))):
            assert await one.try_own(name) != await other.try_own(name)

    assert [entry.name for entry in tmp_path.iterdir()] == ["inside"]  # noqa: ASYNC240 - it is small


@pytest.mark.fault(24, without="the limits of texts")
@pytest.mark.parametrize("id", REFUSED, ids=range(len(REFUSED)))
async def test_unfit_id_is_refused_alike_by_every_reader(store: EventStore, id: str) -> None:
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: drain(store.read_log(where=where(streams=[f"task-{id}"]))),
        lambda: drain(store.read_log(where=where(tags=[id]))),
        lambda: store.read_event(id),
        lambda: drain(store.read_causes(id)),
        lambda: drain(store.read_effects(id)),
        lambda: store.save_checkpoint(Checkpoint(id, 1, "f", b"{}")),
        lambda: store.append(f"task-{id}", noted("a"), expected_version=ANY),
    )

    for call in calls:
        faults.count()
        with pytest.raises(InvalidInputError):
            await call()
    async with Backstory(store) as story:
        commands: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: story.using(actor=id).execute(Counter.count, "1"),
            lambda: story.using(correlation_id=id).execute(Counter.count, "1"),
            lambda: story.using(idempotency_key=id).execute(Counter.count, "1"),
            lambda: story.using(tags=[id]).execute(Counter.count, "1"),
            lambda: story.execute(Counter.count, id),
        )
        for command in commands:
            faults.count()
            with pytest.raises(InvalidInputError):
                await command()

    assert await store.head() == 0


async def run(path: Path, command: str, *arguments: str) -> Result:
    """Run the program, in a thread, since it has an event loop of its own."""
    line = [command, "--store", f"sqlite:///{path}", *arguments]
    return await anyio.to_thread.run_sync(CliRunner().invoke, program, line)


@pytest.mark.fault(24, without="the comparison of whole ids")
async def test_command_line_shows_each_id_as_its_own(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    async with SQLiteStore(path) as store:
        for id in IDS:
            await store.append(f"note-{id}", noted(id), expected_version=0)

    for position, id in enumerate(IDS, 1):
        faults.count()
        shown = await run(path, "stream", "--json", f"note-{id}")

        assert shown.exit_code == 0, shown.output
        (line,) = shown.stdout.split("\n")[:-1]
        assert json.loads(line)["stream_id"] == f"note-{id}"
        assert json.loads(line)["position"] == position
        assert json.loads(line)["data"] == {"text": id}


@pytest.mark.fault(24, without="the escape of what a terminal obeys")
async def test_command_line_sends_no_control_character_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "story.db"
    evil = "\x1b[2J\x9b31m\x07\x08\r\u202e"
    async with SQLiteStore(path) as store:
        metadata = Metadata(actor=evil, tags=(evil,), correlation_id=evil)
        event = new_event(Noted(text=evil), metadata=metadata)
        await store.append(f"note-{evil}", [event], expected_version=0)

    for arguments in (["log"], ["streams"], ["stream", f"note-{evil}"], ["event", event.event_id]):
        faults.count()
        shown = await run(path, *arguments)

        assert shown.exit_code == 0, shown.output
        assert not {"\x1b", "\x9b", "\x07", "\x08", "\r"} & set(shown.output), arguments
