"""TLS in front of a PostgreSQL server that has none, as its protocol asks for it.

A client asks for TLS with eight bytes and is answered by one; from then on both talk as they would
without, and the front passes on what they say.
"""

import asyncio
import ssl
from typing import Final, Self
from urllib.parse import urlsplit

_REQUEST: Final = bytes.fromhex("00000008 04d2162f")
_ACCEPTED: Final = b"S"
_CHUNK_BYTES: Final = 65_536


class TLSFront:
    """A front of one server on 127.0.0.1, while its context is entered.

    Args:
        url: The URL of a database of the server that connections go to.
        context: The certificate that it shows, and whom it asks for one.
    """

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self.handshake_count = 0
        """How many connections have had TLS."""
        self.plain_count = 0
        """How many have not asked for it."""
        self.cut_count = 0
        """How many were cut in the middle of the handshake."""
        self._to_cut = 0
        self._hello_bytes = 0
        self.peer_certificates: Final[list[object]] = []
        self._target = urlsplit(url)
        self._context = context
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def url(self, host: str = "127.0.0.1") -> str:
        """Return the URL of the same database, through TLS, by a name of this machine."""
        user, at, _ = self._target.netloc.rpartition("@")
        return self._target._replace(netloc=f"{user}{at}{host}:{self._port}").geturl()

    def cut_handshakes(self, times: int, byte_count: int) -> None:
        """Cut the next handshakes when the client has said so many bytes."""
        self._to_cut, self._hello_bytes = times, byte_count

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client does not trust it, or has gone
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (first := await reader.readexactly(len(_REQUEST))) == _REQUEST:
            writer.write(_ACCEPTED)
            await writer.drain()
            if self._to_cut:
                self._to_cut -= 1
                self.cut_count += 1
                await reader.readexactly(self._hello_bytes)
                return
            await writer.start_tls(self._context)
            self.handshake_count += 1
            self.peer_certificates.append(writer.get_extra_info("peercert"))
            first = b""
        else:
            self.plain_count += 1
        await self._pass_on(first, reader, writer)

    async def _pass_on(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, port = self._target.hostname, self._target.port
        server_reader, server_writer = await asyncio.open_connection(host, port)
        server_writer.write(first)
        try:
            ways = (_copy(reader, server_writer), _copy(server_reader, writer))
            tasks = [asyncio.create_task(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            server_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while some := await reader.read(_CHUNK_BYTES):
        writer.write(some)
        await writer.drain()
