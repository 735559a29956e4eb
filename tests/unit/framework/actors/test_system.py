"""The block: names, ordered shutdown, cancellation, and failures that nobody survives."""

import asyncio

import anyio
import pytest
from tests.unit.framework.actors.cast import Diarist, Gate, Scribe

from backstory import ConfigurationError, InvalidInputError
from backstory.actors import (
    Actor,
    ActorRef,
    ActorStoppedError,
    ActorSystem,
    ActorSystemFailedError,
    Directive,
    SupervisionPolicy,
)

pytestmark = pytest.mark.anyio

ESCALATING = SupervisionPolicy(rules=((Exception, Directive.ESCALATE),))
RESUMING = SupervisionPolicy(rules=((Exception, Directive.RESUME),))


def running() -> set[str]:
    """Return the names of the tasks that are not the test's own."""
    ours = asyncio.current_task()
    return {task.get_name() for task in asyncio.all_tasks() if task is not ours}


async def test_name_is_unique_among_the_living() -> None:
    async with ActorSystem() as system:
        scribe = system.spawn(Scribe, name="scribe")

        with pytest.raises(InvalidInputError, match="a living actor has that name"):
            system.spawn(Scribe, name="scribe")

        await scribe.stop()
        assert system.spawn(Scribe, name="scribe").name == "scribe"


async def test_generated_names_keep_out_of_the_way() -> None:
    async with ActorSystem() as system:
        system.spawn(Scribe, name="Scribe-1")

        names = {system.spawn(Scribe).name for _ in range(3)}

    assert len(names) == 3
    assert "Scribe-1" not in names


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 1025])
async def test_impossible_name_is_refused(name: str) -> None:
    async with ActorSystem() as system:
        with pytest.raises(InvalidInputError):
            system.spawn(Scribe, name=name)


async def test_mailbox_without_room_for_anything_is_refused() -> None:
    async with ActorSystem() as system:
        with pytest.raises(InvalidInputError, match="mailbox_size"):
            system.spawn(Scribe, mailbox_size=0)


@pytest.mark.parametrize("name", ["grace_seconds", "hook_timeout_seconds"])
async def test_impossible_time_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        ActorSystem(**{name: -1.0})  # type: ignore[arg-type]  # one name of many


async def test_system_that_is_not_open_spawns_nothing() -> None:
    system = ActorSystem()

    with pytest.raises(ActorStoppedError, match="not open"):
        system.spawn(Scribe)

    assert (system.actors(), system.find("scribe")) == ([], None)


async def test_system_is_for_one_block() -> None:
    system = ActorSystem()
    async with system:
        pass

    with pytest.raises(ConfigurationError, match="one for each block"):
        await system.__aenter__()
    with pytest.raises(ActorStoppedError):
        system.spawn(Scribe)


async def test_leaving_the_block_handles_what_was_sent() -> None:
    entries: list[str] = []

    async with ActorSystem() as system:
        scribe = system.spawn(lambda: Diarist(entries))
        for text in "abc":
            await scribe.tell(Scribe.write, text)

    assert entries == ["started", "a", "b", "c", "stopped with NoneType"]


async def test_error_of_the_body_comes_out_as_it_is_and_the_actors_stop_in_order() -> None:
    entries: list[str] = []
    error = KeyError("body")

    async def run() -> None:
        async with ActorSystem() as system:
            await system.spawn(lambda: Diarist(entries)).tell(Scribe.write, "a")
            raise error

    with pytest.raises(KeyError) as caught:
        await run()

    assert caught.value is error
    assert entries == ["started", "a", "stopped with NoneType"]


class Named(Actor):
    def __init__(self, entries: list[str]) -> None:
        self.entries = entries

    async def stopped(self, error: Exception | None) -> None:
        self.entries.append(self.context.name)

    async def have_child(self, name: str) -> None:
        self.context.spawn(lambda: Named(self.entries), name=name)


async def test_actors_stop_in_the_reverse_order_of_spawning_children_first() -> None:
    entries: list[str] = []

    async with ActorSystem() as system:
        refs = [system.spawn(lambda: Named(entries), name=name) for name in ("a", "b", "c")]
        for child in ("b1", "b2"):
            await refs[1].ask(Named.have_child, child)

    assert entries == ["c", "b2", "b1", "b", "a"]


async def test_older_actors_are_there_for_the_newer_ones_until_the_end() -> None:
    entries: list[str] = []

    class Client(Actor):
        def __init__(self, server: ActorRef[Scribe]) -> None:
            self.server = server

        async def use(self, text: str) -> None:
            await self.server.ask(Scribe.write, text)

    async with ActorSystem() as system:
        server = system.spawn(lambda: Scribe(entries))
        client = system.spawn(lambda: Client(server))
        for text in "abc":
            await client.tell(Client.use, text)

    assert entries == ["a", "b", "c"]


async def test_stopping_system_refuses_work_from_outside() -> None:
    async with ActorSystem() as system:
        scribe, gate = system.spawn(Scribe), Gate()
        busy = system.spawn(Scribe)
        await busy.tell(Scribe.write_late, "held", gate)
        await gate.reached.wait()
        async with anyio.create_task_group() as stopper:
            stopper.start_soon(system.stop)
            await anyio.wait_all_tasks_blocked()

            with pytest.raises(ActorStoppedError, match="system is stopping"):
                await scribe.tell(Scribe.write, "never")
            with pytest.raises(ActorStoppedError):
                system.spawn(Scribe)

            gate.opened.set()


async def test_stopping_again_is_the_same() -> None:
    async with ActorSystem() as system:
        system.spawn(Scribe)
        await system.stop()
        await system.stop()

        assert system.actors() == []


async def test_actor_cannot_wait_for_its_own_system() -> None:
    async def stop(_actor: Scribe, system: ActorSystem) -> None:
        await system.stop()

    async with ActorSystem() as system:
        scribe = system.spawn(Scribe, supervision=RESUMING)

        with pytest.raises(ConfigurationError, match="wait for its own system"):
            await scribe.ask(stop, system)


async def test_what_is_not_done_within_the_grace_is_cancelled_and_dead() -> None:
    entries: list[str] = []
    async with ActorSystem(grace_seconds=5.0) as system:
        scribe = system.spawn(lambda: Diarist(entries), name="scribe")
        await scribe.tell(Scribe.write_late, "stuck", Gate())
        await scribe.tell(Scribe.write, "never")
        await anyio.wait_all_tasks_blocked()
        before = anyio.current_time()

        await system.stop()

        assert anyio.current_time() - before == 5.0
        assert not running() & {"scribe", "alarms"}
    assert entries == ["started", "stopped with ActorStoppedError"]
    assert [(letter.message.args[0], letter.reason) for letter in system.dead_letters] == [
        ("stuck", "cancelled while it was handled"),
        ("never", "the actor was cancelled"),
    ]


async def test_grace_is_for_all_together() -> None:
    async with ActorSystem(grace_seconds=5.0) as system:
        for _ in range(3):
            await system.spawn(Scribe).tell(Scribe.write_late, "stuck", Gate())
        await anyio.wait_all_tasks_blocked()
        before = anyio.current_time()

    assert anyio.current_time() - before == 5.0


async def test_asker_outside_is_told_that_its_message_was_cancelled() -> None:
    caught: list[ActorStoppedError] = []

    async def ask(scribe: ActorRef[Scribe], gate: Gate) -> None:
        try:
            await scribe.ask(Scribe.write_late, "stuck", gate)
        except ActorStoppedError as error:
            caught.append(error)

    async with anyio.create_task_group() as askers, ActorSystem(grace_seconds=1.0) as system:
        scribe, gate = system.spawn(Scribe), Gate()
        askers.start_soon(ask, scribe, gate)
        await gate.reached.wait()

    assert [error.outcome_unknown for error in caught] == [True]


async def test_cancelled_block_cancels_its_actors_at_once_and_calls_their_hooks() -> None:
    entries: list[str] = []
    system = ActorSystem()

    with anyio.move_on_after(3.0) as scope:
        async with system:
            for _ in range(2):
                scribe = system.spawn(lambda: Diarist(entries))
                await scribe.tell(Scribe.write_late, "stuck", Gate())
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert anyio.current_time() <= scope.deadline
    assert entries == ["started"] * 2 + ["stopped with ActorStoppedError"] * 2
    assert system.dead_letters.count == 2


async def test_hooks_of_a_cancelled_block_are_bounded_all_together() -> None:
    class Slow(Actor):
        async def stopped(self, error: Exception | None) -> None:
            await anyio.sleep_forever()

    system = ActorSystem(grace_seconds=5.0, hook_timeout_seconds=2.0)
    before = anyio.current_time()

    with anyio.move_on_after(1.0):
        async with system:
            for _ in range(10):
                system.spawn(Slow)
            await anyio.sleep_forever()

    assert anyio.current_time() - before == 6.0
    assert system.actors() == []


async def test_failure_at_the_top_cancels_the_body_and_leaves_the_block() -> None:
    error = ValueError("no")

    async def run() -> None:
        async with ActorSystem() as system:
            scribe = system.spawn(Scribe, name="scribe", supervision=ESCALATING)
            await scribe.tell(Scribe.fail, error)
            await anyio.sleep_forever()

    with pytest.raises(ActorSystemFailedError) as caught:
        await run()

    assert caught.value.__cause__ is error
    assert (caught.value.actor, caught.value.reason) == ("scribe", "ValueError: no")


async def test_failure_while_the_block_is_left_is_raised_too() -> None:
    async def run() -> None:
        async with ActorSystem() as system:
            scribe = system.spawn(Scribe, supervision=ESCALATING)
            await scribe.tell(Scribe.fail)

    with pytest.raises(ActorSystemFailedError):
        await run()


async def test_failure_climbs_until_somebody_goes_on() -> None:
    async def have_child(actor: Scribe, name: str) -> None:
        actor.context.spawn(Scribe, name=name, supervision=ESCALATING)

    async with ActorSystem() as system:
        top = system.spawn(Scribe, name="top", supervision=RESUMING)
        await top.ask(have_child, "middle")
        await system_ref(system, "middle").ask(have_child, "bottom")

        await system_ref(system, "bottom").tell(Scribe.fail)
        await anyio.wait_all_tasks_blocked()

        assert [status.name for status in system.actors()] == ["top"]
        assert await top.ask(Scribe.write, "going on") == 1


def system_ref(system: ActorSystem, name: str) -> ActorRef[Scribe]:
    found = system.find(name)
    assert found is not None
    return found


class Fatal(BaseException):
    pass


async def test_base_exception_goes_straight_through() -> None:
    async def end(_actor: Scribe) -> None:
        raise Fatal

    async def run() -> None:
        async with ActorSystem() as system:
            scribe = system.spawn(lambda: Diarist(entries), supervision=RESUMING)
            await scribe.ask(end)

    entries: list[str] = []

    with pytest.raises(Fatal):
        await run()

    assert entries == ["started", "stopped with ActorStoppedError"]


async def test_base_exception_of_the_body_cancels_at_once() -> None:
    async def run() -> None:
        async with ActorSystem() as system:
            scribe = system.spawn(lambda: Diarist(entries))
            await scribe.tell(Scribe.write_late, "stuck", Gate())
            await anyio.wait_all_tasks_blocked()
            raise Fatal

    entries: list[str] = []

    with pytest.raises(Fatal):
        await run()

    assert entries == ["started", "stopped with ActorStoppedError"]


async def test_idle_actors_have_no_tasks() -> None:
    async with ActorSystem() as system:
        before = running()
        for _ in range(100):
            await system.spawn(Scribe).ask(Scribe.write, "message")
        await anyio.wait_all_tasks_blocked()

        assert running() == before


async def test_no_task_outlives_the_block() -> None:
    before = running()

    async with ActorSystem() as system:
        scribe = system.spawn(Scribe)
        await scribe.tell(Scribe.write, "message")

    assert running() == before


async def test_cancelled_stop_goes_on_when_the_block_is_left() -> None:
    entries: list[str] = []
    async with ActorSystem() as system:
        scribe, gate = system.spawn(lambda: Scribe(entries)), Gate()
        await scribe.tell(Scribe.write_late, "held", gate)
        with anyio.move_on_after(1.0):
            await system.stop()
        gate.opened.set()

    assert entries == ["held"]


async def test_system_inside_an_actor_of_another_is_a_system_of_its_own() -> None:
    class Outer(Actor):
        async def use(self) -> int:
            async with ActorSystem() as system:
                return await system.spawn(Scribe).ask(Scribe.write, "inner")

    async with ActorSystem() as system:
        assert await system.spawn(Outer).ask(Outer.use) == 1
