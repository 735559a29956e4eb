"""Telling and asking: order, room, answers, errors, time limits, and who must not wait."""

from collections.abc import AsyncIterator
from contextvars import ContextVar

import anyio
import pytest
from tests.unit.framework.actors.cast import Gate, Scribe

from backstory import ConfigurationError
from backstory.actors import (
    ActorRef,
    ActorStoppedError,
    ActorSystem,
    AskTimeoutError,
    Directive,
    MailboxFullError,
    Overflow,
    SupervisionPolicy,
)

pytestmark = pytest.mark.anyio

USER: ContextVar[str] = ContextVar("user", default="nobody")
RESUMING = SupervisionPolicy(rules=((Exception, Directive.RESUME),))


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem() as system:
        yield system


@pytest.fixture
def entries() -> list[str]:
    return []


@pytest.fixture
async def scribe(system: ActorSystem, entries: list[str]) -> ActorRef[Scribe]:
    """Return an actor with room for two messages, which is never restarted."""
    return system.spawn(
        lambda: Scribe(entries), name="scribe", mailbox_size=2, supervision=RESUMING
    )


async def hold(scribe: ActorRef[Scribe], text: str = "held") -> Gate:
    """Return a gate in front of which the actor is waiting."""
    gate = Gate()
    await scribe.tell(Scribe.write_late, text, gate)
    await gate.reached.wait()
    return gate


async def test_answer_is_what_the_method_returns(scribe: ActorRef[Scribe]) -> None:
    assert [await scribe.ask(Scribe.write, text) for text in "ab"] == [1, 2]


async def test_error_reaches_the_asker_as_it_is(scribe: ActorRef[Scribe]) -> None:
    error = KeyError("seven")

    with pytest.raises(KeyError) as caught:
        await scribe.ask(Scribe.fail, error)

    assert caught.value is error


async def test_messages_are_handled_in_the_order_of_sending(
    scribe: ActorRef[Scribe], entries: list[str]
) -> None:
    texts = [str(number) for number in range(100)]

    for text in texts:
        await scribe.tell(Scribe.write, text)
    await scribe.ask(Scribe.write, "end")

    assert entries == [*texts, "end"]


async def test_method_of_a_subclass_goes_before_the_one_that_is_named(system: ActorSystem) -> None:
    class LoudScribe(Scribe):
        async def write(self, text: str) -> int:
            return await super().write(text.upper())

    entries: list[str] = []
    scribe: ActorRef[Scribe] = system.spawn(lambda: LoudScribe(entries))

    await scribe.ask(Scribe.write, "quiet")

    assert entries == ["QUIET"]


async def test_function_that_takes_the_actor_is_a_message_too(scribe: ActorRef[Scribe]) -> None:
    async def count(actor: Scribe, *, beyond: int) -> int:
        return len(actor.entries) + beyond

    assert await scribe.ask(count, beyond=3) == 3


async def test_sender_waits_for_room(scribe: ActorRef[Scribe], entries: list[str]) -> None:
    gate = await hold(scribe)

    async def tell(text: str) -> None:
        await scribe.tell(Scribe.write, text)
        sent.append(text)

    sent: list[str] = []
    async with anyio.create_task_group() as senders:
        for text in "abcd":
            senders.start_soon(tell, text)
        await anyio.wait_all_tasks_blocked()
        assert len(sent) == 2
        gate.opened.set()
    await scribe.ask(Scribe.write, "end")

    assert sorted(entries) == ["a", "b", "c", "d", "end", "held"]


async def test_who_waits_for_room_has_it_first_come_first_served(
    scribe: ActorRef[Scribe], entries: list[str]
) -> None:
    gate = await hold(scribe)

    async def tell(text: str) -> None:
        await scribe.tell(Scribe.write, text)

    async with anyio.create_task_group() as senders:
        for text in "abcdef":
            senders.start_soon(tell, text)
            await anyio.wait_all_tasks_blocked()
        gate.opened.set()
    await scribe.ask(Scribe.write, "end")

    assert entries == ["held", *"abcdef", "end"]


async def test_who_does_not_wait_is_refused_and_counted(
    system: ActorSystem, scribe: ActorRef[Scribe]
) -> None:
    gate = await hold(scribe)
    for text in "ab":
        scribe.tell_nowait(Scribe.write, text)

    with pytest.raises(MailboxFullError) as caught:
        scribe.tell_nowait(Scribe.write, "c")

    assert (caught.value.actor, caught.value.capacity) == ("scribe", 2)
    [status] = system.actors()
    assert (status.mailbox_depth, status.refused_count) == (2, 1)
    gate.opened.set()


async def test_refusing_mailbox_lets_nobody_wait(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, mailbox_size=1, overflow=Overflow.REFUSE)
    gate = await hold(scribe)
    await scribe.tell(Scribe.write, "a")

    with pytest.raises(MailboxFullError):
        await scribe.tell(Scribe.write, "b")
    with pytest.raises(MailboxFullError):
        await scribe.ask(Scribe.write, "b")

    gate.opened.set()


async def test_cancelled_ask_that_has_not_begun_is_never_handled(
    scribe: ActorRef[Scribe], entries: list[str]
) -> None:
    gate = await hold(scribe)

    with anyio.move_on_after(1):
        await scribe.ask(Scribe.write, "never")
    gate.opened.set()
    await scribe.ask(Scribe.write, "end")

    assert entries == ["held", "end"]


async def test_cancelled_ask_makes_room(scribe: ActorRef[Scribe], entries: list[str]) -> None:
    gate = await hold(scribe)
    await scribe.tell(Scribe.write, "a")
    with anyio.move_on_after(1):
        await scribe.ask(Scribe.write, "never")

    scribe.tell_nowait(Scribe.write, "b")

    gate.opened.set()
    await scribe.ask(Scribe.write, "end")
    assert entries == ["held", "a", "b", "end"]


async def test_cancelled_ask_that_has_begun_is_handled_to_its_end(
    scribe: ActorRef[Scribe], entries: list[str]
) -> None:
    gate = Gate()

    with anyio.move_on_after(1):
        await scribe.ask(Scribe.write_late, "late", gate)
    gate.opened.set()
    await scribe.ask(Scribe.write, "end")

    assert entries == ["late", "end"]


async def test_error_of_a_cancelled_ask_is_logged(
    scribe: ActorRef[Scribe], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail_late(actor: Scribe, gate: Gate) -> None:
        await gate.pass_through()
        await actor.fail()

    gate = Gate()
    with anyio.move_on_after(1):
        await scribe.ask(fail_late, gate)
    gate.opened.set()
    await scribe.ask(Scribe.write, "end")

    [entry] = [record for record in caplog.records if record.message == "actor.failed"]
    assert "ValueError: no" in str(vars(entry)["reason"])


async def test_error_that_an_asker_is_told_is_not_logged_when_the_actor_goes_on(
    scribe: ActorRef[Scribe], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="no"):
        await scribe.ask(Scribe.fail)

    assert not caplog.records


async def test_cancelled_tell_that_waits_for_room_is_never_handled(
    scribe: ActorRef[Scribe], entries: list[str]
) -> None:
    gate = await hold(scribe)
    for text in "ab":
        await scribe.tell(Scribe.write, text)

    with anyio.move_on_after(1) as scope:
        await scribe.tell(Scribe.write, "never")
    gate.opened.set()
    await scribe.ask(Scribe.write, "end")

    assert scope.cancelled_caught
    assert entries == ["held", "a", "b", "end"]


async def test_ask_that_begins_too_late_is_taken_back(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, name="scribe", ask_timeout_seconds=2.0)
    gate = await hold(scribe)

    with pytest.raises(AskTimeoutError) as caught:
        await scribe.ask(Scribe.write, "never")

    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.actor, caught.value.timeout_seconds) == ("scribe", 2.0)
    assert not caught.value.outcome_unknown
    gate.opened.set()
    assert await scribe.ask(Scribe.write, "second") == 2


async def test_ask_that_ends_too_late_may_have_happened(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, ask_timeout_seconds=2.0)
    gate = Gate()

    with pytest.raises(AskTimeoutError) as caught:
        await scribe.ask(Scribe.write_late, "late", gate)

    assert caught.value.outcome_unknown
    gate.opened.set()
    assert await scribe.ask(Scribe.write, "second") == 2


async def test_waiting_for_room_counts_as_asking(system: ActorSystem) -> None:
    scribe = system.spawn(Scribe, mailbox_size=1, ask_timeout_seconds=2.0)
    gate = await hold(scribe)
    await scribe.tell(Scribe.write, "a")

    with pytest.raises(AskTimeoutError) as caught:
        await scribe.ask(Scribe.write, "never")

    assert not caught.value.outcome_unknown
    gate.opened.set()


async def test_actor_that_asks_itself_is_refused(scribe: ActorRef[Scribe]) -> None:
    with pytest.raises(ConfigurationError, match="wait for ever"):
        await scribe.ask(Scribe.ask_myself)


async def test_circle_of_questions_is_refused(system: ActorSystem) -> None:
    one, other = (system.spawn(Scribe, supervision=RESUMING) for _ in range(2))

    with pytest.raises(ConfigurationError, match="wait for ever"):
        await one.ask(Scribe.ask_another, other)


async def test_chain_of_questions_is_no_circle(system: ActorSystem) -> None:
    async def ask_along(actor: Scribe, others: list[ActorRef[Scribe]]) -> int:
        if not others:
            return await actor.write("end")
        return await others[0].ask(ask_along, others[1:])

    first, *others = (system.spawn(Scribe) for _ in range(5))

    assert await first.ask(ask_along, others) == 1


async def test_one_who_was_asked_and_told_its_asker_is_no_circle(system: ActorSystem) -> None:
    async def answer(_actor: Scribe, asker: ActorRef[Scribe]) -> str:
        await asker.tell(Scribe.write, "told")
        return "answered"

    async def ask(actor: Scribe, other: ActorRef[Scribe]) -> str:
        return await other.ask(answer, actor.context.ref)

    one, other = (system.spawn(Scribe) for _ in range(2))

    assert await one.ask(ask, other) == "answered"
    assert await one.ask(Scribe.write, "second") == 2


async def test_actor_may_tell_itself(scribe: ActorRef[Scribe], entries: list[str]) -> None:
    await scribe.ask(Scribe.tell_myself, "next")
    await scribe.ask(Scribe.write, "end")

    assert entries == ["next", "end"]


async def test_actor_does_not_wait_for_room_in_its_own_mailbox(system: ActorSystem) -> None:
    async def tell_twice(actor: Scribe) -> None:
        await actor.tell_myself("first")
        await actor.tell_myself("second")

    scribe = system.spawn(Scribe, mailbox_size=1, supervision=RESUMING)

    with pytest.raises(MailboxFullError):
        await scribe.ask(tell_twice)


async def test_one_message_at_a_time_whatever_it_waits_for(system: ActorSystem) -> None:
    async def take_note_of_length(actor: Scribe) -> None:
        length = len(actor.entries)
        await anyio.sleep(1)
        actor.entries.append(str(length))

    entries: list[str] = []
    scribe = system.spawn(lambda: Scribe(entries))
    async with anyio.create_task_group() as askers:
        for _ in range(10):
            askers.start_soon(scribe.ask, take_note_of_length)

    assert entries == [str(number) for number in range(10)]


async def test_stopped_actor_takes_no_messages(scribe: ActorRef[Scribe]) -> None:
    await scribe.stop()

    with pytest.raises(ActorStoppedError, match="has stopped"):
        await scribe.tell(Scribe.write, "never")
    with pytest.raises(ActorStoppedError):
        scribe.tell_nowait(Scribe.write, "never")
    with pytest.raises(ActorStoppedError) as caught:
        await scribe.ask(Scribe.write, "never")
    assert not caught.value.outcome_unknown


async def test_who_waits_for_room_is_told_of_the_end(scribe: ActorRef[Scribe]) -> None:
    gate = await hold(scribe)
    for text in "ab":
        await scribe.tell(Scribe.write, text)
    caught: list[ActorStoppedError] = []

    async def tell() -> None:
        try:
            await scribe.tell(Scribe.write, "c")
        except ActorStoppedError as error:
            caught.append(error)

    async def ask() -> None:
        try:
            await scribe.ask(Scribe.write, "c")
        except ActorStoppedError as error:
            caught.append(error)

    async with anyio.create_task_group() as senders:
        senders.start_soon(tell)
        senders.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        scribe.stop_nowait()
    gate.opened.set()
    await scribe.wait_stopped()

    assert [error.outcome_unknown for error in caught] == [False, False]


async def test_handles_to_one_actor_are_equal(
    system: ActorSystem, scribe: ActorRef[Scribe]
) -> None:
    async def me(actor: Scribe) -> ActorRef[Scribe]:
        return actor.context.ref

    found = system.find("scribe")

    assert {found, scribe, await scribe.ask(me)} == {scribe}
    assert repr(scribe) == "<ActorRef 'scribe', idle>"


async def test_variables_of_the_asker_are_not_the_actors(system: ActorSystem) -> None:
    async def user_of(_actor: Scribe) -> str:
        return USER.get()

    scribe = system.spawn(Scribe)
    USER.set("ada")

    assert await scribe.ask(user_of) == "nobody"
