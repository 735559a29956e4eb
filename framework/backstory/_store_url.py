"""A store's URL: it picks the store, and nothing else in the program changes.

    memory://                                  gone with the process
    sqlite:///story.db                         a file in the current folder
    sqlite:////var/lib/app/story.db            a file by its whole path
    sqlite:///story.db?durability=buffered     with settings
    postgresql://user@host/name?schema=story   a schema of a PostgreSQL database

Further stores are found by entry point (group `backstory.stores`, the scheme as its name): a
function that takes a `StoreURL` and `read_only`, and returns an `EventStore`.
"""

import re
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from msgspec import Struct
from msgspec.structs import replace

from backstory._clock import Clock
from backstory._commit import Durability
from backstory._errors import ConfigurationError
from backstory._store import EventStore


class StoreURL(Struct, frozen=True):
    """The parts of a store's URL."""

    scheme: str
    """Which store."""
    path: str
    """What is behind the scheme, without the settings."""
    settings: dict[str, str]
    """What is behind the question mark."""
    text: str
    """The URL as it was given."""

    def __repr__(self) -> str:
        """Return it as it may stand in a message: without passwords."""
        return f"StoreURL({shown(self.text)!r})"


StoreOpener = Callable[[StoreURL, bool], EventStore]


# Up to the last @, since a password may hold characters that should have been escaped.
_SECRETS: Final = re.compile(r"(?<=://)([^/?#@:]*):.*@|(?<=[?&])((?:ssl)?password=)[^&]*")


def shown(url: str) -> str:
    """Return a URL as it may stand in a message: without passwords."""
    return _SECRETS.sub(lambda m: f"{m[1]}:***@" if m[1] is not None else f"{m[2]}***", url)


def parse_store_url(url: str) -> StoreURL:
    """Return the parts of a store's URL.

    Raises:
        ConfigurationError: It is no URL, or names a setting twice.
    """
    if "://" not in url:
        raise ConfigurationError(
            f"{shown(url)!r} is no store URL; write one such as 'memory://' or 'sqlite:///story.db'"
        )
    if not url.isprintable() or "#" in url:
        raise ConfigurationError(
            f"store URL {shown(url)!r}: write control characters and '#' as percent escapes"
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"store URL {shown(url)!r}: {error}") from None
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise ConfigurationError(f"store URL {shown(url)!r} names a setting twice; keep one")
    return StoreURL(parts.scheme, unquote(parts.netloc + parts.path), dict(pairs), url)


def store_of(url: str, *, read_only: bool = False, clock: Clock | None = None) -> EventStore:
    """Return the store of a URL, not yet opened.

    Args:
        url: The URL.
        read_only: Refuse to write, and to create what does not exist.
        clock: What events are recorded at, for the stores that come with Backstory; the store's
            own clock by default.

    Raises:
        ConfigurationError: The URL names no store that is installed, or a setting it does not have,
            or a store that takes no clock.
    """
    parsed = parse_store_url(url)
    if parsed.scheme in _OPENERS:
        return _OPENERS[parsed.scheme](parsed, read_only, clock)
    for entry_point in entry_points(group="backstory.stores", name=parsed.scheme):
        if clock is not None:
            raise ConfigurationError(
                f"store URL {shown(url)!r}: a store for {parsed.scheme!r} takes no clock"
            )
        opener = cast("StoreOpener", entry_point.load())
        return opener(parsed, read_only)
    known = ", ".join(sorted(_OPENERS))
    raise ConfigurationError(
        f"store URL {shown(url)!r}: no store for {parsed.scheme!r}; known: {known}"
    )


def _open_in_memory(url: StoreURL, _read_only: bool, clock: Clock | None) -> EventStore:  # noqa: FBT001 - called with the opener's arguments
    if url.path or url.settings:
        raise ConfigurationError(
            f"store URL {shown(url.text)!r}: write 'memory://' and nothing more"
        )
    store: EventStore = import_module("backstory.stores.in_memory").InMemoryStore(clock=clock)
    return store


def _durability(text: str) -> Durability:
    known = [Durability.FSYNC.value, Durability.BUFFERED.value]
    if text not in known:
        raise ValueError(f"{text!r} is no durability of a file: {' or '.join(known)}")
    return Durability(text)


_SQLITE_SETTINGS: Final[dict[str, Callable[[str], Any]]] = {
    "durability": _durability,
    "busy_timeout_seconds": float,
    "poll_interval_seconds": float,
}


def _open_sqlite(url: StoreURL, read_only: bool, clock: Clock | None) -> EventStore:  # noqa: FBT001 - as above
    if not url.path.startswith("/") or not (path := url.path[1:]):
        raise ConfigurationError(
            f"store URL {shown(url.text)!r}: write three slashes and a file, "
            "as in 'sqlite:///story.db'"
        )
    if path == ":memory:":
        raise ConfigurationError(
            f"store URL {shown(url.text)!r}: for a store in memory write 'memory://'"
        )
    settings = _read_settings(url, _SQLITE_SETTINGS)
    sqlite = import_module("backstory.stores.sqlite")
    store: EventStore = sqlite.SQLiteStore(path, read_only=read_only, clock=clock, **settings)
    return store


def _texts(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


_FLAGS: Final = {"true": True, "false": False}


def _flag(text: str) -> bool:
    if text not in _FLAGS:
        raise ValueError(f"{text!r} is neither true nor false")
    return _FLAGS[text]


_POSTGRES_SETTINGS: Final[dict[str, Callable[[str], Any]]] = {
    "schema": str,
    "durability": _durability,
    "migrate": _flag,
    "indexes": _texts,
    "listen": _flag,
    "connection_count_max": int,
    "connect_timeout_seconds": float,
    "statement_timeout_seconds": float,
    "lock_timeout_seconds": float,
    "retry_seconds": float,
    "poll_interval_seconds": float,
    "ownership_timeout_seconds": float,
}
"""What is ours; the rest of such a URL is libpq's."""


def _open_postgres(url: StoreURL, read_only: bool, clock: Clock | None) -> EventStore:  # noqa: FBT001 - as above
    ours = {name: text for name, text in url.settings.items() if name in _POSTGRES_SETTINGS}
    settings = _read_settings(replace(url, settings=ours), _POSTGRES_SETTINGS)
    postgres = import_module("backstory.stores.postgres")
    dsn = without(url.text, *ours)
    store: EventStore = postgres.PostgresStore(dsn, read_only=read_only, clock=clock, **settings)
    return store


def without(url: str, *names: str) -> str:
    """Return a URL without some of its settings."""
    parts = urlsplit(url)
    kept = [(n, v) for n, v in parse_qsl(parts.query, keep_blank_values=True) if n not in names]
    return urlunsplit(parts._replace(query=urlencode(kept)))


def with_setting(url: str, name: str, text: str) -> str:
    """Return a URL with one more setting."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode({name: text})}"


def _read_settings(url: StoreURL, known: dict[str, Callable[[str], Any]]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, text in url.settings.items():
        if name not in known:
            raise ConfigurationError(
                f"store URL {shown(url.text)!r} has no setting {name!r}; "
                f"known: {', '.join(sorted(known))}"
            )
        try:
            settings[name] = known[name](text)
        except ValueError as error:
            raise ConfigurationError(f"store URL {shown(url.text)!r}: {name}: {error}") from None
    return settings


_OPENERS: Final[dict[str, Callable[[StoreURL, bool, Clock | None], EventStore]]] = {
    "memory": _open_in_memory,
    "sqlite": _open_sqlite,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
}
