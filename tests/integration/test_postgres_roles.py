"""Roles of a PostgreSQL store: who writes cannot change the past, whatever SQL is said."""

import secrets
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg
import pytest
from click.testing import CliRunner
from tests.conftest import Counted, Counter, drain, noted
from tests.servers.fixtures import do_without
from tests.servers.postgres import PostgresServer

from backstory import (
    ANY,
    Backstory,
    ConfigurationError,
    EventStore,
    Projection,
    TableProjection,
    on,
    store_of,
)
from backstory._store_url import with_setting
from backstory.cli._main import backstory as program
from backstory.operations import verify
from backstory.stores.postgres import _migrate
from backstory.stores.supply import log_digest

pytestmark = pytest.mark.anyio

HASH: Final = bytes(32)


class Counts(Projection, name="counts"):
    by_stream: dict[str, int] = {}

    @on(Counted)
    def _counted(self, event: Counted, recorded: Any) -> None:
        self.by_stream[recorded.id] = self.by_stream.get(recorded.id, 0) + event.by


class InTables(TableProjection, name="in-tables"):
    schema = ("CREATE TABLE {totals} (id TEXT PRIMARY KEY, total BIGINT NOT NULL)",)

    @on(Counted)
    def _counted(self, event: Counted, recorded: Any) -> None:
        self.execute(
            "INSERT INTO {totals} AS t VALUES ($1, $2) "
            "ON CONFLICT (id) DO UPDATE SET total = t.total + excluded.total",
            *(recorded.id, event.by),
        )

    async def total(self, id: str) -> int:
        return int((await self.read_rows("SELECT total FROM {totals} WHERE id = $1", id))[0][0])


class Roles:
    """A schema in a database, and roles for it, none of which is a superuser."""

    def __init__(self, server: PostgresServer, url: str, suffix: str) -> None:
        self.server = server
        self.url = url
        self.suffix = suffix
        self.schema = f'The store\'s "{secrets.token_hex(4)}"'

    @property
    def quoted(self) -> str:
        doubled = self.schema.replace('"', '""')
        return f'"{doubled}"'

    def in_schema(self, sql: str) -> str:
        return sql.replace("{schema}", self.quoted)

    def named(self, role: str) -> str:
        return f"{role}-{self.suffix}"

    def dsn(self, role: str) -> str:
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{self.named(role)}:{self.suffix}@{host}").geturl()

    def store_url(self, role: str) -> str:
        return with_setting(self.dsn(role), "schema", self.schema)

    async def migrate(self, *, writers: Sequence[str] = (), readers: Sequence[str] = ()) -> None:
        await store_of(self.store_url("owner")).migrate(
            writers=list(map(self.named, writers)), readers=list(map(self.named, readers))
        )

    async def grant(self) -> None:
        await self.migrate(writers=["writer"], readers=["reader"])

    @asynccontextmanager
    async def connected(self, role: str) -> AsyncGenerator[Any]:
        db = await asyncpg.connect(self.dsn(role))
        try:
            yield db
        finally:
            await db.close()


@pytest.fixture(scope="module")
def people(postgres_server: PostgresServer) -> Iterator[tuple[str, str]]:
    """Yield a database, and the suffix of four roles that may do nothing in it; but the owner may
    create schemas.
    """
    url = postgres_server.create_database()
    suffix = secrets.token_hex(4)
    names = [f"{role}-{suffix}" for role in ("owner", "writer", "reader", "stranger")]
    for name in names:
        try:
            postgres_server.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{suffix}'")
        except asyncpg.InsufficientPrivilegeError:
            do_without("the server's role may not create roles")
    granted = f'GRANT CREATE ON DATABASE {urlsplit(url).path[1:]} TO "{names[0]}"'
    postgres_server.execute(granted, url=url)
    yield url, suffix
    postgres_server.drop_database(url)
    for name in names:
        postgres_server.execute(f'DROP ROLE "{name}"')


@pytest.fixture
def bare(postgres_server: PostgresServer, people: tuple[str, str]) -> Roles:
    """Return roles for a schema that does not exist yet."""
    return Roles(postgres_server, *people)


@pytest.fixture
async def roles(bare: Roles) -> Roles:
    """Return roles of a store of the test's own, as the owner has granted them."""
    await bare.grant()
    return bare


@pytest.fixture(scope="module")
def shared(postgres_server: PostgresServer, people: tuple[str, str]) -> Roles:
    """Return roles of a store that nobody changes, since all that is tried there is refused."""
    shared = Roles(postgres_server, *people)
    words = ("--writer", shared.named("writer"), "--reader", shared.named("reader"))
    result = CliRunner().invoke(program, ["migrate", "--store", shared.store_url("owner"), *words])
    assert result.exit_code == 0, result.exception
    return shared


async def use(url: str) -> None:
    """Do all that a program does."""
    async with Backstory(url, projections=[Counts, InTables]) as story:
        for _ in range(3):
            await story.execute(Counter.count, "ada", by=2)
        await story.store.append("note-1", noted("kept"), expected_version=ANY)
        assert (await story.read_model(Counts)).by_stream == {"ada": 6}
        assert await (await story.read_model(InTables)).total("ada") == 6
        await story.projections.rebuild(InTables)
        assert await (await story.read_model(InTables)).total("ada") == 6
        assert (await story.load(Counter, "ada")).total == 6


async def damage_of(store: EventStore) -> list[Any]:
    return list((await verify(store)).damage)


async def test_writer_does_all_that_a_program_does(roles: Roles) -> None:
    await use(roles.store_url("writer"))

    async with store_of(roles.store_url("writer")) as store:
        assert await store.head() == 4
        assert await damage_of(store) == []
        assert await store.check_engine() == []


async def test_reader_reads_everything_of_a_writer_and_of_the_owner(roles: Roles) -> None:
    await use(roles.store_url("writer"))

    async with Backstory(
        roles.store_url("reader"), projections=[Counts, InTables], read_only=True
    ) as story:
        assert len([recorded async for recorded in story.replay()]) == 4
        assert (await story.load(Counter, "ada")).total == 6
        assert (await story.store.statistics()).event_count == 4
        rows = await story.store.query_tables("SELECT total FROM in_tables__totals")
        assert rows.rows == [(6,)]
        assert await damage_of(story.store) == []
        with pytest.raises(ConfigurationError, match="read-only"):
            await story.store.append("note-1", noted("no"), expected_version=ANY)


async def test_reader_that_comes_later_reads_what_a_writer_had_made(bare: Roles) -> None:
    await bare.migrate(writers=["writer"])
    await use(bare.store_url("writer"))

    await bare.migrate(readers=["reader"])
    async with store_of(bare.store_url("writer")):
        pass  # the tables are the writer's, who lets others read them as soon as it opens the store

    async with store_of(bare.store_url("reader"), read_only=True) as store:
        rows = await store.query_tables("SELECT total FROM in_tables__totals")
        assert rows.rows == [(6,)]


async def test_granting_twice_changes_nothing(roles: Roles) -> None:
    async with store_of(roles.store_url("writer")):
        pass
    before = await granted(roles)

    await roles.grant()
    once = await granted(roles)
    async with store_of(roles.store_url("writer")):
        pass

    assert [(who, acl) for who, acl, _ in once] == [(who, acl) for who, acl, _ in before]
    assert await granted(roles) == once  # who opens the store has not even written the same again


async def granted(roles: Roles) -> list[tuple[str, str, str]]:
    """Return what is granted of what, and what last wrote that."""
    async with roles.connected("owner") as db:
        rows = await db.fetch(
            "SELECT relname::text, relacl::text, xmin::text FROM pg_class "
            "WHERE relacl IS NOT NULL AND relnamespace = $1::text::regnamespace "
            "UNION ALL SELECT defaclrole::text, defaclacl::text, xmin::text FROM pg_default_acl "
            "WHERE defaclnamespace = $1::text::regnamespace ORDER BY 1, 2",
            roles.quoted,
        )
    return [tuple(row) for row in rows]


async def test_role_that_was_granted_nothing_is_told_what_to_do(roles: Roles) -> None:
    for read_only in (True, False):
        with pytest.raises(ConfigurationError, match="--writer or --reader"):
            await store_of(roles.store_url("stranger"), read_only=read_only).open()


async def test_role_that_may_not_create_a_schema_is_told_who_may(bare: Roles) -> None:
    with pytest.raises(ConfigurationError, match="`backstory migrate` as its owner"):
        await store_of(bare.store_url("writer")).open()


async def test_reader_that_opens_for_writing_is_refused_what_it_writes(roles: Roles) -> None:
    async with store_of(roles.store_url("reader")) as store:
        with pytest.raises(ConfigurationError, match="permission denied"):
            await store.append("note-1", noted("no"), expected_version=ANY)
        with pytest.raises(ConfigurationError, match="permission denied"):
            await store.delete_checkpoint("counts")


async def test_writer_grants_nothing(roles: Roles) -> None:
    store = store_of(roles.store_url("writer"))

    with pytest.raises(ConfigurationError, match="only the owner"):
        await store.migrate(readers=[roles.named("stranger")])


async def test_role_that_does_not_exist_is_named(roles: Roles) -> None:
    with pytest.raises(ConfigurationError, match='"nobody; --" does not exist'):
        await store_of(roles.store_url("owner")).migrate(readers=["nobody; --"])


FORBIDDEN: Final = (
    "UPDATE {schema}.events SET data = '{}'",
    "DELETE FROM {schema}.events",
    "TRUNCATE {schema}.events",
    "INSERT INTO {schema}.events (position) VALUES (9)",
    (
        "MERGE INTO {schema}.events e USING (SELECT 1 AS p) s ON e.position = s.p "
        "WHEN MATCHED THEN DELETE"
    ),
    "COPY {schema}.events (position) FROM STDIN",
    "SELECT * FROM {schema}.events FOR UPDATE",
    "BEGIN; LOCK TABLE {schema}.events IN EXCLUSIVE MODE",
    "DROP TABLE {schema}.events",
    "ALTER TABLE {schema}.events DISABLE TRIGGER ALL",
    "ALTER TABLE {schema}.events DROP CONSTRAINT events_form",
    "DROP TRIGGER events_are_not_changed ON {schema}.events",
    (
        "CREATE TRIGGER t BEFORE INSERT ON {schema}.events "
        "FOR EACH ROW EXECUTE FUNCTION {schema}.refuse_change()"
    ),
    "CREATE RULE r AS ON INSERT TO {schema}.events DO INSTEAD NOTHING",
    "CREATE POLICY p ON {schema}.events",
    "CREATE INDEX ON {schema}.events (version)",
    "CREATE TABLE {schema}.child () INHERITS ({schema}.events)",
    "CREATE TABLE {schema}.child (p bigint REFERENCES {schema}.events)",
    (
        "CREATE OR REPLACE FUNCTION {schema}.refuse_change() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN RETURN NULL; END'"
    ),
    (
        "CREATE OR REPLACE FUNCTION {schema}.little_endian(number bigint) RETURNS bytea "
        "LANGUAGE sql IMMUTABLE RETURN NULL"
    ),
    "ALTER FUNCTION {schema}.take_turn() SECURITY DEFINER",
    "DROP FUNCTION {schema}.take_turn()",
    "SET session_replication_role = replica",
    "UPDATE {schema}.log SET position = 9",
    "DELETE FROM {schema}.log",
    "INSERT INTO {schema}.migrations VALUES (99, 'x')",
    "DELETE FROM {schema}.migrations",
    "TRUNCATE {schema}.notes",
    "DROP TABLE {schema}.notes",
    "DROP SCHEMA {schema} CASCADE",
    "ALTER SCHEMA {schema} RENAME TO other",
    "REASSIGN OWNED BY {owner} TO CURRENT_USER",
    "SET ROLE {owner}",
)
OF_WRITERS_ALONE: Final = (
    "SELECT {schema}.take_turn()",
    "DELETE FROM {schema}.checkpoints",
    "UPDATE {schema}.snapshots SET version = 1",
    "INSERT INTO {schema}.notes VALUES ('a', 'b', '{}')",
    "CREATE TABLE {schema}.mine ()",
    (
        "SELECT {schema}.append_events('{}', '{}', '{}', '{}', '{}', 0, '{}', '{}', '{}', '{}', "
        "'{}', 0, '')"
    ),
)


@pytest.mark.parametrize("sql", FORBIDDEN)
async def test_database_itself_refuses_to_let_a_writer(shared: Roles, sql: str) -> None:
    await refuses(shared, "writer", sql)


@pytest.mark.parametrize("sql", [*FORBIDDEN, *OF_WRITERS_ALONE])
async def test_database_itself_refuses_to_let_a_reader(shared: Roles, sql: str) -> None:
    await refuses(shared, "reader", sql)


async def refuses(roles: Roles, role: str, sql: str) -> None:
    sql = roles.in_schema(sql).replace("{owner}", f'"{roles.named("owner")}"')
    async with roles.connected(role) as db:
        with pytest.raises(
            (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError)
        ):
            await db.execute(sql)


async def test_database_refuses_a_change_of_the_past_to_its_owner_too(roles: Roles) -> None:
    async with store_of(roles.store_url("writer")) as store:
        await store.append("note-1", noted("kept"), expected_version=ANY)

    async with roles.connected("owner") as db:
        for sql in FORBIDDEN[:3]:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="never changed"):
                await db.execute(roles.in_schema(sql))


# What a writer can do to the log by calling the function by hand.

Call = dict[str, Any]


def call(**changed: Any) -> Call:
    """Return the arguments of an append of two events, the second behind the first."""
    return {
        "stream_ids": ["note-1", "note-1"],
        "versions": [1, 2],
        "event_ids": [uuid.uuid4(), uuid.uuid4()],
        "types": ["test:noted", "test:noted"],
        "schema_versions": [1, 1],
        "recorded_microseconds": 1_000_000,
        "metadata": ["{}", "{}"],
        "data": ["{}", "{}"],
        "hashes": [HASH, HASH],
        "hashes_before": [None, None],
        "digests": [HASH, HASH],
        "believed_position": 0,
        "believed_digest": HASH,
        **changed,
    }


BY_HAND: Final = (
    "SELECT base FROM {schema}.append_events($1::text[], $2::bigint[], $3::uuid[], $4::text[], "
    "$5::integer[], $6::bigint, $7::text[], $8::text[], $9::bytea[], $10::bytea[], $11::bytea[], "
    "$12::bigint, $13::bytea)"
)


async def append(db: Any, roles: Roles, arguments: Call) -> None:
    await db.fetchval(roles.in_schema(BY_HAND), *arguments.values())


HOSTILE: Final[dict[str, Call]] = {
    "a gap": {"versions": [1, 3]},
    "a late beginning": {"versions": [2, 3]},
    "a late beginning behind a hash": {"versions": [2, 3], "hashes_before": [HASH, None]},
    "an early beginning": {"versions": [0, 1]},
    "before the first": {"versions": [-1, 0], "hashes_before": [HASH, None]},
    "a first one behind another": {"hashes_before": [HASH, None]},
    "twice the same": {"versions": [1, 1]},
    "the wrong order": {"versions": [2, 1]},
    "no version": {"versions": [1, None]},
    "fewer versions": {"versions": [1]},
    "more versions": {"versions": [1, 2, 3]},
    "fewer streams": {"stream_ids": ["note-1"]},
    "more hashes": {"hashes": [HASH] * 3},
    "fewer hashes": {"hashes": [HASH]},
    "more hashes before": {"hashes_before": [None] * 3},
    "fewer digests": {"digests": [HASH]},
    "more digests": {"digests": [HASH] * 3},
    "a short hash": {"hashes": [HASH, b"x"]},
    "a short digest": {"digests": [HASH, b""]},
    "no hash": {"hashes": [HASH, None]},
    "no arrays": {"hashes": None},
    "the same id twice": {"event_ids": [uuid.UUID(int=1)] * 2},
    "no time": {"recorded_microseconds": None},
    "too late a time": {"recorded_microseconds": 253_402_300_800_000_000},
    "the latest time": {"recorded_microseconds": 2**63 - 1},
    "too early a time": {"recorded_microseconds": -62_135_596_800_000_001},
    "no category": {"stream_ids": ["-1", "-1"]},
    "no dash": {"stream_ids": ["note", "note"]},
    "no stream": {"stream_ids": [None, None]},
    "no type": {"types": ["", ""]},
    "schema version 0": {"schema_versions": [1, 0]},
    "data that is no JSON": {"data": ["{}", "{"]},
    "metadata that is no object": {"metadata": ["{}", "1"]},
    "tags that are no list": {"metadata": ["{}", '{"tags": 1}']},
}


@pytest.mark.parametrize("changed", HOSTILE.values(), ids=HOSTILE)
async def test_log_takes_no_event_that_readers_could_not_read(shared: Roles, changed: Call) -> None:
    async with shared.connected("writer") as db:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await append(db, shared, call(**changed))

        assert await db.fetchval(shared.in_schema("SELECT count(*) FROM {schema}.events")) == 0


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"believed_position": None, "believed_digest": None},
        {"believed_position": 7},
        {"believed_digest": b""},
        {"digests": [b"y" * 32] * 2},
        {"metadata": ["{}", '{"actor": 5}']},
        {"types": ["\x1b[31m", "x y"]},
    ],
    ids=str,
)
async def test_what_a_writer_makes_up_is_found_and_hurts_nobody_else(
    roles: Roles, changed: Call
) -> None:
    async with roles.connected("writer") as db:
        await append(db, roles, call(**changed))

    async with store_of(roles.store_url("writer")) as store:
        await store.append("note-1", noted("behind"), expected_version=2)
        await store.append("note-2", noted("beside"), expected_version=0)
        events = await drain(store.read_log())
        damage = await damage_of(store)

    assert [event.position for event in events] == [1, 2, 3, 4]
    assert [event.version for event in events] == [1, 2, 3, 1]
    assert {found.position for found in damage} <= {1, 2}
    assert damage


@pytest.mark.parametrize("believed", [(None, None), (None, HASH), (0, None), (1, HASH), (0, b"")])
async def test_digests_are_not_taken_from_who_does_not_know_the_end(
    roles: Roles, believed: tuple[int | None, bytes | None]
) -> None:
    made_up = [b"y" * 32] * 2
    position, digest = believed

    async with roles.connected("writer") as db:
        arguments = call(digests=made_up, believed_position=position, believed_digest=digest)
        await append(db, roles, arguments)
        rows = await db.fetch(
            roles.in_schema("SELECT digest FROM {schema}.events ORDER BY position")
        )

    first = log_digest(HASH, 1, HASH)
    assert [row[0] for row in rows] == [first, log_digest(first, 2, HASH)]


async def test_function_follows_the_chain_as_it_is(roles: Roles) -> None:
    async with store_of(roles.store_url("writer")) as store:
        await store.append("note-1", noted("first"), expected_version=0)

    async with roles.connected("writer") as db:
        for changed in (
            {"versions": [2, 3]},
            {"versions": [2, 3], "hashes_before": [HASH, None]},
            {"versions": [3, 4], "hashes_before": [HASH, None]},
        ):
            with pytest.raises(asyncpg.PostgresError, match="does not end as the caller believes"):
                await append(db, roles, call(**changed))
        with pytest.raises(asyncpg.UniqueViolationError):
            await append(db, roles, call())


PLANTED: Final = (
    # In the schema itself, where a writer may create what it likes, by the same names.
    (
        "CREATE FUNCTION {schema}.little_endian(number integer) RETURNS bytea LANGUAGE sql "
        "RETURN '\\x00'::bytea"
    ),
    (
        "CREATE FUNCTION {schema}.little_endian(number numeric) RETURNS bytea LANGUAGE sql "
        "RETURN '\\x00'::bytea"
    ),
    (
        "CREATE FUNCTION {schema}.take_turn(at integer) RETURNS void LANGUAGE sql "
        "AS 'SELECT NULL::void'"
    ),
    (
        "CREATE FUNCTION {schema}.tags(metadata text) RETURNS text[] LANGUAGE sql "
        "AS 'SELECT NULL::text[]'"
    ),
    (
        "CREATE FUNCTION {schema}.append_events(text, text, text, text, text, text, text, text, "
        "text, text, text, text, text, OUT base bigint, OUT digest bytea) LANGUAGE sql "
        "AS 'SELECT 0::bigint, NULL::bytea'"
    ),
    "CREATE FUNCTION {schema}.sha256(data bytea) RETURNS bytea LANGUAGE sql RETURN '\\x00'::bytea",
    "CREATE FUNCTION {schema}.no(a bytea, b bytea) RETURNS boolean LANGUAGE sql RETURN false",
    "CREATE OPERATOR {schema}.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = {schema}.no)",
    "CREATE OPERATOR {schema}.<> (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = {schema}.no)",
    "CREATE TYPE {schema}.json AS (a integer)",
    "CREATE DOMAIN {schema}.timestamptz AS text",
)
TEMPORARY: Final = (
    "CREATE TEMP TABLE events (position bigint, digest bytea, stream_id text, version bigint)",
    "CREATE TEMP TABLE log (position bigint)",
    "CREATE TEMP TABLE pg_class (oid oid)",
    "CREATE FUNCTION pg_temp.sha256(data bytea) RETURNS bytea LANGUAGE sql RETURN '\\x00'::bytea",
    "CREATE FUNCTION pg_temp.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT NULL'",
    "SET search_path = pg_temp, {schema}, pg_catalog",
    "SET check_function_bodies = off",
    "SET row_security = off",
    "SET bytea_output = 'escape'",
    "SET timezone = 'Asia/Kathmandu'",
    "SET intervalstyle = 'sql_standard'",
    "SET extra_float_digits = -15",
    "SET default_transaction_isolation = 'serializable'",
)


async def test_nothing_that_a_writer_plants_is_called_in_place_of_the_store_s_own(
    roles: Roles,
) -> None:
    async with roles.connected("writer") as db:
        for sql in PLANTED:
            await db.execute(roles.in_schema(sql))

    await roles.grant()
    await use(roles.store_url("writer"))
    async with roles.connected("writer") as db:
        by_hand = await db.prepare(roles.in_schema(BY_HAND))
        for sql in TEMPORARY:
            await db.execute(roles.in_schema(sql))
        # The database computes the digests, since what is believed of the end is wrong.
        arguments = call(stream_ids=["note-2"] * 2, believed_position=-1)
        assert await by_hand.fetchval(*arguments.values()) == 4

    async with store_of(roles.store_url("writer")) as store:
        await store.append("note-3", noted("behind"), expected_version=0)
        assert {found.position for found in await damage_of(store)} == {5, 6}
        events = await drain(store.read_log())
        assert events[4].recorded_microseconds == 1_000_000


async def test_owner_of_a_later_version_calls_nothing_of_a_writer_s(
    roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = _migrate.Migration(
        _migrate.NEWEST + 1, "later", "CREATE TABLE {schema}.later AS SELECT upper('a') AS a;"
    )
    monkeypatch.setattr(_migrate, "MIGRATIONS", [*_migrate.MIGRATIONS, later])
    monkeypatch.setattr(_migrate, "NEWEST", later.number)
    async with roles.connected("writer") as db:
        # Of two functions, PostgreSQL takes the one whose types fit better.
        await db.execute(
            f"CREATE FUNCTION {roles.quoted}.upper(name) RETURNS text LANGUAGE sql RETURN 'x'"
        )
        await db.execute(
            f"CREATE FUNCTION {roles.quoted}.hashtextextended(text, integer) RETURNS bigint "
            "LANGUAGE plpgsql AS 'BEGIN RAISE ''planted''; END'"
        )

    with pytest.raises(ConfigurationError, match="as its owner"):
        await store_of(roles.store_url("writer")).open()
    await roles.migrate()

    async with roles.connected("owner") as db:
        assert await db.fetchval(roles.in_schema("SELECT a FROM {schema}.later")) == "A"
