"""What a client and a PostgreSQL server say to each other, as far as faults depend on it.

A request is a Query, or everything up to a Sync: Parse gives a statement a name, Bind makes a
portal of it, Execute runs the portal. Several requests may be under way. The server answers them in
order, and each answer, and nothing else, ends with ReadyForQuery: that is the moment at which a
statement outside of a transaction has been committed.

Pure: bytes go in, messages come out.
"""

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

_ENCRYPTION: Final = {80877103, 80877104}
_CANCELLATION: Final = 80877102


@dataclass(eq=False)
class Request:
    """What a client asks in one go."""

    fault: str | None = None
    """What is to become of it; for whoever follows the conversation."""


class Message(NamedTuple):
    """A whole message of either side."""

    whole: bytes
    """Its bytes, with type and length."""
    type: bytes
    """Its first byte; what a client begins with has none."""
    request: Request
    """What it asks, or answers."""
    sql: bytes | None = None
    """The statement that it has executed, empty where that is not known; None if it has none."""

    @property
    def wants_encryption(self) -> bool:
        """Whether a client asks for TLS or GSSAPI before it begins."""
        return not self.type and _code(self.whole) in _ENCRYPTION

    @property
    def ends_answer(self) -> bool:
        """Whether the server says that it has answered a request."""
        return self.type == b"Z"


class Conversation:
    """Follows both sides of one connection from its beginning."""

    def __init__(self) -> None:
        self._from_client = b""
        self._from_server = b""
        self._has_begun = False
        self._statements: dict[bytes, bytes] = {}
        self._portals: dict[bytes, bytes] = {}
        self._asked = Request()
        self._unanswered: deque[Request] = deque()

    def hear_client(self, data: bytes) -> Iterator[Message]:
        """Yield each message of the client that is whole now."""
        self._from_client += data
        while whole := _first_message(self._from_client, type_size=int(self._has_begun)):
            self._from_client = self._from_client[len(whole) :]
            yield self._begin(whole) if not self._has_begun else self._ask(whole)

    def hear_server(self, data: bytes) -> Iterator[Message]:
        """Yield each message of the server that is whole now."""
        self._from_server += data
        while whole := _first_message(self._from_server, type_size=1):
            self._from_server = self._from_server[len(whole) :]
            request = self._unanswered[0] if self._unanswered else self._asked
            message = Message(whole, whole[:1], request)
            if message.ends_answer and self._unanswered:
                self._unanswered.popleft()
            yield message

    def _begin(self, whole: bytes) -> Message:
        self._has_begun = _code(whole) not in {*_ENCRYPTION, _CANCELLATION}
        message = Message(whole, b"", self._asked)
        if self._has_begun:
            self._await_answer()
        return message

    def _ask(self, whole: bytes) -> Message:
        type_, body = whole[:1], whole[5:]
        self._remember(type_, body)
        message = Message(whole, type_, self._asked, self._executed(type_, body))
        if type_ in {b"Q", b"S"}:
            self._await_answer()
        return message

    def _await_answer(self) -> None:
        self._unanswered.append(self._asked)
        self._asked = Request()

    def _remember(self, type_: bytes, body: bytes) -> None:
        """Keep what later messages name."""
        if type_ == b"P":
            name, sql = _texts(body, 2)
            self._statements[name] = sql
        elif type_ == b"B":
            portal, name = _texts(body, 2)
            self._portals[portal] = self._statements.get(name, b"")

    def _executed(self, type_: bytes, body: bytes) -> bytes | None:
        if type_ == b"Q":
            return _texts(body, 1)[0]
        if type_ == b"E":
            return self._portals.get(_texts(body, 1)[0], b"")
        return None


def _first_message(data: bytes, *, type_size: int) -> bytes:
    """Return the message that some bytes begin with, or nothing while it is not whole."""
    if len(data) < type_size + 4:
        return b""
    (length,) = struct.unpack_from("!I", data, type_size)
    end = type_size + int(length)
    return data[:end] if len(data) >= end else b""


def _code(whole: bytes) -> int:
    """Return the number after the length, which says what a client begins with."""
    return int.from_bytes(whole[4:8], "big")


def _texts(body: bytes, count: int) -> list[bytes]:
    """Return the texts that a message begins with, each of which ends with a zero byte."""
    return body.split(b"\0", count)[:count]
