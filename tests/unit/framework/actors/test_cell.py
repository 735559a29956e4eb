"""The life of one actor: failures and what becomes of them, and the ways to its end."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from tests.unit.framework.actors.cast import Diarist, Gate, Scribe

from backstory.actors import (
    Actor,
    ActorState,
    ActorStoppedError,
    ActorSystem,
    Directive,
    SupervisionPolicy,
)

pytestmark = pytest.mark.anyio

RESUMING = SupervisionPolicy(rules=((Exception, Directive.RESUME),))
STOPPING = SupervisionPolicy(rules=((Exception, Directive.STOP),))
ESCALATING = SupervisionPolicy(rules=((Exception, Directive.ESCALATE),))
RESTARTING = SupervisionPolicy(
    restart_count_max=2, restart_window_seconds=100.0, backoff_seconds=4.0
)


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem(chance=lambda: 1.0) as system:
        yield system


@pytest.fixture
def entries() -> list[str]:
    return []


async def test_resumed_actor_keeps_its_instance(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, supervision=RESUMING)
    await scribe.tell(Scribe.write, "kept")

    await scribe.tell(Scribe.fail)

    assert await scribe.ask(Scribe.write, "second") == 2


async def test_restarted_actor_has_a_new_instance(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, supervision=RESTARTING)
    await scribe.tell(Scribe.write, "lost")

    await scribe.tell(Scribe.fail)

    assert await scribe.ask(Scribe.write, "first") == 1


async def test_restart_goes_through_both_hooks(system: ActorSystem, entries: list[str]) -> None:
    scribe = system.spawn(lambda: Diarist(entries), supervision=RESTARTING)
    await scribe.tell(Scribe.fail)

    await scribe.ask(Scribe.write, "message")

    assert entries == ["started", "stopped with ValueError", "started", "message"]


async def test_message_that_failed_is_not_repeated_and_the_others_wait(
    system: ActorSystem, entries: list[str]
) -> None:
    async def fail(actor: Scribe) -> None:
        await actor.write("failing")
        await actor.fail()

    scribe = system.spawn(lambda: Scribe(entries), supervision=RESTARTING)
    await scribe.tell(fail)
    for text in "ab":
        await scribe.tell(Scribe.write, text)

    await scribe.ask(Scribe.write, "end")

    assert entries == ["failing", "a", "b", "end"]


async def test_pauses_between_restarts_grow(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, supervision=RESTARTING)
    pauses: list[float] = []

    for _ in range(2):
        await scribe.tell(Scribe.fail)
        before = anyio.current_time()
        await scribe.ask(Scribe.write, "again")
        pauses.append(anyio.current_time() - before)

    assert pauses == [4.0, 8.0]


async def test_actor_that_waits_for_its_restart_says_so(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, supervision=RESTARTING)
    await scribe.tell(Scribe.fail)
    await scribe.tell(Scribe.write, "waiting")

    await anyio.wait_all_tasks_blocked()

    [status] = system.actors()
    assert (status.state, status.mailbox_depth) == (ActorState.BACKING_OFF, 1)
    assert (status.restart_count, status.failure_count) == (1, 1)
    assert status.last_error == "ValueError: no"


async def test_actor_that_backs_off_is_not_idle(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, supervision=RESTARTING)
    await scribe.tell(Scribe.fail)
    await anyio.wait_all_tasks_blocked()

    assert not scribe.stop_if_idle()


async def test_stop_cuts_the_pause_short(system: ActorSystem, entries: list[str]) -> None:
    scribe = system.spawn(lambda: Scribe(entries), supervision=RESTARTING)
    await scribe.tell(Scribe.fail)
    await scribe.tell(Scribe.write, "handled")
    await anyio.wait_all_tasks_blocked()
    before = anyio.current_time()

    await scribe.stop()

    assert anyio.current_time() == before
    assert entries == ["handled"]


async def test_one_restart_too_many_escalates(system: ActorSystem) -> None:
    async def spawn_child(actor: Scribe) -> None:
        actor.context.spawn(Scribe, name="child", supervision=RESTARTING)

    parent = system.spawn(Scribe, name="parent", supervision=RESUMING)
    await parent.ask(spawn_child)
    child = system.find("child")
    assert child is not None

    for _ in range(3):
        await child.tell(Scribe.fail)
    await child.wait_stopped()
    await parent.ask(Scribe.write, "still there")

    [status] = system.actors()
    assert (status.name, status.failure_count) == ("parent", 1)
    assert status.last_error == "ValueError: no"


async def test_restarts_long_ago_do_not_count(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, supervision=RESTARTING)

    for _ in range(10):
        await scribe.tell(Scribe.fail)
        await anyio.sleep(60)

    assert system.actors()[0].restart_count == 10


async def test_failing_start_counts_as_a_failure(system: ActorSystem) -> None:
    class Reluctant(Scribe):
        attempts = 0

        async def started(self) -> None:
            type(self).attempts += 1
            if self.attempts < 3:
                raise ValueError("not yet")

    reluctant = system.spawn(Reluctant, supervision=RESTARTING)

    await reluctant.ask(Scribe.write, "at last")

    [status] = system.actors()
    assert (status.failure_count, status.restart_count) == (2, 2)


async def test_instance_that_has_not_started_is_restarted_instead_of_resumed(
    system: ActorSystem,
) -> None:
    class Reluctant(Scribe):
        attempts = 0

        async def started(self) -> None:
            type(self).attempts += 1
            if self.attempts == 1:
                raise ValueError("not yet")

    reluctant = system.spawn(Reluctant, supervision=RESUMING)

    await reluctant.ask(Scribe.write, "at last")

    assert system.actors()[0].restart_count == 1


async def test_factory_that_fails_at_a_restart_is_judged(system: ActorSystem) -> None:
    made: list[Scribe] = []

    def make() -> Scribe:
        made.append(Scribe())
        if len(made) == 2:
            raise ValueError("out of scribes")
        return made[-1]

    scribe = system.spawn(make, supervision=RESTARTING)
    await scribe.tell(Scribe.fail)

    await scribe.ask(Scribe.write, "at last")

    assert len(made) == 3


async def test_factory_that_fails_at_once_spawns_nothing(system: ActorSystem) -> None:
    def make() -> Scribe:
        raise ValueError("out of scribes")

    with pytest.raises(ValueError, match="out of scribes"):
        system.spawn(make, name="scribe")

    assert system.actors() == []
    assert system.spawn(Scribe, name="scribe").name == "scribe"


async def test_stop_directive_leaves_dead_letters_and_refuses_who_asks(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_late(actor: Scribe, gate: Gate) -> None:
        await gate.pass_through()
        await actor.fail()

    scribe, gate = system.spawn(Scribe, name="scribe", supervision=STOPPING), Gate()
    caught: list[ActorStoppedError] = []

    async def ask() -> None:
        try:
            await scribe.ask(Scribe.write, "b")
        except ActorStoppedError as error:
            caught.append(error)

    async with anyio.create_task_group() as askers:
        await scribe.tell(fail_late, gate)
        await scribe.tell(Scribe.write, "a")
        askers.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        gate.opened.set()

    await scribe.wait_stopped()
    assert [error.outcome_unknown for error in caught] == [False]
    assert [(letter.actor, letter.message.args) for letter in system.dead_letters] == [
        ("scribe", ("a",)),
        ("scribe", ("b",)),
    ]
    assert [entry.message for entry in caplog.records].count("message.undelivered") == 2


async def test_dead_letters_are_bounded_and_all_are_counted() -> None:
    async with ActorSystem(dead_letter_count_max=3) as system:
        scribe, gate = system.spawn(Scribe, supervision=STOPPING), Gate()
        await scribe.tell(Scribe.write_late, "held", gate)
        await scribe.tell(Scribe.fail)
        for number in range(10):
            await scribe.tell(Scribe.write, str(number))
        gate.opened.set()
        await scribe.wait_stopped()

        letters = system.dead_letters

    assert [letter.message.args for letter in letters] == [("7",), ("8",), ("9",)]
    assert (len(letters), letters.count) == (3, 10)


async def test_dead_letter_says_what_was_sent_and_why_it_died() -> None:
    async with ActorSystem() as system:
        scribe = system.spawn(Scribe, supervision=STOPPING)
        await scribe.tell(Scribe.fail)
        await scribe.tell(Scribe.write, text="lost")
        await scribe.wait_stopped()

    [letter] = system.dead_letters
    assert letter.message.method == "Scribe.write"
    assert letter.message.kwargs == {"text": "lost"}
    assert letter.reason == "the actor stopped: ValueError: no"


async def test_stopping_handles_what_is_there(system: ActorSystem, entries: list[str]) -> None:
    scribe = system.spawn(lambda: Scribe(entries))
    for text in "abc":
        await scribe.tell(Scribe.write, text)

    await scribe.stop()

    assert entries == ["a", "b", "c"]


async def test_failure_on_the_way_out_does_not_lose_the_rest(
    system: ActorSystem, entries: list[str]
) -> None:
    scribe = system.spawn(lambda: Scribe(entries), supervision=RESTARTING)
    await scribe.tell(Scribe.write, "a")
    await scribe.tell(Scribe.fail)
    await scribe.tell(Scribe.write, "b")

    await scribe.stop()

    assert entries == ["a", "b"]


async def test_stopping_again_is_the_same(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe)

    async with anyio.create_task_group() as stoppers:
        for _ in range(3):
            stoppers.start_soon(scribe.stop)
    await scribe.stop()

    assert system.actors() == []


async def test_idle_actor_is_stopped_at_once_and_its_name_is_free(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, name="scribe")

    assert scribe.stop_if_idle()

    assert system.find("scribe") is None
    system.spawn(Scribe, name="scribe")
    assert not scribe.stop_if_idle()


async def test_actor_with_a_message_is_not_idle(system: ActorSystem, entries: list[str]) -> None:
    scribe = system.spawn(lambda: Scribe(entries))
    scribe.tell_nowait(Scribe.write, "first")

    assert not scribe.stop_if_idle()

    await scribe.ask(Scribe.write, "second")
    assert entries == ["first", "second"]


async def test_actor_in_the_middle_of_a_message_is_not_idle(system: ActorSystem) -> None:
    scribe, gate = system.spawn(Scribe), Gate()
    await scribe.tell(Scribe.write_late, "held", gate)
    await gate.reached.wait()

    assert not scribe.stop_if_idle()

    gate.opened.set()


async def test_idle_actor_with_a_hook_holds_its_name_until_the_hook_is_done(
    system: ActorSystem, entries: list[str]
) -> None:
    scribe = system.spawn(lambda: Diarist(entries), name="diarist")
    await scribe.ask(Scribe.write, "message")
    await anyio.wait_all_tasks_blocked()

    assert scribe.stop_if_idle()
    assert system.find("diarist") == scribe
    await scribe.wait_stopped()

    assert system.find("diarist") is None
    assert entries[-1] == "stopped with NoneType"


async def test_actor_with_children_is_not_idle(system: ActorSystem) -> None:
    async def spawn_child(actor: Scribe) -> None:
        actor.context.spawn(Scribe)

    parent = system.spawn(Scribe)
    await parent.ask(spawn_child)
    await anyio.wait_all_tasks_blocked()

    assert not parent.stop_if_idle()


async def test_escalated_failure_restarts_the_parent(
    system: ActorSystem, entries: list[str]
) -> None:
    class Parent(Diarist):
        async def started(self) -> None:
            await super().started()
            self.context.spawn(Scribe, name="child", supervision=ESCALATING)

    parent = system.spawn(lambda: Parent(entries), supervision=RESTARTING)
    await parent.ask(Scribe.write, "begin")
    child = system.find("child")
    assert child is not None

    await child.tell(Scribe.fail)
    await child.wait_stopped()
    await parent.ask(Scribe.write, "again")

    assert entries == ["started", "begin", "stopped with ValueError", "started", "again"]
    assert system.find("child") is not None


async def test_escalated_failure_waits_until_the_parent_is_done_with_its_message(
    system: ActorSystem, entries: list[str]
) -> None:
    async def spawn_child(actor: Scribe) -> None:
        actor.context.spawn(Scribe, name="child", supervision=ESCALATING)

    parent, gate = system.spawn(lambda: Diarist(entries), supervision=RESTARTING), Gate()
    await parent.ask(spawn_child)
    child = system.find("child")
    assert child is not None
    await parent.tell(Scribe.write_late, "held", gate)
    await gate.reached.wait()

    await child.tell(Scribe.fail)
    await child.wait_stopped()
    gate.opened.set()
    await parent.ask(Scribe.write, "end")

    assert entries == ["started", "held", "stopped with ValueError", "started", "end"]


async def test_busy_actor_lets_others_have_a_turn(system: ActorSystem) -> None:
    class Busy(Actor):
        count = 0

        async def work(self) -> None:
            self.count += 1
            if self.count < 1_000:
                await self.context.ref.tell(Busy.work)

        async def counted(self) -> int:
            return self.count

    busy, idle = system.spawn(Busy), system.spawn(Scribe)
    seen: list[int] = []

    await busy.tell(Busy.work)
    while system.actors()[0].state is not ActorState.IDLE:
        await idle.ask(Scribe.write, "look")
        seen.append(system.actors()[0].handled_count)

    assert len([count for count in seen if 0 < count < 1_000]) >= 3


async def test_actor_whose_task_is_cancelled_from_outside_stops_alone(
    system: ActorSystem, entries: list[str]
) -> None:
    tasks: list[asyncio.Task[object]] = []

    async def wait(_actor: Scribe) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await anyio.sleep_forever()

    scribe, other = system.spawn(lambda: Diarist(entries), name="scribe"), system.spawn(Scribe)
    caught: list[ActorStoppedError] = []

    async def ask() -> None:
        try:
            await scribe.ask(wait)
        except ActorStoppedError as error:
            caught.append(error)

    async with anyio.create_task_group() as askers:
        askers.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        tasks[0].cancel()

    await scribe.wait_stopped()
    assert [error.outcome_unknown for error in caught] == [True]
    assert entries == ["started", "stopped with ActorStoppedError"]
    assert await other.ask(Scribe.write, "fine") == 1


async def test_status_tells_how_long_an_actor_has_been_idle(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, name="scribe")
    await scribe.ask(Scribe.write, "message")
    await anyio.wait_all_tasks_blocked()
    before = system.actors()[0].idle_seconds

    await anyio.sleep(7)

    [status] = system.actors()
    assert status.idle_seconds - before == pytest.approx(7)
    assert (status.name, status.parent, status.handled_count) == ("scribe", None, 1)
    assert (status.state, status.last_error) == (ActorState.IDLE, None)
