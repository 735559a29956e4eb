"""Telling and asking are cancelled at every place where they wait.

Afterwards the message was handled once or never, never if it had not begun; what others have sent
is handled in its order, nothing is left behind, and the actor answers the next question.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from tests.integration.test_cancellation import step_by_scope, step_natively, step_twice

from backstory.actors import Actor, ActorRef, ActorSystem

pytestmark = pytest.mark.anyio

WAITS_MAX = 50

Step = Callable[[Callable[[], Coroutine[Any, Any, Any]], int], Awaitable[bool]]


class Clerk(Actor):
    """Takes a few turns of the loop for everything."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.begun: list[str] = []

    async def work(self, text: str, *, turns: int = 3) -> list[str]:
        self.begun.append(text)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        self.handled.append(text)
        return self.handled

    async def look(self) -> tuple[list[str], list[str]]:
        return self.begun, self.handled


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    async with ActorSystem() as system:
        yield system


async def ask_idle(clerk: ActorRef[Clerk]) -> None:
    await clerk.ask(Clerk.work, "ours")


async def ask_busy(clerk: ActorRef[Clerk]) -> None:
    await clerk.tell(Clerk.work, "before")
    await clerk.ask(Clerk.work, "ours")


async def ask_without_room(clerk: ActorRef[Clerk]) -> None:
    for _ in range(3):
        await clerk.tell(Clerk.work, "before")
    await clerk.ask(Clerk.work, "ours")


async def tell_without_room(clerk: ActorRef[Clerk]) -> None:
    for _ in range(3):
        await clerk.tell(Clerk.work, "before")
    await clerk.tell(Clerk.work, "ours")


@pytest.mark.parametrize("limit", [None, 60.0], ids=["no limit", "time limit"])
@pytest.mark.parametrize("step", [step_by_scope, step_natively, step_twice])
@pytest.mark.parametrize("operation", [ask_idle, ask_busy, ask_without_room, tell_without_room])
async def test_sending_is_cancelled_anywhere(
    system: ActorSystem,
    operation: Callable[[ActorRef[Clerk]], Coroutine[Any, Any, None]],
    step: Step,
    limit: float | None,
) -> None:
    tasks = len(asyncio.all_tasks())
    for at in range(1, WAITS_MAX):
        clerk = system.spawn(Clerk, mailbox_size=1, ask_timeout_seconds=limit)

        was_cancelled = await step(lambda clerk=clerk: operation(clerk), at)  # type: ignore[misc]  # mypy has no type for a default

        await clerk.ask(Clerk.work, "after")
        begun, handled = await clerk.ask(Clerk.look)
        assert handled == begun  # what has begun is handled to its end
        assert handled.count("ours") == 1 or (was_cancelled and "ours" not in handled)
        assert handled[-1] == "after"
        assert system.actors()[-1].mailbox_depth == 0
        await clerk.stop()
        assert len(asyncio.all_tasks()) == tasks
        if not was_cancelled:
            break
    else:
        pytest.fail("it waits too often")
    assert at > 1
    assert system.dead_letters.count == 0


async def test_actor_whose_task_is_cancelled_by_itself_takes_nobody_along() -> None:
    async with ActorSystem() as system:
        one, other = system.spawn(Clerk, name="one"), system.spawn(Clerk, name="other")
        begun = anyio.Event()

        async def wait(_: Clerk) -> None:
            begun.set()
            await anyio.sleep_forever()

        await one.tell(wait)
        await begun.wait()
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "one"]
        task.cancel()
        await one.wait_stopped()

        assert await other.ask(Clerk.work, "a") == ["a"]
