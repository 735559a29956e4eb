-- The event before is the first of them, should there be several.
SELECT
    e.position, CAST(e.stream_id AS BLOB), e.version, CAST(e.event_id AS BLOB), CAST(e.type AS BLOB),
    e.schema_version, e.recorded_at, CAST(e.metadata AS BLOB), CAST(e.data AS BLOB), e.hash, e.digest,
    before.hash, before.position
FROM events e NOT INDEXED
LEFT JOIN events before ON before.position = (
    SELECT position FROM events
    WHERE stream_id = e.stream_id AND version = e.version - 1
    ORDER BY position
    LIMIT 1
)
WHERE e.position > ?
ORDER BY e.position
LIMIT ?
