"""The actors that the tests share."""

import anyio

from backstory.actors import Actor, ActorRef, Termination


class Gate:
    """Holds a message until it is opened."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self.opened = anyio.Event()

    async def pass_through(self) -> None:
        """Wait until the gate is open."""
        self.reached.set()
        await self.opened.wait()


class Scribe(Actor):
    """Writes down what happens to it, in a list that the test holds."""

    def __init__(self, entries: list[str] | None = None) -> None:
        self.entries: list[str] = [] if entries is None else entries

    async def write(self, text: str) -> int:
        self.entries.append(text)
        return len(self.entries)

    async def write_late(self, text: str, gate: Gate) -> int:
        await gate.pass_through()
        return await self.write(text)

    async def fail(self, error: Exception | None = None) -> None:
        raise ValueError("no") if error is None else error

    async def tell_myself(self, text: str) -> None:
        await self.context.ref.tell(Scribe.write, text)

    async def ask_myself(self) -> int:
        return await self.context.ref.ask(Scribe.write, "never")

    async def ask_another(self, other: "ActorRef[Scribe]") -> int:
        return await other.ask(Scribe.ask_another, self.context.ref)

    async def note_end(self, termination: Termination) -> None:
        error = type(termination.error).__name__
        self.entries.append(f"{termination.name} ended with {error}")


class Diarist(Scribe):
    """Writes down its own life too."""

    async def started(self) -> None:
        self.entries.append("started")

    async def stopped(self, error: Exception | None) -> None:
        self.entries.append(f"stopped with {type(error).__name__}")
