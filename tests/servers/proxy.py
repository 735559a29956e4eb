"""A proxy between a client and a PostgreSQL server, which injects faults into connections.

It follows the conversation (`tests.servers.conversation`), so that faults hit what they are meant
for: an answer is lost after its statement has been executed, whether that was prepared or not. It
speaks no TLS, and declines when a client offers it.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urlsplit

from tests.faults.account import faults
from tests.servers.conversation import Conversation, Message

_DECLINED: Final = b"N"
_DEFAULT_PORT: Final = 5432
_CHUNK_BYTES: Final = 65_536
_LINGER_NOT: Final = struct.pack("ii", 1, 0)  # makes closing a reset


class Proxy:
    """A TCP proxy in front of one server, while its context is entered.

    Faults are switched on and off while it runs. `cut_at_reply` and `cut_before` are armed for a
    number of requests: any that execute a statement, or those whose SQL holds a text, in whatever
    case. What is injected is counted here, and in the account of the fault tests.

    Args:
        url: The URL of a database of the server that connections go to.
    """

    def __init__(self, url: str) -> None:
        self.injected: Final[Counter[str]] = Counter()
        """How often each fault was injected, by the name of the method that switches it on."""
        self.connection_count = 0
        """How many connections were accepted, refused ones included."""
        self._target = urlsplit(url)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._armed: list[_Armed] = []
        self._passable = asyncio.Event()
        self._passable.set()
        self._changed = asyncio.Event()
        self._delay_seconds = 0.0
        self._refuses = False
        self._chance: _Chance | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._refuses = True  # whoever was accepted at this moment
        self._server.close()
        ending = dict(self._connections)
        for task, connection in ending.items():
            task.cancel()
            connection.reset()  # waits for no client to read
        await asyncio.gather(*ending, return_exceptions=True)
        await self._server.wait_closed()

    async def until_injected(self, fault: str, *, times: int = 1) -> None:
        """Wait until a fault has been injected so many times since the proxy began."""
        while self.injected[fault] < times:
            await self._changed.wait()

    @property
    def url(self) -> str:
        """The URL of the same database, through the proxy."""
        user, at, _ = self._target.netloc.rpartition("@")
        return self._target._replace(netloc=f"{user}{at}127.0.0.1:{self._port}").geturl()

    def cut_at_reply(self, to: bytes = b"", *, times: int = 1, spared: int = 0) -> None:
        """Lose the next answers: let the server execute a request, then reset both sides.

        The client cannot know the outcome; the server has committed, unless it is in a transaction,
        which the reset rolls back. So many requests as are spared are answered before.
        """
        self._armed.append(_Armed("cut_at_reply", to, times, spared))

    def cut_before(self, to: bytes = b"", *, times: int = 1, spared: int = 0) -> None:
        """Lose the next requests: reset both sides before the server is asked to execute."""
        self._armed.append(_Armed("cut_before", to, times, spared))

    def cut_at_random(
        self, *, at_reply: float = 0.0, before: float = 0.0, seed: int | None = None
    ) -> int:
        """Cut requests by chance until it is lifted; print the seed, and return it.

        Args:
            at_reply: The probability with which a request is executed and its answer lost.
            before: The probability with which a request is lost.
            seed: What chance begins with; by default a new one.
        """
        if seed is None:
            seed = random.SystemRandom().getrandbits(32)
        print(f"the proxy cuts at random, seed={seed}")  # noqa: T201 - pytest shows it when the test fails
        self._chance = _Chance(random.Random(seed), at_reply=at_reply, before=before)  # noqa: S311 - repeatable chance, no secret
        return seed

    def cut_all(self) -> None:
        """Reset both sides of every connection now."""
        for connection in self._connections.values():
            self._cut(connection, "cut_all")

    def black_hole(self) -> None:
        """Hold everything that either side says, and accept connections that lead nowhere."""
        self._passable.clear()

    def delay(self, seconds: float) -> None:
        """Hold each piece of an answer for so long; 0 for no longer."""
        self._delay_seconds = seconds

    def refuse(self) -> None:
        """Reset new connections; those that exist go on."""
        self._refuses = True

    def lift(self) -> None:
        """Switch every fault off; what a black hole has held goes on its way."""
        self._armed.clear()
        self._chance = None
        self._delay_seconds = 0.0
        self._refuses = False
        self._passable.set()

    def _count(self, fault: str) -> None:
        self.injected[fault] += 1
        faults.count()
        self._changed.set()
        self._changed = asyncio.Event()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        connection = _Connection(_Side(reader, writer))
        task = asyncio.create_task(self._serve(connection))
        self._connections[task] = connection
        task.add_done_callback(lambda task: self._connections.pop(task).close())

    async def _serve(self, connection: "_Connection") -> None:
        try:
            await self._join(connection)
        except OSError:  # one side was reset, or the server is down
            connection.reset()

    async def _join(self, connection: "_Connection") -> None:
        """Forward what both sides say until one of them ends."""
        if self._refuses:
            self._cut(connection, "refuse")
            return
        await self._pass()
        target = self._target.hostname, self._target.port or _DEFAULT_PORT
        connection.server = server = _Side(*await asyncio.open_connection(*target))
        carriers = [
            asyncio.create_task(self._carry_requests(connection, server)),
            asyncio.create_task(self._carry_answers(connection, server)),
        ]
        try:
            done, _ = await asyncio.wait(carriers, return_when=asyncio.FIRST_COMPLETED)
            for carrier in done:
                carrier.result()
        finally:
            for carrier in carriers:
                carrier.cancel()
            await asyncio.gather(*carriers, return_exceptions=True)

    async def _carry_requests(self, connection: "_Connection", server: "_Side") -> None:
        while data := await connection.client.reader.read(_CHUNK_BYTES):
            await self._pass()
            for message in connection.conversation.hear_client(data):
                if message.wants_encryption:
                    connection.client.writer.write(_DECLINED)
                    continue
                self._judge(message)
                if message.request.fault == "cut_before":
                    self._cut(connection, "cut_before")
                    return
                server.writer.write(message.whole)
            await server.writer.drain()

    async def _carry_answers(self, connection: "_Connection", server: "_Side") -> None:
        while data := await server.reader.read(_CHUNK_BYTES):
            await self._pass()
            if self._delay_seconds:
                self._count("delay")
                await asyncio.sleep(self._delay_seconds)
            for message in connection.conversation.hear_server(data):
                is_lost = message.request.fault == "cut_at_reply"
                if is_lost and message.ends_answer:
                    self._cut(connection, "cut_at_reply")
                    return
                if not is_lost:
                    connection.client.writer.write(message.whole)
            await connection.client.writer.drain()

    async def _pass(self) -> None:
        if not self._passable.is_set():
            self._count("black_hole")
            await self._passable.wait()

    def _judge(self, message: Message) -> None:
        """Decide, once for a request, what becomes of it."""
        if message.sql is None or message.request.fault is not None:
            return
        armed = next((armed for armed in self._armed if armed.fits(message.sql)), None)
        if armed is not None and armed.spared:
            armed.spared -= 1
        elif armed is not None:
            message.request.fault = armed.fault
            armed.times -= 1
            self._armed = [armed for armed in self._armed if armed.times > 0]
        elif self._chance is not None:
            message.request.fault = self._chance.draw()

    def _cut(self, connection: "_Connection", fault: str) -> None:
        self._count(fault)
        connection.reset()


@dataclass
class _Armed:
    """A cut that waits for its requests."""

    fault: str
    text: bytes
    times: int
    spared: int

    def fits(self, sql: bytes) -> bool:
        return self.text.upper() in sql.upper()


@dataclass
class _Chance:
    """Draws cuts, in an order that its seed decides."""

    random: random.Random
    at_reply: float
    before: float

    def draw(self) -> str | None:
        drawn = self.random.random()
        if drawn < self.at_reply:
            return "cut_at_reply"
        return "cut_before" if drawn < self.at_reply + self.before else None


@dataclass
class _Side:
    """One end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def reset(self) -> None:
        """Close it the way a broken connection ends, with a reset; twice is fine."""
        if not self.writer.is_closing():
            end = self.writer.get_extra_info("socket")
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self.writer.transport.abort()


@dataclass
class _Connection:
    """A client, and the server once it is reached."""

    client: _Side
    server: _Side | None = None
    conversation: Conversation = field(default_factory=Conversation)

    @property
    def _sides(self) -> list[_Side]:
        return [self.client] if self.server is None else [self.client, self.server]

    def reset(self) -> None:
        """Break it off; what is on its way is lost."""
        for side in self._sides:
            side.reset()

    def close(self) -> None:
        """End it in good order, once what is on its way has arrived."""
        for side in self._sides:
            side.writer.close()
