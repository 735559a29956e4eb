"""Connections to one PostgreSQL database: how they are set up, shared and had again when lost.

An operation is a function of a connection. It is run on one of a few, and run again on another when
the first was lost, after a pause that grows, until a time limit. When operations have used up that
time again and again, the next ones are refused at once for a while: a circuit breaker.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
from msgspec import Struct

from backstory._commit import Durability
from backstory._errors import (
    BackstoryError,
    ConfigurationError,
    CorruptLogError,
    StoreClosedError,
    StoreUnavailableError,
)
from backstory._group_commit import BUGS
from backstory.stores.postgres._dsn import check_files, for_driver, sets, shown_dsn
from backstory.stores.postgres._query import READ_SETTINGS

try:
    import asyncpg
    from circuitbreaker import CircuitBreaker  # type: ignore[import-untyped]  # it has no types
    from tenacity import (
        AsyncRetrying,
        retry_if_exception,
        stop_after_delay,
        wait_random_exponential,
    )
except ImportError as error:
    raise ImportError(
        f"the PostgreSQL store needs {error.name}, which the extra `postgres` brings: "
        "pip install '.[postgres]' in a clone of Backstory"
    ) from error

T = TypeVar("T")
Db = Any
"""A connection of asyncpg, or a pool's stand-in for one."""

_PAUSE_SECONDS: Final = 0.05
_PAUSE_SECONDS_MAX: Final = 1.0
_FAILURES_MAX: Final = 5
"""Operations that could not reach the server, one behind the other, before others are refused."""
_REFUSED_SECONDS: Final = 5
_CLOSING_SECONDS: Final = 5.0

_LOST: Final = (
    *(OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError),
    *(asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.IdleSessionTimeoutError),
    *(asyncpg.IdleInTransactionSessionTimeoutError, asyncpg.InternalClientError),
)
"""The connection is gone; what was under way may have happened."""
_TRY_AGAIN: Final = (
    *(asyncpg.TooManyConnectionsError, asyncpg.SerializationError, asyncpg.DeadlockDetectedError),
    asyncpg.ReadOnlySQLTransactionError,  # a primary that has become a replica
)
"""Nothing happened, and another attempt may do."""
_MISCONFIGURED: Final = (
    *(asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError),
    *(asyncpg.InsufficientPrivilegeError, asyncpg.ClientConfigurationError),
    *(asyncpg.CantChangeRuntimeParamError, asyncpg.UndefinedObjectError),
    asyncpg.ReservedNameError,
)

_CUT: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""How TLS says that the connection was lost; all else that it says is a matter of settings."""


class _UsedUpError(TimeoutError):
    """No connection has become free in time, and none more may be made."""


class Settings(Struct, frozen=True, kw_only=True):
    """What a store is told about its database and its time limits."""

    dsn: str
    """Where the database is, as libpq and asyncpg know it; what it does not say, PG* variables and
    the password file do."""
    schema: str
    """The schema that holds the store."""
    durability: Durability
    read_only: bool
    connection_count_max: int
    """Connections for reading and small changes; three more are used beside them."""
    connect_timeout_seconds: float
    statement_timeout_seconds: float
    lock_timeout_seconds: float
    retry_seconds: float
    """How long an operation is tried again when its connection was lost; 0 for once only."""

    @property
    def name(self) -> str:
        """The store's name, for messages: without the password."""
        return shown_dsn(self.dsn, schema=self.schema)

    def __repr__(self) -> str:
        """Return its name, which has no password."""
        return f"Settings({self.name!r})"

    @property
    def quoted_schema(self) -> str:
        """The schema as it is written in a statement."""
        doubled = self.schema.replace('"', '""')
        return f'"{doubled}"'


class Doubt:
    """What is not known of a change: whether one of the attempts at it has happened."""

    def __init__(self) -> None:
        """Know all of it."""
        self.is_unknown = False
        """Whether a connection was lost while an attempt was under way on it."""

    def note(self, error: BaseException) -> None:
        """Take note of how an attempt on a connection has ended."""
        self.is_unknown = self.is_unknown or is_lost(error)


class Database:
    """A few connections, and patience."""

    def __init__(self, settings: Settings) -> None:
        """Make it; `open` connects."""
        self.settings = settings
        self._pool: Any = None
        self._is_closing = False
        self._breaker: Any = CircuitBreaker(
            failure_threshold=_FAILURES_MAX,
            recovery_timeout=_REFUSED_SECONDS,
            expected_exception=_is_out_of_reach,
        )

    async def open(self) -> None:
        """Prepare to connect; nothing is connected before the first operation."""
        check_files(self.settings.dsn)
        self._is_closing = False
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=self.settings.connection_count_max,
            reset=_reset,
            **self._arguments(READ_SETTINGS),
        )

    def stop_trying(self) -> None:
        """Let operations fail from now on where they would be tried again."""
        self._is_closing = True

    async def aclose(self) -> None:
        """Let go of the connections, once the operations on them have ended; soon, or by force."""
        if self._pool is None:
            return
        with anyio.move_on_after(_CLOSING_SECONDS) as patience:
            await self._pool.close()
        if patience.cancelled_caught:
            self._pool.terminate()

    async def connect(self, *, plans_pages: bool = True, **server_settings: str) -> Db:
        """Return a connection of one's own.

        Args:
            plans_pages: Whether it is set to read pages of the log; else as the server is.
            server_settings: What else it is set to.

        Raises:
            Exception: Whatever the driver raises.
        """
        settings = (READ_SETTINGS if plans_pages else {}) | server_settings
        return await asyncpg.connect(**self._arguments(settings))

    def _arguments(self, server_settings: dict[str, str]) -> dict[str, Any]:
        settings = self.settings
        return {
            "dsn": for_driver(settings.dsn),
            "timeout": settings.connect_timeout_seconds,
            # The server gives up first, and says what it was; this one is for a server that is
            # not heard of any more.
            "command_timeout": settings.statement_timeout_seconds
            + settings.connect_timeout_seconds,
            "server_settings": {
                **self._application_name(),
                "search_path": f"{settings.quoted_schema}, public",
                "timezone": "UTC",
                "default_transaction_isolation": "read committed",
                "default_transaction_read_only": "on" if settings.read_only else "off",
                "statement_timeout": _milliseconds(settings.statement_timeout_seconds),
                "lock_timeout": _milliseconds(settings.lock_timeout_seconds),
                "idle_in_transaction_session_timeout": _milliseconds(settings.lock_timeout_seconds),
                **server_settings,
            },
        }

    def _application_name(self) -> dict[str, str]:
        if sets(self.settings.dsn, "application_name"):
            return {}
        return {"application_name": f"backstory {socket.gethostname()} {os.getpid()}"}

    async def run(
        self,
        attempted: str,
        function: Callable[[Db], Awaitable[T]],
        *,
        doubt: Doubt | None = None,
    ) -> T:
        """Return what a function returns; it is run again where its connection was lost.

        Args:
            attempted: What it does, for messages.
            function: What is to be done; it must be harmless to run twice.
            doubt: For what changes something; nothing is in doubt for what only reads.

        Raises:
            StoreUnavailableError: It could not be done within the time limit.
            ConfigurationError: The server refuses us.
            StoreClosedError: The store was closed meanwhile.
        """
        return await self.patiently(attempted, lambda: self._once(function, doubt), doubt=doubt)

    async def _once(self, function: Callable[[Db], Awaitable[T]], doubt: Doubt | None) -> T:
        db = await self._acquired()
        try:
            return await function(db)
        except Exception as error:
            if doubt is not None:
                doubt.note(error)
            if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                db.terminate()  # of a replica; another connection may lead to the primary
            raise
        finally:
            await self._pool.release(db)

    async def _acquired(self) -> Db:
        pool, settings = self._pool, self.settings
        try:
            return await pool.acquire(timeout=settings.connect_timeout_seconds)
        except TimeoutError as error:
            if pool.get_size() == settings.connection_count_max and not pool.get_idle_size():
                raise _UsedUpError(
                    f"all {settings.connection_count_max} connections were in use for "
                    f"{settings.connect_timeout_seconds} s"
                ) from error
            raise

    async def patiently(
        self, attempted: str, attempt: Callable[[], Awaitable[T]], *, doubt: Doubt | None = None
    ) -> T:
        """Make attempts until one succeeds, or fails for another reason than a lost connection.

        Args:
            attempted: What they do, for messages.
            attempt: Makes one.
            doubt: What the attempts note; where there is some at the end, the error says so.

        Raises:
            StoreUnavailableError: None succeeded within the time limit.
            ConfigurationError: The server refuses us.
            StoreClosedError: The store was closed meanwhile.
        """
        if self._breaker.opened:
            raise self._unavailable(attempted, f"{self._breaker.last_failure}; not tried again yet")
        try:
            answer = await self._retrying(attempt)
        except Exception as error:
            # Not around the whole: who is cancelled says nothing of the server.
            with self._breaker:
                raise self.failure(attempted, error, doubt=doubt) from error
        self._breaker.reset()
        return answer

    async def _retrying(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            return await attempt()  # by itself: to set up what tries again costs as much as a read
        except Exception as error:
            if not self._may_try_again(error) or not self.settings.retry_seconds:
                raise
        retrying = AsyncRetrying(
            stop=stop_after_delay(self.settings.retry_seconds),
            wait=wait_random_exponential(_PAUSE_SECONDS, _PAUSE_SECONDS_MAX),
            retry=retry_if_exception(self._may_try_again),
            reraise=True,
            sleep=anyio.sleep,
        )

        async def once() -> T:  # awaited by tenacity, which looks for a coroutine function
            return await attempt()

        return await retrying(once)

    def _may_try_again(self, error: BaseException) -> bool:
        return is_passing(error) and not self._is_closing

    def failure(self, attempted: str, error: Exception, *, doubt: Doubt | None = None) -> Exception:
        """Return the store's error for what the driver says, and for what is in doubt."""
        if doubt is None or not doubt.is_unknown:
            return self._failure(attempted, error)
        # Whatever the last attempt has met: an earlier one may have happened.
        return StoreUnavailableError(
            store=self.settings.name,
            attempted=attempted,
            reason=f"{type(error).__name__}: {_why(error)}",
            outcome_unknown=True,
        )

    def _failure(self, attempted: str, error: Exception) -> Exception:
        if isinstance(error, BackstoryError):
            return error
        has_no_pool = isinstance(error, asyncpg.InterfaceError) and "pool is c" in str(error)
        if has_no_pool or (self._is_closing and is_lost(error)):
            # Its connection was closed under it; the driver has many words for that.
            return StoreClosedError(store=self.settings.name)
        if is_misconfigured(error):
            return ConfigurationError(f"{self.settings.name} refuses to {attempted}: {_why(error)}")
        if isinstance(error, asyncpg.DataCorruptedError | asyncpg.IndexCorruptedError):
            return CorruptLogError(where=self.settings.name, position=0, reason=str(error))
        if isinstance(error, BUGS) and not isinstance(error, asyncpg.InterfaceError):
            return error
        return self._unavailable(attempted, f"{type(error).__name__}: {_why(error)}")

    def _unavailable(self, attempted: str, reason: str) -> StoreUnavailableError:
        return StoreUnavailableError(store=self.settings.name, attempted=attempted, reason=reason)


def is_misconfigured(error: BaseException) -> bool:
    """Tell whether no other attempt can succeed before somebody changes a setting or a grant."""
    if isinstance(error, asyncpg.InvalidParameterValueError):
        return "invalid value for parameter" in str(error)
    if isinstance(error, ssl.SSLError):
        return not isinstance(error, _CUT)
    return isinstance(error, _MISCONFIGURED) or _is_without_tls(error)


def _is_without_tls(error: BaseException) -> bool:
    # The driver has no class of its own for it.
    return type(error) is ConnectionError and "rejected SSL upgrade" in str(error)


def _why(error: BaseException) -> str:
    """Return what an error says, and what that means where it is not plain."""
    if _is_without_tls(error):
        return f"{error}; it has no TLS, which sslmode asks for"
    if isinstance(error, socket.gaierror):
        return f"{error}; the host's name cannot be looked up"
    if isinstance(error, asyncpg.UndefinedObjectError) and "configuration parameter" in str(error):
        return f"{error}; it is a setting neither of the store nor of the driver, nor of the server"
    return str(error)


def is_lost(error: BaseException) -> bool:
    """Tell whether the connection was lost, so that nobody can say what has happened."""
    if isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError):
        return "closed" in str(error) and "pool" not in str(error)
    return isinstance(error, _LOST)


def _is_out_of_reach(_: type[BaseException], error: BaseException) -> bool:
    # A server that says no, such as to wait any longer for a lock, is there; and so is one that
    # our own callers keep busy.
    cause = error.__cause__
    return cause is not None and is_lost(cause) and not isinstance(cause, _UsedUpError)


def is_spoilt(error: BaseException) -> bool:
    """Tell whether the connection is of no use any more, whatever has happened on it."""
    is_ending = not isinstance(error, Exception)  # cancelled: what is under way on it is unknown
    return is_ending or is_lost(error) or isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def is_passing(error: BaseException) -> bool:
    """Tell whether another attempt may succeed."""
    if is_misconfigured(error):
        return False
    return is_lost(error) or isinstance(error, _TRY_AGAIN)


async def _reset(_: Db) -> None:
    """Do nothing, in the place of the driver's RESET ALL, which costs a round trip each time."""


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))


async def check_primary(db: Db) -> None:
    """See to it that what a connection leads to can be written.

    Raises:
        asyncpg.ReadOnlySQLTransactionError: It is a standby, as of now.
    """
    if await db.fetchval("SELECT pg_is_in_recovery()"):
        raise asyncpg.ReadOnlySQLTransactionError(
            "the server is a standby, which cannot be written; open it read-only, or name the "
            "primary too and say target_session_attrs=read-write"
        )


async def make_durable(db: Db, durability: Durability) -> None:
    """See to it that what is committed on a connection survives what it should.

    Raises:
        ConfigurationError: The server does not sync anything.
    """
    if durability is Durability.BUFFERED:
        await db.execute("SET synchronous_commit = off")
        return
    if await db.fetchval("SELECT current_setting('fsync')") == "off":
        raise ConfigurationError(
            "the PostgreSQL server runs with fsync = off: a power cut may destroy what it "
            "acknowledged; turn it on, or say durability=buffered"
        )
    # Any other setting is the administrator's, such as one that waits for replicas.
    if await db.fetchval("SELECT current_setting('synchronous_commit')") == "off":
        await db.execute("SET synchronous_commit = on")


async def close(db: Db) -> None:
    """Close a connection of one's own, by force where it does not answer."""
    try:
        await db.close(timeout=_CLOSING_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        db.terminate()
    except asyncio.CancelledError:
        db.terminate()
        raise
