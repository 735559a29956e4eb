"""Several processes run the same projections on one PostgreSQL: one owns each, and another takes
over when that one ends, is stopped, or is cut off.

What they hold is compared with the log, event by event. Each row says which process has written it,
so an owner that goes on after another has taken over is found by its rows.
"""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import groupby
from typing import Any, Final

import anyio
import anyio.to_thread
import pytest
from tests.conftest import DEADLINE_SECONDS, new_event
from tests.faults.account import faults
from tests.integration.process import environment, lines, start
from tests.integration.taking_over import END, FORMS, InMemory, Taken
from tests.integration.test_lost_ownership import Database, database, owning
from tests.servers.proxy import Proxy

from backstory import ANY, EventStore, Projections, RecordedEvent, store_of, where
from backstory._codec import state_decoder

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

__all__ = ["database"]  # a fixture of its neighbour

TIMEOUT_SECONDS: Final = 2.0
"""The time limit for silence that the processes have."""
TAKE_OVER_SECONDS: Final = 5 * TIMEOUT_SECONDS
"""How long it may take until another one owns; long, since a machine may be busy."""
WALKS: Final = 7


class Member:
    """One process, and what it says that it owns."""

    def __init__(self, url: str) -> None:
        self.process = start("taking_over.py", f"{url}?ownership_timeout_seconds={TIMEOUT_SECONDS}")
        self.owned = [False, False]
        self.held: dict[str, Any] | None = None
        self.is_over = False

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, how: signal.Signals) -> None:
        """Kill it, stop it, or let it go on."""
        self.process.send_signal(how)

    def end(self) -> None:
        """Leave no process behind, a stopped one neither."""
        if self.process.poll() is None:
            self.process.kill()
        with self.process:
            pass


class Crew:
    """Processes that run the same projections, and the load that is put on them."""

    def __init__(self, store: EventStore, group: anyio.abc.TaskGroup) -> None:
        self.store = store
        self.members: list[Member] = []
        self._group = group
        self.line_count = 0
        """How often anybody has said something."""
        self._changed = anyio.Event()
        self._loading = anyio.CancelScope()

    async def join(self, url: str) -> Member:
        """Start another process, and return it when it has begun."""
        member = Member(url)
        self.members.append(member)
        ready = anyio.Event()
        self._group.start_soon(self._listen, member, ready)
        with anyio.fail_after(DEADLINE_SECONDS):
            await ready.wait()
        return member

    async def _listen(self, member: Member, ready: anyio.Event) -> None:
        said = lines(member.process)
        while True:
            line = await anyio.to_thread.run_sync(next, said, None, abandon_on_cancel=True)
            member.is_over = line is None
            if isinstance(line, list):
                member.owned = line
            elif line is not None:
                member.held = line
            self.line_count += 1
            ready.set()
            self._changed.set()
            self._changed = anyio.Event()
            if line is None:
                return

    async def until(
        self, condition: Callable[[], bool], *, seconds: float = DEADLINE_SECONDS
    ) -> None:
        """Wait until something is true of what the members have said.

        Raises:
            TimeoutError: It is not, within the time limit.
        """
        with anyio.fail_after(seconds):
            while not condition():
                await self._changed.wait()

    async def taken_over(self, *, besides: Sequence[Member] = ()) -> list[Member]:
        """Return who owns each projection, as soon as others do; it may be one or two."""
        others = [one for one in self.members if one not in besides]

        def owners() -> list[list[Member]]:
            running = [one for one in others if not one.is_over]
            return [[one for one in running if one.owned[form]] for form in range(len(FORMS))]

        await self.until(lambda: all(owners()), seconds=TAKE_OVER_SECONDS)
        return [of_form[0] for of_form in owners()]

    def has_said_more(self, line_count: int) -> bool:
        """Tell whether anybody has said more than so many lines."""
        return self.line_count > line_count

    def load(self) -> None:
        """Begin to append, until `finish`."""
        self._group.start_soon(self._append)

    async def _append(self) -> None:
        with self._loading:
            number = 0
            while True:
                await self.append(f"walk-{number % WALKS}", 1)
                number += 1

    async def append(self, stream_id: str, count: int) -> None:
        events = [new_event(Taken(number=number)) for number in range(count)]
        await self.store.append(stream_id, events, expected_version=ANY)

    async def grown(self, by: int) -> None:
        """Wait until the log has grown by so many."""
        with anyio.fail_after(DEADLINE_SECONDS):
            target = await self.store.head() + by
            while (head := await self.store.head()) < target:
                await self.store.wait_beyond(head)

    async def finish(self) -> None:
        """Append no more, and let every process end that still runs."""
        self._loading.cancel()
        await self.store.append(END, [new_event()], expected_version=ANY)
        await self.until(lambda: all(member.is_over for member in self.members), seconds=60)

    async def check(self) -> list[int]:
        """Hold what everybody has to the log; return who has written the rows, in turn."""
        log = [recorded async for recorded in self.store.read_log(where=where(types=[Taken]))]
        counts, positions = counts_of(log), positions_of(log)
        for member in self.members:
            if member.process.poll() == 0:
                assert member.held == {"tables": counts, "memory": positions}
        table = "SELECT stream, total FROM counted__totals"
        totals = (await self.store.query_tables(table)).rows
        assert {str(stream): total for stream, total in totals} == counts
        rows = await self.store.query_tables(
            "SELECT position, process FROM counted__seen ORDER BY position"
        )
        assert [position for position, _ in rows.rows] == [one.position for one in log]
        checkpoint = await self.store.load_checkpoint("remembered")
        assert checkpoint is not None
        kept = [one for one in log if one.position <= checkpoint.position]
        assert state_decoder(InMemory)(checkpoint.model_json).positions == positions_of(kept)
        return [int(str(process)) for process, _ in groupby(process for _, process in rows.rows)]

    async def is_told(self, owners: Sequence[Member]) -> bool:
        """Tell whether everybody who looks is told who owns the projections."""
        told = {info.name: info.owner for info in await Projections(self.store).list_all()}
        return told == {
            form.projection_name: name_of(owner) for form, owner in zip(FORMS, owners, strict=True)
        }

    async def until_told(self, owners: Sequence[Member]) -> None:
        """Wait until everybody who looks is told who owns the projections."""
        with anyio.fail_after(DEADLINE_SECONDS):
            while not await self.is_told(owners):
                await anyio.lowlevel.checkpoint()


def counts_of(log: Sequence[RecordedEvent]) -> dict[str, int]:
    return {stream: len(positions) for stream, positions in positions_of(log).items()}


def positions_of(log: Sequence[RecordedEvent]) -> dict[str, list[int]]:
    positions: dict[str, list[int]] = {}
    for one in log:
        positions.setdefault(one.stream_id, []).append(one.position)
    return positions


@asynccontextmanager
async def crew_on(url: str) -> AsyncGenerator[Crew]:
    """Yield a crew without members; nobody of it is left behind."""
    async with AsyncExitStack() as closing:
        store = await closing.enter_async_context(store_of(url))
        group = await closing.enter_async_context(anyio.create_task_group())
        crew = Crew(store, group)
        try:
            yield crew
        finally:
            group.cancel_scope.cancel()
            for member in crew.members:
                member.end()


def say_how_long(what: str, begun_at: float) -> None:
    seconds = anyio.current_time() - begun_at
    print(f"{what}: others own both after {seconds:.2f} s, with a limit of {TIMEOUT_SECONDS} s")  # noqa: T201 - pytest shows it with -s


@pytest.mark.fault(
    2, 19, 20, "T7", store="postgres", without="one transaction of rows and checkpoint"
)
async def test_owner_that_is_killed_is_followed_by_another(postgres_url: str) -> None:
    async with crew_on(postgres_url) as crew:
        await crew.join(postgres_url)
        owners = await crew.taken_over()
        for _ in range(2):
            await crew.join(postgres_url)
        crew.load()

        killed: list[Member] = []
        for _ in range(2):
            await crew.grown(by=300)
            killed.append(owners[0])
            faults.count()
            owners[0].process.kill()
            begun_at = anyio.current_time()
            owners = await crew.taken_over(besides=killed)
            say_how_long("killed", begun_at)
        await crew.until_told(owners)
        assert owner_in_table(postgres_url) == name_of(owners[0])
        await crew.grown(by=300)
        await crew.finish()

        assert await crew.check() == [*(one.pid for one in killed), owners[0].pid]


@pytest.mark.fault(20, "T7", store="postgres", without="the time limit of the session")
async def test_owner_that_is_stopped_and_goes_on_writes_nothing_more(postgres_url: str) -> None:
    async with crew_on(postgres_url) as crew:
        stopped = await crew.join(postgres_url)
        await crew.taken_over()
        for _ in range(2):
            await crew.join(postgres_url)
        crew.load()
        await crew.grown(by=300)

        faults.count()
        stopped.process.send_signal(signal.SIGSTOP)
        begun_at = anyio.current_time()
        owners = await crew.taken_over(besides=[stopped])
        say_how_long("stopped", begun_at)
        await crew.until_told(owners)
        await crew.grown(by=300)
        stopped.process.send_signal(signal.SIGCONT)
        await crew.until(lambda: stopped.owned == [False, False])
        await crew.grown(by=300)
        assert await crew.is_told(owners)
        await crew.finish()

        assert await crew.check() == [stopped.pid, owners[0].pid]
        assert stopped.held is not None  # it has stood by, and held all in the end


@pytest.mark.fault(15, 20, "T7", store="postgres", without="the time limit of the session")
async def test_owner_that_is_cut_off_is_followed_by_another(postgres_url: str) -> None:
    async with Proxy(postgres_url) as proxy, crew_on(postgres_url) as crew:
        cut_off = await crew.join(proxy.url)
        await crew.taken_over()
        await crew.join(postgres_url)
        crew.load()
        await crew.grown(by=300)

        proxy.black_hole()
        begun_at = anyio.current_time()
        owners = await crew.taken_over(besides=[cut_off])
        say_how_long("cut off", begun_at)
        await crew.until_told(owners)
        await crew.grown(by=300)
        proxy.lift()
        await crew.until(lambda: cut_off.owned == [False, False])
        await crew.grown(by=300)
        await crew.finish()

        assert await crew.check() == [cut_off.pid, owners[0].pid]


@pytest.mark.fault(2, 20, "T7", store="postgres", without="one transaction of rows and checkpoint")
async def test_sessions_that_are_terminated_again_and_again_cost_nothing(
    database: Database,
) -> None:
    async with crew_on(database.url) as crew:
        for _ in range(3):
            await crew.join(database.url)
        await crew.taken_over()
        crew.load()

        for _ in range(6):
            await crew.grown(by=100)
            said, begun_at = crew.line_count, anyio.current_time()
            await database.lose_all()
            await crew.until(partial(crew.has_said_more, said))
            await crew.taken_over()
            say_how_long("terminated", begun_at)
        with anyio.fail_after(DEADLINE_SECONDS):
            while len(await owning(database.server, database.url)) < len(FORMS):
                await anyio.lowlevel.checkpoint()
        await crew.finish()

        await crew.check()


def name_of(member: Member) -> str:
    return f"{socket.gethostname()}:{member.pid}"


def owner_in_table(url: str) -> str:
    """Return who owns the projection in tables, as the command line says."""
    run = subprocess.run(
        [sys.executable, "-m", "backstory", "projections", "list", "--json", "--store", url],
        env=environment(),
        capture_output=True,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    (owner,) = (
        one["owner"]
        for line in run.stdout.splitlines()
        for one in [json.loads(line)]
        if one["name"] == "counted"
    )
    return str(owner)
