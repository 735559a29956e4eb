"""What an actor sees: its hooks, its children, its timers, and who has stopped."""

from collections.abc import AsyncIterator

import anyio
import pytest
from tests.unit.framework.actors.cast import Diarist, Gate, Scribe

from backstory import ConfigurationError, InvalidInputError
from backstory.actors import (
    Actor,
    ActorRef,
    ActorState,
    ActorStoppedError,
    ActorSystem,
    Directive,
    Overflow,
    SupervisionPolicy,
    Timer,
)

pytestmark = pytest.mark.anyio

RESUMING = SupervisionPolicy(rules=((Exception, Directive.RESUME),))
STOPPING = SupervisionPolicy(rules=((Exception, Directive.STOP),))
RESTARTING = SupervisionPolicy(backoff_seconds=1.0)


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem(chance=lambda: 1.0) as system:
        yield system


@pytest.fixture
def entries() -> list[str]:
    return []


async def read(scribe: ActorRef[Scribe]) -> int:
    """Return how much is written, when all that was sent before is done."""

    async def length(actor: Scribe) -> int:
        return len(actor.entries)

    return await scribe.ask(length)


async def test_actor_without_a_system_is_an_object_like_any_other() -> None:
    scribe = Scribe()

    assert await scribe.write("alone") == 1
    with pytest.raises(ConfigurationError, match="not spawned"):
        _ = scribe.context


async def test_started_comes_before_the_first_message(
    system: ActorSystem, entries: list[str]
) -> None:
    scribe = system.spawn(lambda: Diarist(entries))

    await scribe.ask(Scribe.write, "message")

    assert entries == ["started", "message"]


async def test_started_needs_no_message(system: ActorSystem, entries: list[str]) -> None:
    system.spawn(lambda: Diarist(entries))

    await anyio.wait_all_tasks_blocked()

    assert entries == ["started"]


async def test_stopped_comes_after_the_last_message(
    system: ActorSystem, entries: list[str]
) -> None:
    scribe = system.spawn(lambda: Diarist(entries))
    await scribe.tell(Scribe.write, "message")

    await scribe.stop()

    assert entries == ["started", "message", "stopped with NoneType"]


async def test_actor_that_never_started_is_not_told_that_it_stopped(
    system: ActorSystem, entries: list[str]
) -> None:
    scribe = system.spawn(lambda: Diarist(entries))
    scribe.stop_nowait()

    await scribe.wait_stopped()

    assert entries in ([], ["started", "stopped with NoneType"])


async def test_stopped_is_told_the_failure(system: ActorSystem, entries: list[str]) -> None:
    scribe = system.spawn(lambda: Diarist(entries), supervision=STOPPING)
    await scribe.tell(Scribe.fail)

    await scribe.wait_stopped()

    assert entries == ["started", "stopped with ValueError"]


async def test_stopped_that_raises_is_logged(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    class Clumsy(Actor):
        async def stopped(self, error: Exception | None) -> None:
            raise KeyError("where")

    await system.spawn(Clumsy).stop()

    assert [(entry.message, vars(entry)["reason"]) for entry in caplog.records] == [
        ("hook.failed", "KeyError: 'where'")
    ]


async def test_stopped_is_cancelled_after_its_time(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Actor):
        async def stopped(self, error: Exception | None) -> None:
            await anyio.sleep_forever()

    async with ActorSystem(hook_timeout_seconds=3.0) as system:
        before = anyio.current_time()

        await system.spawn(Slow).stop()

        assert anyio.current_time() - before == 3.0
    assert "3 s" in str(vars(caplog.records[0])["reason"])


async def test_actor_knows_its_name(system: ActorSystem) -> None:
    async def name(actor: Scribe) -> str:
        return actor.context.name

    assert await system.spawn(Scribe, name="ada").ask(name) == "ada"


class Parent(Scribe):
    """Has two children, who write into its book."""

    def __init__(self, entries: list[str]) -> None:
        super().__init__(entries)
        self.children: list[ActorRef[Child]] = []

    async def started(self) -> None:
        self.entries.append("parent started")
        for name in ("one", "two"):
            self.children.append(
                self.context.spawn(lambda: Child(self.entries), name=name, supervision=RESUMING)
            )

    async def stopped(self, error: Exception | None) -> None:
        self.entries.append("parent stopped")

    async def report(self, text: str) -> None:
        self.entries.append(f"reported {text}")

    async def give(self, text: str) -> int:
        return await self.children[0].ask(Child.write, text)


class Child(Scribe):
    """Writes when it stops."""

    async def stopped(self, error: Exception | None) -> None:
        self.entries.append(f"{self.context.name} stopped")

    async def report_late(self, parent: ActorRef[Parent], gate: Gate) -> None:
        await gate.pass_through()
        await parent.tell(Parent.report, self.context.name)

    async def ask_late(self, parent: ActorRef[Parent], gate: Gate) -> None:
        await gate.pass_through()
        try:
            await parent.ask(Parent.report, self.context.name)
        except ActorStoppedError:
            self.entries.append(f"{self.context.name} was refused")


def child(system: ActorSystem, name: str) -> ActorRef[Child]:
    found = system.find(name)
    assert found is not None
    return found


async def test_children_stop_before_their_parent_the_newest_first(
    system: ActorSystem, entries: list[str]
) -> None:
    parent = system.spawn(lambda: Parent(entries))
    await parent.ask(Parent.report, "begin")

    await parent.stop()

    assert entries[2:] == ["two stopped", "one stopped", "parent stopped"]
    assert system.actors() == []


async def test_parent_that_stops_still_has_its_children_for_what_it_has_to_do(
    system: ActorSystem, entries: list[str]
) -> None:
    parent = system.spawn(lambda: Parent(entries))
    await parent.tell(Parent.give, "work")

    await parent.stop()

    assert entries == ["parent started", "work", "two stopped", "one stopped", "parent stopped"]


async def test_child_tells_a_parent_that_waits_for_it_to_stop(
    system: ActorSystem, entries: list[str]
) -> None:
    parent, gate = system.spawn(lambda: Parent(entries)), Gate()
    await parent.ask(Parent.report, "begin")
    await child(system, "one").tell(Child.report_late, parent, gate)
    await gate.reached.wait()

    parent.stop_nowait()
    await anyio.wait_all_tasks_blocked()
    gate.opened.set()
    await parent.wait_stopped()

    assert entries[2:] == ["two stopped", "one stopped", "reported one", "parent stopped"]


async def test_child_that_asks_a_parent_that_waits_for_it_is_refused(
    system: ActorSystem, entries: list[str]
) -> None:
    parent, gate = system.spawn(lambda: Parent(entries)), Gate()
    await parent.ask(Parent.report, "begin")
    await child(system, "one").tell(Child.ask_late, parent, gate)
    await gate.reached.wait()

    parent.stop_nowait()
    await anyio.wait_all_tasks_blocked()
    gate.opened.set()
    await parent.wait_stopped()

    assert entries[2:] == ["two stopped", "one was refused", "one stopped", "parent stopped"]


async def test_child_that_is_asking_when_its_parent_is_restarted_is_refused(
    system: ActorSystem, entries: list[str]
) -> None:
    async def fail_late(actor: Parent, gate: Gate) -> None:
        await gate.pass_through()
        await actor.fail()

    parent = system.spawn(lambda: Parent(entries), supervision=RESTARTING)
    gate, passed = Gate(), Gate()
    passed.opened.set()
    await parent.tell(fail_late, gate)
    await gate.reached.wait()
    await child(system, "one").tell(Child.ask_late, parent, passed)
    await anyio.wait_all_tasks_blocked()

    gate.opened.set()
    await parent.ask(Parent.report, "again")

    assert entries[1:] == [
        "two stopped",
        "one was refused",
        "one stopped",
        "parent stopped",
        "parent started",
        "reported again",
    ]


async def test_restart_gives_a_parent_new_children(system: ActorSystem, entries: list[str]) -> None:
    parent = system.spawn(lambda: Parent(entries), supervision=RESTARTING)
    await parent.tell(Parent.fail)

    await parent.ask(Parent.give, "work")

    assert entries == [
        "parent started",
        "two stopped",
        "one stopped",
        "parent stopped",
        "parent started",
        "work",
    ]


async def test_nothing_can_be_spawned_on_the_way_out(system: ActorSystem) -> None:
    caught: list[Exception] = []

    class Late(Actor):
        async def stopped(self, error: Exception | None) -> None:
            try:
                self.context.spawn(Scribe)
            except ActorStoppedError as refusal:
                caught.append(refusal)

    await system.spawn(Late).stop()

    assert len(caught) == 1


async def test_stopping_a_parent_from_its_child_is_refused(
    system: ActorSystem, entries: list[str]
) -> None:
    async def stop(_actor: Child, parent: ActorRef[Parent]) -> None:
        await parent.stop()

    parent = system.spawn(lambda: Parent(entries))
    await parent.ask(Parent.report, "begin")

    with pytest.raises(ConfigurationError, match="stop_nowait"):
        await child(system, "one").ask(stop, parent)


async def test_actor_stops_itself_without_waiting(system: ActorSystem) -> None:
    async def retire(actor: Scribe) -> None:
        with pytest.raises(ConfigurationError):
            await actor.context.ref.stop()
        actor.context.ref.stop_nowait()

    scribe = system.spawn(Scribe)
    await scribe.ask(retire)

    await scribe.wait_stopped()


async def test_watcher_is_told_of_an_orderly_end(system: ActorSystem, entries: list[str]) -> None:
    watcher, other = system.spawn(lambda: Scribe(entries)), system.spawn(Scribe, name="other")
    await watcher.ask(watch, other)

    await other.stop()
    await read(watcher)

    assert entries == ["other ended with NoneType"]


async def test_watcher_is_told_of_a_failure(system: ActorSystem, entries: list[str]) -> None:
    watcher = system.spawn(lambda: Scribe(entries))
    other = system.spawn(Scribe, name="other", supervision=STOPPING)
    await watcher.ask(watch, other)

    await other.tell(Scribe.fail)
    await other.wait_stopped()
    await read(watcher)

    assert entries == ["other ended with ValueError"]


async def test_watcher_is_told_of_what_has_stopped_already(
    system: ActorSystem, entries: list[str]
) -> None:
    watcher, other = system.spawn(lambda: Scribe(entries)), system.spawn(Scribe, name="other")
    await other.stop()

    await watcher.ask(watch, other)
    await read(watcher)

    assert entries == ["other ended with NoneType"]


async def test_restart_is_no_end(system: ActorSystem, entries: list[str]) -> None:
    watcher = system.spawn(lambda: Scribe(entries))
    other = system.spawn(Scribe, supervision=RESTARTING)
    await watcher.ask(watch, other)

    await other.tell(Scribe.fail)
    await read(other)

    assert await read(watcher) == 0


async def test_watch_ends_with_the_watcher(system: ActorSystem, entries: list[str]) -> None:
    watcher, other = system.spawn(lambda: Scribe(entries)), system.spawn(Scribe)
    await watcher.ask(watch, other)
    await watcher.stop()

    await other.stop()

    assert not entries
    assert system.dead_letters.count == 0


async def watch(actor: Scribe, other: ActorRef[Scribe]) -> None:
    actor.context.watch(other, Scribe.note_end)


async def after(actor: Scribe, seconds: float, text: str) -> Timer:
    return actor.context.after(seconds, Scribe.write, text)


async def every(actor: Scribe, seconds: float, text: str) -> Timer:
    return actor.context.every(seconds, Scribe.write, text)


async def test_timer_sends_once(system: ActorSystem, entries: list[str]) -> None:
    scribe = system.spawn(lambda: Scribe(entries))
    timer = await scribe.ask(after, 5.0, "later")

    await anyio.sleep(4.9)
    assert (entries, timer.is_active) == ([], True)
    await anyio.sleep(10)

    assert (entries, timer.is_active) == (["later"], False)


async def test_timers_come_in_the_order_in_which_they_are_due(
    system: ActorSystem, entries: list[str]
) -> None:
    scribe = system.spawn(lambda: Scribe(entries))
    for seconds in (3.0, 1.0, 2.0, 1.0):
        await scribe.ask(after, seconds, f"{seconds:g}")

    await anyio.sleep(5)

    assert entries == ["1", "1", "2", "3"]


async def test_periodic_timer_sends_until_it_is_cancelled(
    system: ActorSystem, entries: list[str]
) -> None:
    scribe = system.spawn(lambda: Scribe(entries))
    timer = await scribe.ask(every, 2.0, "tick")

    await anyio.sleep(7)
    timer.cancel()
    timer.cancel()
    await anyio.sleep(7)

    assert entries == ["tick"] * 3


async def test_tick_is_left_out_while_the_last_one_waits(
    system: ActorSystem, entries: list[str]
) -> None:
    scribe, gate = system.spawn(lambda: Scribe(entries)), Gate()
    timer = await scribe.ask(every, 1.0, "tick")
    await scribe.tell(Scribe.write_late, "held", gate)

    await anyio.sleep(5.5)
    timer.cancel()
    gate.opened.set()
    await read(scribe)

    assert entries == ["held", "tick"]
    assert timer.left_out_count == 4
    assert system.actors()[0].refused_count == 4


async def test_tick_is_left_out_when_the_mailbox_is_full(
    system: ActorSystem, entries: list[str]
) -> None:
    scribe, gate = system.spawn(lambda: Scribe(entries), mailbox_size=1), Gate()
    timer = await scribe.ask(every, 1.0, "tick")
    await scribe.tell(Scribe.write_late, "held", gate)
    await gate.reached.wait()
    await scribe.tell(Scribe.write, "full")

    await anyio.sleep(2.5)
    timer.cancel()
    gate.opened.set()
    await read(scribe)

    assert entries == ["held", "full"]
    assert timer.left_out_count == 2


async def test_what_is_due_once_waits_for_room(system: ActorSystem, entries: list[str]) -> None:
    scribe = system.spawn(lambda: Scribe(entries), mailbox_size=1, overflow=Overflow.REFUSE)
    gate = Gate()
    await scribe.ask(after, 1.0, "later")
    await scribe.tell(Scribe.write_late, "held", gate)
    await gate.reached.wait()
    await scribe.tell(Scribe.write, "full")

    await anyio.sleep(2)
    gate.opened.set()
    await anyio.wait_all_tasks_blocked()

    assert entries == ["held", "full", "later"]


async def test_timers_end_with_a_restart(system: ActorSystem, entries: list[str]) -> None:
    scribe = system.spawn(lambda: Scribe(entries), supervision=RESTARTING)
    await scribe.ask(after, 5.0, "later")
    await scribe.ask(every, 5.0, "tick")

    await scribe.tell(Scribe.fail)
    await anyio.sleep(20)

    assert not entries


async def test_timers_end_with_the_actor(system: ActorSystem, entries: list[str]) -> None:
    scribe = system.spawn(lambda: Scribe(entries))
    await scribe.ask(every, 5.0, "tick")

    await scribe.stop()
    await anyio.sleep(20)

    assert not entries
    assert system.dead_letters.count == 0


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), True])
async def test_impossible_time_is_refused(system: ActorSystem, seconds: float) -> None:
    scribe = system.spawn(Scribe, supervision=RESUMING)

    for set_timer in (after, every):
        with pytest.raises(InvalidInputError):
            await scribe.ask(set_timer, seconds, "never")


async def test_actor_with_a_timer_is_idle(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe)
    await scribe.ask(every, 5.0, "tick")

    await anyio.wait_all_tasks_blocked()

    assert system.actors()[0].state is ActorState.IDLE
