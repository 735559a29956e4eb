SELECT
    e.position, e.stream_id, e.version, e.event_id, e.type, e.schema_version, e.recorded_at,
    CAST(e.metadata AS BLOB), CAST(e.data AS BLOB), e.hash, e.digest, before.hash, before.position
FROM events e NOT INDEXED
LEFT JOIN events before ON before.stream_id = e.stream_id AND before.version = e.version - 1
WHERE e.position > ?
ORDER BY e.position
LIMIT ?
