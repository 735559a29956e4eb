"""Messages are told apart however they arrive, and answers belong to their requests."""

import struct

from tests.servers.conversation import Conversation

STARTUP = struct.pack("!II", 17, 196_608) + b"user\0ada\0"
TLS_REQUEST = struct.pack("!II", 8, 80_877_103)
READY = b"Z\0\0\0\x05I"


def message(type: str, body: bytes = b"") -> bytes:
    return type.encode() + struct.pack("!I", 4 + len(body)) + body


def begun() -> Conversation:
    """Return a conversation whose start-up is over."""
    conversation = Conversation()
    list(conversation.hear_client(STARTUP))
    list(conversation.hear_server(message("R", bytes(4)) + READY))
    return conversation


def test_messages_are_whole_however_they_arrive() -> None:
    said = STARTUP + message("Q", b"SELECT 1\0") + message("X")
    conversation = Conversation()

    heard = [message for byte in said for message in conversation.hear_client(bytes([byte]))]

    assert [message.type for message in heard] == [b"", b"Q", b"X"]
    assert b"".join(message.whole for message in heard) == said
    assert [message.sql for message in heard] == [None, b"SELECT 1", None]


def test_offer_to_encrypt_comes_before_the_beginning() -> None:
    conversation = Conversation()

    heard = list(conversation.hear_client(TLS_REQUEST + STARTUP))

    assert [message.wants_encryption for message in heard] == [True, False]
    assert b"".join(message.whole for message in heard) == TLS_REQUEST + STARTUP


def test_execution_names_the_statement_that_was_parsed_under_that_name() -> None:
    conversation = begun()
    prepared = message("P", b"one\0SELECT 1\0\0\0") + message("P", b"two\0SELECT 2\0\0\0")
    executed = message("B", b"portal\0two\0") + message("E", b"portal\0\0\0\0\0") + message("S")
    list(conversation.hear_client(prepared + message("S")))

    heard = list(conversation.hear_client(executed))

    assert [message.sql for message in heard] == [None, b"SELECT 2", None]


def test_answers_belong_to_requests_in_order() -> None:
    conversation = begun()
    queries = b"".join(message("Q", b"SELECT %d\0" % number) for number in (1, 2))

    first, second = (asked.request for asked in conversation.hear_client(queries))
    answers = list(conversation.hear_server((message("C", b"SELECT 1\0") + READY) * 2))

    assert first is not second
    assert [answer.request for answer in answers] == [first, first, second, second]


def test_answer_before_the_sync_belongs_to_the_request_under_way() -> None:
    conversation = begun()
    parse = message("P", b"\0SELECT 1\0\0\0")

    (parsed, _flushed) = conversation.hear_client(parse + message("H"))
    (answer,) = conversation.hear_server(message("1"))
    (synced,) = conversation.hear_client(message("S"))

    assert answer.request is parsed.request is synced.request
