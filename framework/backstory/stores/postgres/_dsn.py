"""What the URL of a database may say, and what of it may be shown."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from backstory._errors import ConfigurationError
from backstory.stores.postgres._query import READ_SETTINGS

_HOST: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(:[0-9]*)?")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_OWN: Final = {
    "statement_timeout": "say statement_timeout_seconds",
    "lock_timeout": "say lock_timeout_seconds",
    "idle_in_transaction_session_timeout": "it follows lock_timeout_seconds",
    "idle_session_timeout": "it follows ownership_timeout_seconds",
    "search_path": "say schema",
    "default_transaction_read_only": "make the store with read_only=True",
    "default_transaction_isolation": "every statement relies on it",
    "synchronous_commit": "say durability, or set it for the role",
    "client_encoding": "it is UTF-8",
    "timezone": "it is UTC",
    **dict.fromkeys(READ_SETTINGS, "the speed of reading relies on it"),
}
"""What the store sets in its sessions, and what to do instead of saying it in the URL."""


def check_dsn(dsn: str) -> None:
    """Refuse a URL that would be read otherwise than it looks.

    Raises:
        ConfigurationError: Part of its password would be taken for something else, or it says what
            the store says itself. The message holds nothing of a password.
    """
    parts = urlsplit(dsn)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    strays = parts.netloc.count("@") > 1 or "@" in parts.path
    if strays or not all(map(_HOST.fullmatch, hosts)):
        raise ConfigurationError(
            "the URL of the PostgreSQL database has a host, a port or a name that cannot be; in a "
            "password write '@' as %40, '/' as %2F, '?' as %3F, '#' as %23 and '%' as %25"
        )
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if name in _OWN:
            raise ConfigurationError(
                f"{shown_dsn(dsn)}: the store itself says what {name} is; {_OWN[name]}"
            )


def check_files(dsn: str) -> None:
    """Refuse a URL that names a file which is not there.

    Raises:
        ConfigurationError: It does.
    """
    for name, value in parse_qsl(urlsplit(dsn).query):
        if name in _FILES and not Path(value).is_file():
            raise ConfigurationError(f"{shown_dsn(dsn)}: {name}: there is no file {value!r}")


def sets(dsn: str, name: str) -> bool:
    """Tell whether a URL says what a setting is."""
    return name in dict(parse_qsl(urlsplit(dsn).query, keep_blank_values=True))


def for_driver(dsn: str) -> str:
    """Return a URL as the driver understands it: no name of a database leaves it to PGDATABASE."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path="")) if parts.path == "/" else dsn


def shown_dsn(dsn: str, *, schema: str | None = None) -> str:
    """Return a URL as it may stand in a message: without password and settings."""
    parts = urlsplit(dsn)
    user, _, host = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    netloc = f"{user}@{host}" if user else host
    query = "" if schema is None else f"?schema={quote(schema)}"
    return f"{parts.scheme}://{netloc}{parts.path}{query}"
