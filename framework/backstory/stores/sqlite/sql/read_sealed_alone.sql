-- As read_sealed, from the table alone.
SELECT
    e.position, CAST(e.stream_id AS BLOB), e.version, CAST(e.event_id AS BLOB), CAST(e.type AS BLOB),
    e.schema_version, e.recorded_at, CAST(e.metadata AS BLOB), CAST(e.data AS BLOB), e.hash, e.digest
FROM events e NOT INDEXED
WHERE e.position > ?
ORDER BY e.position
LIMIT ?
