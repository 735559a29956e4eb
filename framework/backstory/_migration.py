"""How the schema of a store was brought to the newest version, or would be."""

from collections.abc import Sequence

from msgspec import Struct

from backstory._errors import ConfigurationError


class SchemaMigration(Struct, frozen=True, kw_only=True):
    """What `EventStore.migrate` has done, or would do."""

    before: int
    """The schema version that was found; 0 where there was nothing."""
    version: int
    """The newest one, which it has now or would have; 0 for a store that has no schema."""
    sql: str
    """The SQL, whole; empty where there was nothing to do."""


def refuse_roles(store: str, writers: Sequence[str], readers: Sequence[str]) -> None:
    """Refuse roles, in a store that has none.

    Raises:
        ConfigurationError: There are some.
    """
    if writers or readers:
        raise ConfigurationError(f"{store} has no roles; a store in PostgreSQL has")
