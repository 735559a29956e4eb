SELECT
    position, stream_id, version, event_id, type, schema_version, recorded_at,
    CAST(metadata AS BLOB), CAST(data AS BLOB)
FROM events
WHERE event_id IN (SELECT value FROM json_each(?))
