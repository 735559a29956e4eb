"""A store speaks TLS as its URL says, and trusts whom it is told to trust."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import trustme
from tests.conftest import drain, noted, texts_of
from tests.servers.postgres import PostgresServer
from tests.servers.tls import TLSFront

from backstory import ANY, ConfigurationError, store_of
from backstory.stores.postgres._database import is_misconfigured, is_passing

pytestmark = pytest.mark.anyio

FOR_EVER: Final = "retry_seconds=3600"
"""Were a refusal tried again, then for an hour."""


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    """Return the file that names who is to be trusted."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer) -> None:
    """Leave it to the URL whether there is TLS."""
    del postgres_server  # it has set it
    monkeypatch.delenv("PGSSLMODE", raising=False)


@pytest.fixture
def context(authority: trustme.CA, tmp_path: Path) -> ssl.SSLContext:
    file = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@pytest.fixture
async def front(postgres_url: str, context: ssl.SSLContext) -> AsyncIterator[TLSFront]:
    async with TLSFront(postgres_url, context) as front:
        yield front


async def append_and_read(url: str) -> list[str]:
    async with store_of(url) as store:
        await store.append("note-1", noted("a", "ö"), expected_version=ANY)
        return texts_of(await drain(store.read_log()))


@pytest.mark.parametrize("mode", ["prefer", "require", "verify-ca", "verify-full"])
async def test_everything_goes_through_tls(front: TLSFront, trusted: Path, mode: str) -> None:
    url = f"{front.url('localhost')}?sslmode={mode}&sslrootcert={trusted}"

    assert await append_and_read(url) == ["a", "ö"]

    assert front.handshake_count >= 3  # one to read, to write, to listen
    assert not front.plain_count


async def test_tls_is_taken_where_it_is_offered(front: TLSFront) -> None:
    assert await append_and_read(front.url()) == ["a", "ö"]

    assert front.handshake_count


async def test_variable_says_it_too(
    front: TLSFront, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PGSSLMODE", "verify-full")
        patch.setenv("PGSSLROOTCERT", str(trusted))

        assert await append_and_read(front.url("localhost")) == ["a", "ö"]

    assert front.handshake_count


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_certificate_of_somebody_else_is_refused_at_once(
    front: TLSFront, tmp_path: Path, mode: str
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    url = f"{front.url('localhost')}?sslmode={mode}&sslrootcert={stranger}&{FOR_EVER}"

    with pytest.raises(ConfigurationError, match="certificate verify failed"):
        await store_of(url).open()


async def test_certificate_of_another_host_is_refused_at_once(
    front: TLSFront, trusted: Path
) -> None:
    url = f"{front.url('127.0.0.1')}?sslmode=verify-full&sslrootcert={trusted}&{FOR_EVER}"

    with pytest.raises(ConfigurationError, match="is not valid for"):
        await store_of(url).open()


async def test_certificate_of_the_program_is_shown(
    front: TLSFront,
    context: ssl.SSLContext,
    authority: trustme.CA,
    trusted: Path,
    tmp_path: Path,
) -> None:
    context.load_verify_locations(trusted)
    context.verify_mode = ssl.CERT_REQUIRED
    own = authority.issue_cert("ada@example.org")
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    own.cert_chain_pems[0].write_to_path(str(certificate))
    own.private_key_pem.write_to_path(str(key))
    url = (
        f"{front.url('localhost')}?sslmode=verify-full&sslrootcert={trusted}"
        f"&sslcert={certificate}&sslkey={key}"
    )

    assert await append_and_read(url) == ["a", "ö"]

    assert "ada@example.org" in str(front.peer_certificates[0])


@pytest.mark.parametrize(
    ("error", "is_for_nothing"),
    [
        (ssl.SSLEOFError(), False),
        (ssl.SSLZeroReturnError(), False),
        (ssl.SSLSyscallError(), False),
        (ssl.SSLCertVerificationError(), True),
        (ssl.SSLError(1, "tlsv1 alert protocol version"), True),
    ],
)
def test_only_what_a_setting_can_mend_is_not_tried_again(
    error: ssl.SSLError, *, is_for_nothing: bool
) -> None:
    assert is_misconfigured(error) is is_for_nothing
    assert is_passing(error) is not is_for_nothing


@pytest.mark.parametrize("byte_count", [0, 1, 100])
async def test_handshake_that_is_cut_is_tried_again(
    front: TLSFront, trusted: Path, byte_count: int
) -> None:
    front.cut_handshakes(3, byte_count)
    url = f"{front.url('localhost')}?sslmode=verify-full&sslrootcert={trusted}"

    assert await append_and_read(url) == ["a", "ö"]

    assert front.cut_count == 3
