INSERT INTO events (
    position, stream_id, version, event_id, type, schema_version, recorded_at, metadata, data, hash,
    digest
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
