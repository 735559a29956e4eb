-- The log: one row an event, in the order of commits. A row is never changed or removed.
CREATE TABLE events (
    position       INTEGER PRIMARY KEY AUTOINCREMENT,
    stream_id      TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    event_id       TEXT    NOT NULL UNIQUE,
    type           TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,  -- microseconds since 1970 in UTC
    metadata       TEXT    NOT NULL,  -- JSON
    data           TEXT    NOT NULL,  -- JSON
    hash           BLOB    NOT NULL,  -- sha256, chained along the stream
    category       TEXT GENERATED ALWAYS AS (substr(stream_id, 1, instr(stream_id, '-') - 1)) VIRTUAL,
    correlation_id TEXT GENERATED ALWAYS AS (json_extract(metadata, '$.correlation_id')) VIRTUAL,
    actor          TEXT GENERATED ALWAYS AS (json_extract(metadata, '$.actor')) VIRTUAL,
    UNIQUE (stream_id, version)       -- the version rule itself
) STRICT;

-- Each index serves one filter of read_log; SQLite appends the position to every one of them.
CREATE INDEX events_type ON events (type);
CREATE INDEX events_category ON events (category);
CREATE INDEX events_correlation_id ON events (correlation_id) WHERE correlation_id IS NOT NULL;
CREATE INDEX events_actor ON events (actor) WHERE actor IS NOT NULL;

CREATE TABLE event_tags (
    tag      TEXT    NOT NULL,
    position INTEGER NOT NULL REFERENCES events (position),
    PRIMARY KEY (tag, position)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never changed');
END;

CREATE TRIGGER events_are_not_removed BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'events are never removed');
END;

-- Where the log ends; one row, written with every commit.
CREATE TABLE log (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    incarnation TEXT    NOT NULL,     -- one for each log that was ever begun
    position    INTEGER NOT NULL,
    digest      BLOB    NOT NULL      -- over all positions and hashes up to here
) STRICT;

INSERT INTO log VALUES (1, lower(hex(randomblob(16))), 0, zeroblob(32));

-- Caches, safe to delete.
CREATE TABLE snapshots (
    stream_id   TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    fingerprint TEXT    NOT NULL,
    state       TEXT    NOT NULL,     -- JSON
    PRIMARY KEY (stream_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    projection  TEXT    NOT NULL PRIMARY KEY,
    position    INTEGER NOT NULL,
    fingerprint TEXT    NOT NULL,
    model       TEXT    NOT NULL      -- JSON
) STRICT;
