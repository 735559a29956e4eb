"""`backstory migrate`: a store's schema, brought to the newest version."""

from collections.abc import Sequence
from functools import partial

import click
import msgspec

from backstory._errors import ConfigurationError
from backstory._migration import SchemaMigration
from backstory._store_url import parse_store_url, with_setting
from backstory.cli._help import EPILOG
from backstory.cli._output import print_json, print_line
from backstory.cli._session import json_option, open_store, run, store_option


@click.command(short_help="Bring the store's schema to the newest version.", epilog=EPILOG)
@click.option("--dry-run", is_flag=True, help="Print the SQL that would run, and change nothing.")
@click.option(
    "--index",
    "indexes",
    metavar="NAME",
    multiple=True,
    help="Of the indexes that are optional, create this one; may be repeated. All by default.",
)
@click.option("--no-indexes", is_flag=True, help="Create none of the optional indexes.")
@click.option(
    "--writer",
    "writers",
    metavar="ROLE",
    multiple=True,
    help="Let this role append, and keep read models; may be repeated.",
)
@click.option(
    "--reader",
    "readers",
    metavar="ROLE",
    multiple=True,
    help="Let this role read; may be repeated.",
)
@store_option
@json_option
def migrate(
    *,
    dry_run: bool,
    indexes: tuple[str, ...],
    no_indexes: bool,
    writers: tuple[str, ...],
    readers: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Create a store, or bring its schema to the newest version, in one transaction.

    A program does the same when it opens the store for writing. In PostgreSQL this needs the owner
    of the schema, and programs should run as a role that can do less: name it with --writer or
    --reader, which grants it what it needs. Neither role can change or remove an event. Roles must
    exist; a role keeps what it was granted, and naming it again is harmless.

    With --dry-run the SQL goes to standard output, to be read, or to be run by psql.

    \b
    Examples:
      backstory migrate --store sqlite:///story.db
      backstory migrate --store postgresql://owner@host/name --writer app --reader reports
      backstory migrate --dry-run --no-indexes --store postgresql://owner@host/name > schema.sql
    """  # noqa: D301 - \b keeps click from wrapping
    url = _with_indexes(store, indexes, no_indexes=no_indexes)
    migration = run(partial(_migrate, url, writers, readers, dry_run=dry_run))
    if as_json:
        print_json({**msgspec.to_builtins(migration), "dry_run": dry_run})
    elif dry_run and migration.sql:
        # As it is, also the line breaks: it is ours, and what is named in it the caller's.
        click.echo(migration.sql, nl=False)
    else:
        print_line(f"{'-- ' if dry_run else ''}{_said(migration)}")


def _with_indexes(url: str, indexes: Sequence[str], *, no_indexes: bool) -> str:
    """Return a URL that says which indexes to create.

    Raises:
        ConfigurationError: That is said twice.
    """
    if not (indexes or no_indexes):
        return url
    if (indexes and no_indexes) or "indexes" in parse_store_url(url).settings:
        raise ConfigurationError("say which indexes once: with --index, --no-indexes or in the URL")
    return with_setting(url, "indexes", ",".join(indexes))


async def _migrate(
    url: str, writers: Sequence[str], readers: Sequence[str], *, dry_run: bool
) -> SchemaMigration:
    store = open_store(url, read_only=dry_run)
    return await store.migrate(dry_run=dry_run, writers=writers, readers=readers)


def _said(migration: SchemaMigration) -> str:
    if not migration.version:
        return "this store has no schema; nothing to do"
    if migration.before < migration.version:
        found = f"from version {migration.before}" if migration.before else "created"
        return f"schema version {migration.version}, {found}"
    granted = "; the roles have what they need" if migration.sql else ", the newest; nothing to do"
    return f"schema version {migration.version}{granted}"
