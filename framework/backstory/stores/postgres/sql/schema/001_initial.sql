-- The log is one row an event, in the order of commits; a row is never changed or removed. JSON is
-- kept as it was written, byte by byte, and can be asked for its fields all the same.

CREATE TABLE {schema}.migrations (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- JSON that can be asked for its fields: a text of PostgreSQL cannot hold NUL, and to ask for one field
-- unescapes all of them. Each NUL is replaced.
CREATE FUNCTION {schema}.readable(value json) RETURNS json
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN strpos(value::text, '\u0000') = 0 THEN value
    ELSE regexp_replace(value::text, '(?<!\\)((?:\\\\)*)\\u0000', '\1\ufffd', 'g')::json END;

CREATE FUNCTION {schema}.tags(metadata json) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ARRAY(SELECT tag #>> '{}' FROM json_array_elements(metadata -> 'tags') AS tag);

CREATE TABLE {schema}.events (
    position       bigint      NOT NULL,
    stream_id      text        NOT NULL COLLATE "C",
    version        bigint      NOT NULL,
    event_id       uuid        NOT NULL,
    type           text        NOT NULL COLLATE "C",
    schema_version integer     NOT NULL,
    recorded_at    timestamptz NOT NULL,
    metadata       json        NOT NULL,
    data           json        NOT NULL,
    hash           bytea       NOT NULL,  -- sha256, chained along the stream
    digest         bytea       NOT NULL,  -- sha256, chained along the log
    size           integer     NOT NULL
        GENERATED ALWAYS AS (octet_length(data::text) + octet_length(metadata::text)) STORED,
    category       text        NOT NULL COLLATE "C"
        GENERATED ALWAYS AS (split_part(stream_id, '-', 1)) STORED,
    correlation_id text        COLLATE "C"
        GENERATED ALWAYS AS (
            CASE WHEN strpos(metadata::text, '\u0000') = 0 THEN metadata
            ELSE {schema}.readable(metadata) END ->> 'correlation_id'
        ) STORED,
    causation_id   text        COLLATE "C"
        GENERATED ALWAYS AS (
            CASE WHEN strpos(metadata::text, '\u0000') = 0 THEN metadata
            ELSE {schema}.readable(metadata) END ->> 'causation_id'
        ) STORED,
    actor          text        COLLATE "C"
        GENERATED ALWAYS AS (
            CASE WHEN strpos(metadata::text, '\u0000') = 0 THEN metadata
            ELSE {schema}.readable(metadata) END ->> 'actor'
        ) STORED,
    tags           text[]      COLLATE "C"
        GENERATED ALWAYS AS (
            CASE WHEN strpos(metadata::text, '"tags"') > 0
            THEN {schema}.tags({schema}.readable(metadata)) END
        ) STORED,
    PRIMARY KEY (position),
    CONSTRAINT events_version UNIQUE (stream_id, version),  -- the version rule itself
    CONSTRAINT events_id UNIQUE (event_id),
    -- What every reader relies on, whoever writes. What else an append refuses, `verify` finds.
    CONSTRAINT events_form CHECK (
        version > 0 AND schema_version > 0 AND type <> '' AND category NOT IN ('', stream_id)
        AND octet_length(hash) = 32 AND octet_length(digest) = 32
        AND recorded_at >= '0001-01-01T00:00:00Z' AND recorded_at < '10000-01-01T00:00:00Z'
        AND json_typeof(metadata) = 'object'
    )
);

-- Which log this is, and where it ended when that was last kept: now and then, so that the row does
-- not become a long chain of dead ones under somebody's long transaction. The events say it exactly.
CREATE TABLE {schema}.log (
    id          integer     PRIMARY KEY CHECK (id = 1),
    incarnation text        NOT NULL,     -- one for each log that was ever begun
    position    bigint      NOT NULL,
    digest      bytea       NOT NULL,
    kept_at     timestamptz NOT NULL
);

INSERT INTO {schema}.log
VALUES (1, replace(gen_random_uuid()::text, '-', ''), 0, decode(repeat('00', 32), 'hex'), '-infinity');

CREATE FUNCTION {schema}.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $body$
BEGIN
    RAISE EXCEPTION 'events are never changed or removed' USING ERRCODE = 'insufficient_privilege';
END $body$;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON {schema}.events
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.refuse_change();

-- Caches, safe to delete.
CREATE TABLE {schema}.snapshots (
    stream_id   text   NOT NULL COLLATE "C",
    version     bigint NOT NULL,
    fingerprint text   NOT NULL COLLATE "C",
    state       text   NOT NULL,  -- JSON
    PRIMARY KEY (stream_id, version)
);

CREATE TABLE {schema}.checkpoints (
    projection  text   PRIMARY KEY COLLATE "C",
    position    bigint NOT NULL,
    fingerprint text   NOT NULL COLLATE "C",
    model       text   NOT NULL   -- JSON
);

-- Small records that the framework keeps beside the log: parked events, orders to projectors.
CREATE TABLE {schema}.notes (
    space text NOT NULL COLLATE "C",
    key   text NOT NULL COLLATE "C",
    value text NOT NULL,  -- JSON
    PRIMARY KEY (space, key)
);

-- An integer as eight bytes, the lowest first.
CREATE FUNCTION {schema}.little_endian(number bigint) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN substr(int8send(number), 8, 1) || substr(int8send(number), 7, 1)
    || substr(int8send(number), 6, 1) || substr(int8send(number), 5, 1)
    || substr(int8send(number), 4, 1) || substr(int8send(number), 3, 1)
    || substr(int8send(number), 2, 1) || substr(int8send(number), 1, 1);

-- Takes the turn to append, until the transaction ends.
CREATE FUNCTION {schema}.take_turn() RETURNS void
LANGUAGE plpgsql AS $body$
BEGIN
    -- One key for each log of a database: 'BSTY', and its table.
    PERFORM pg_advisory_xact_lock(1112757337, hashoid('{schema}.events'::regclass));
END $body$;

-- Appends events behind the last one, and returns the position before the first of them, and the
-- digest behind the last. It is the one door by which anything gets into the log: who may call it
-- need not be allowed to insert.
--
-- The caller has judged the group on the heads of its streams, which it may know from long ago: what
-- has changed since is found here, by the version rule or by the hash that an event is chained to.
-- It also says where it believes the log to end, and the digests that follow from there; where it is
-- wrong, because another process was faster, they are computed here.
CREATE FUNCTION {schema}.append_events(
    stream_ids text[], versions bigint[], event_ids uuid[], types text[], schema_versions integer[],
    recorded_microseconds bigint, metadata text[], data text[], hashes bytea[], hashes_before bytea[],
    digests bytea[], believed_position bigint, believed_digest bytea,
    OUT base bigint, OUT digest bytea
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off
AS $body$
DECLARE
    -- In whole days and the rest, which is exact for all years.
    recorded_at timestamptz := (
        timestamp '1970-01-01' + recorded_microseconds / 86400000000 * interval '1 day'
        + recorded_microseconds % 86400000000 * interval '1 microsecond'
    ) AT TIME ZONE 'UTC';
BEGIN
    PERFORM {schema}.take_turn();
    -- Each statement from here on sees what was committed before the turn was taken.
    SELECT e.position, e.digest INTO base, digest
    FROM {schema}.events e ORDER BY e.position DESC LIMIT 1;
    IF base IS NULL THEN
        base := 0;
        digest := decode(repeat('00', 32), 'hex');
    END IF;
    -- The first event of each stream must follow the last one that is there, and the others each
    -- other: so the versions of a stream have no gap, and rise with the positions.
    IF EXISTS (
        SELECT FROM (
            SELECT e.stream_id, e.version, e.hash,
                lag(e.version) OVER (PARTITION BY e.stream_id COLLATE "C" ORDER BY e.place) AS before
            FROM unnest(stream_ids, versions, hashes_before)
                WITH ORDINALITY AS e (stream_id, version, hash, place)
        ) e
        WHERE CASE
            WHEN e.before IS NOT NULL THEN e.version IS DISTINCT FROM e.before + 1
            WHEN e.version = 1 THEN e.hash IS NOT NULL
            ELSE e.hash IS NULL OR e.hash IS DISTINCT FROM (
                SELECT p.hash FROM {schema}.events p
                WHERE p.stream_id = e.stream_id AND p.version = e.version - 1
            )
        END
    ) THEN
        RAISE EXCEPTION 'a stream does not end as the caller believes' USING ERRCODE = 'BS001';
    END IF;
    IF base IS DISTINCT FROM believed_position OR digest IS DISTINCT FROM believed_digest THEN
        FOR place IN 1 .. cardinality(hashes) LOOP
            digest := sha256(digest || {schema}.little_endian(base + place) || hashes[place]);
            digests[place] := digest;
        END LOOP;
    END IF;
    digest := digests[cardinality(hashes)];
    INSERT INTO {schema}.events (
        position, stream_id, version, event_id, type, schema_version, recorded_at, metadata, data,
        hash, digest
    )
    SELECT base + e.place, e.stream_id, e.version, e.event_id, e.type, e.schema_version,
        recorded_at, e.metadata::json, e.data::json, e.hash, e.digest
    FROM unnest(
        stream_ids, versions, event_ids, types, schema_versions, metadata, data, hashes, digests
    ) WITH ORDINALITY AS e (
        stream_id, version, event_id, type, schema_version, metadata, data, hash, digest, place
    );
    UPDATE {schema}.log
    SET position = base + cardinality(hashes), digest = append_events.digest, kept_at = now()
    WHERE kept_at < now() - interval '1 minute';
    PERFORM pg_notify('backstory_' || '{schema}.events'::regclass::oid, '');
END $body$;

-- To be granted to those who may write: see `backstory migrate --writer`.
REVOKE ALL ON FUNCTION {schema}.append_events, {schema}.take_turn FROM PUBLIC;
