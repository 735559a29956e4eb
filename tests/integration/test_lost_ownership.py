"""A store that loses what it owns while it runs: another may own it in between.

What the owner still wants to write is refused, and it begins again from what is kept.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS
from tests.integration.projecting import FORMS
from tests.integration.test_parking_in_doubt import Handler, handler, step
from tests.servers.postgres import PostgresServer

from backstory import Backstory, EventStore, Projections, StoreUnavailableError, store_of
from backstory._progress import Note, Progress
from backstory._snapshot import Checkpoint
from backstory.testing import Delay, FaultyStore, Verb

pytestmark = pytest.mark.anyio

__all__ = ["handler"]  # a fixture of its neighbour

OWNED = "steps"
NOTES = [Note("parked:steps", "a", b"{}", OWNED)]
PROGRESS = Progress(Checkpoint(OWNED, 1, "f", b"{}"))
OF_A_BUILD = Progress(Checkpoint(f"{OWNED} (building)", 1, "f", b"{}"), owner=OWNED)
WRITES: dict[str, Callable[[EventStore], Awaitable[None]]] = {
    "progress": lambda store: store.save_progress(PROGRESS),
    "progress of a build": lambda store: store.save_progress(OF_A_BUILD),
    "notes": lambda store: store.save_notes(*NOTES),
    "no checkpoint": lambda store: store.delete_checkpoint(OWNED),
}


@dataclass(frozen=True)
class Database:
    """A database of a server that can terminate sessions."""

    server: PostgresServer
    url: str

    async def lose_all(self) -> None:
        """Terminate the sessions that own something."""
        backends = await owning(self.server, self.url)
        assert await anyio.to_thread.run_sync(self.server.terminate, *backends)


@pytest.fixture
def database(postgres_server: PostgresServer, postgres_url: str) -> Database:
    """Return a new database."""
    return Database(postgres_server, postgres_url)


async def owning(server: PostgresServer, url: str) -> list[int]:
    """Return the backends that own something on a database, one for each thing owned."""
    # What is owned is a lock with one key; the turn to append has two, and a type in the second.
    rows = await anyio.to_thread.run_sync(
        partial(
            server.execute,
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            url=url,
        )
    )
    return [row["pid"] for row in rows]


@pytest.fixture
async def stores(database: Database) -> AsyncIterator[tuple[EventStore, EventStore]]:
    """Yield two stores on one log."""
    async with store_of(database.url) as ours, store_of(database.url) as theirs:
        yield ours, theirs


@pytest.mark.fault(2, store="postgres", without="the answer that a name was lost")
async def test_store_that_has_lost_a_name_says_so_once(
    stores: tuple[EventStore, EventStore], database: Database
) -> None:
    ours, theirs = stores
    assert await ours.try_own(OWNED)
    assert not await theirs.try_own(OWNED)

    await database.lose_all()

    assert not await ours.try_own(OWNED)
    assert await ours.try_own(OWNED)
    assert not await theirs.try_own(OWNED)


@pytest.mark.fault(20, "T7", store="postgres", without="the look at what was lost")
@pytest.mark.parametrize("what", WRITES)
async def test_what_an_owner_writes_is_refused_when_it_owns_no_more(
    stores: tuple[EventStore, EventStore],
    database: Database,
    what: str,
) -> None:
    ours, theirs = stores
    write = WRITES[what]
    assert await ours.try_own(OWNED)
    await write(ours)

    await database.lose_all()
    assert await theirs.try_own(OWNED)

    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            await write(ours)
    assert not await ours.try_own(OWNED)
    with pytest.raises(StoreUnavailableError, match="owned again"):
        await write(ours)
    await write(theirs)


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Any:
    """Return the projection in each form."""
    return FORMS[request.param]


async def read(story: Backstory, form: Any) -> dict[str, list[int]]:
    model = await story.read_model(form, timeout_seconds=DEADLINE_SECONDS)
    steps: dict[str, list[int]] = await model.read_steps()
    return steps


@pytest.mark.fault(18, 20, "T19", store="postgres", without="the answer that a name was lost")
async def test_owner_that_owns_again_knows_what_another_has_retried(
    stores: tuple[EventStore, EventStore],
    database: Database,
    form: Any,
    handler: Handler,
) -> None:
    """The other one comes, retries and ends while the first one asks whether it still owns."""
    ours, theirs = FaultyStore(stores[0]), stores[1]
    async with Backstory(ours, projections=[form]) as story:
        await step(ours, "walk-1", 1, 13, 2)
        assert await read(story, form) == {"walk-1": [1]}

        asking = ours.delay("try_own")
        await asking.wait_reached()
        await database.lose_all()
        handler.mend()
        async with Backstory(theirs, projections=[form]) as other:
            assert await other.projections.retry(form, "walk-1")
        await theirs.aclose()
        asking.release()
        await step(ours, "walk-1", 3)

        with anyio.fail_after(DEADLINE_SECONDS):
            while await read(story, form) != {"walk-1": [1, 13, 2, 3]}:
                await anyio.lowlevel.checkpoint()
        assert await story.projections.parked(form) == []


ORDERS = {
    "retry": {"walk-1": [1, 13, 2], "walk-2": [5]},
    "discard": {"walk-1": [1, 2], "walk-2": [5]},
    "rebuild": {"walk-1": [1, 13, 2], "walk-2": [5]},
    "reset": {"walk-1": [1, 13, 2], "walk-2": [5]},
}


WHERE = [
    *product(FORMS, ["retry", "discard", "rebuild"], ["put_progress", "put_notes"]),
    *product(FORMS, ["reset"], ["put_notes"]),
    *product(FORMS, ["rebuild"], ["drop_checkpoint"]),
    ("tables", "reset", "put_progress"),
    ("memory", "reset", "drop_checkpoint"),
]
"""What writes where."""


async def give(store: EventStore, form: Any, order: str) -> None:
    """Give an order from elsewhere, so that nothing of it is held."""
    stream = ["walk-1"] if order in ("retry", "discard") else []
    assert not await getattr(Projections(store), order)(form, *stream)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.fault(20, "T11", "T19", store="postgres", without="the look at what was lost")
@pytest.mark.parametrize(("name", "order", "verb"), WHERE)
async def test_order_that_is_cut_off_anywhere_is_carried_out_by_another(
    database: Database, handler: Handler, name: str, order: str, verb: Verb
) -> None:
    """The owner is held at its first, second … call, and goes on when it owns no more."""
    form = FORMS[name]
    for at in range(1, 20):
        handler.spoil()
        url = f"{database.url}?schema=story_{at}"
        async with store_of(url) as store, store_of(url) as theirs:
            ours = FaultyStore(store)
            async with Backstory(ours, projections=[form]) as story:
                await step(ours, "walk-1", 1, 13, 2)
                await step(ours, "walk-2", 5)
                assert await read(story, form) == {"walk-1": [1], "walk-2": [5]}
                handler.mend()
                held = ours.delay(verb, at=at)
                await give(theirs, form, order)
                if not await is_held(held, story, form):
                    held.release()
                    return

                await database.lose_all()
                async with Backstory(theirs, projections=[form]) as other:
                    await until_obeyed(other, form)
                    held.release()
                    await until_disowned(story, form)
                    await step(theirs, "walk-1", 3)
                    expected = ORDERS[order] | {"walk-1": [*ORDERS[order]["walk-1"], 3]}

                    assert await read(other, form) == expected
                    await until_read(story, form, expected)
                    assert await other.projections.parked(form) == []
            await check_tables(theirs)
    pytest.fail("it has no end")


async def is_held(held: Delay, story: Backstory, form: Any) -> bool:
    """Tell whether a call is held; else everything was obeyed without it."""
    outcome: list[bool] = []
    with anyio.fail_after(DEADLINE_SECONDS):
        async with anyio.create_task_group() as group:

            async def wait(what: Callable[[], Awaitable[None]], *, is_held: bool) -> None:
                await what()
                outcome.append(is_held)
                group.cancel_scope.cancel()

            group.start_soon(partial(wait, held.wait_reached, is_held=True))
            group.start_soon(partial(wait, partial(until_obeyed, story, form), is_held=False))
    return outcome[0]


async def until_obeyed(story: Backstory, form: Any) -> None:
    with anyio.fail_after(DEADLINE_SECONDS):
        while (await story.projections.show(form)).order_count:
            await anyio.lowlevel.checkpoint()


async def until_disowned(story: Backstory, form: Any) -> None:
    with anyio.fail_after(DEADLINE_SECONDS):
        while story.projections.status(form).is_owner:
            await anyio.lowlevel.checkpoint()


async def until_read(story: Backstory, form: Any, expected: dict[str, list[int]]) -> None:
    with anyio.fail_after(DEADLINE_SECONDS):
        while await read(story, form) != expected:
            await anyio.lowlevel.checkpoint()


async def check_tables(store: EventStore) -> None:
    """Hold that no tables are left but those that serve."""
    tables = await store.query_tables(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()"
        " AND tablename LIKE 'steps\\_\\_steps\\_\\_%'"
    )
    assert len(tables.rows) <= 1


@pytest.mark.slow
@pytest.mark.fault(18, 20, "T19", store="postgres", without="the owner of a note")
async def test_late_note_of_an_owner_forgets_nothing_that_another_has_parked(
    stores: tuple[EventStore, EventStore], database: Database, form: Any, handler: Handler
) -> None:
    """It is held where it forgets what is parked, to begin anew; the other one parks it again."""
    ours, theirs = FaultyStore(stores[0]), stores[1]
    async with Backstory(ours, projections=[form]) as story:
        await step(ours, "walk-1", 1, 13, 2)
        assert await read(story, form) == {"walk-1": [1]}
        held = ours.delay("put_notes")
        await give(theirs, form, "reset")
        await held.wait_reached()

        await database.lose_all()
        async with Backstory(theirs, projections=[form]) as other:
            await until_obeyed(other, form)
            await until_read(other, form, {"walk-1": [1]})
            held.release()
            await until_disowned(story, form)

            assert [one.version for one in await other.projections.parked(form)] == [2]
            handler.mend()
            assert await other.projections.retry(form, "walk-1")
            assert await read(other, form) == {"walk-1": [1, 13, 2]}
