-- One look along an index for each stream: the next id, which is then asked for its last version.
WITH RECURSIVE stream (stream_id, place) AS (
    SELECT (
        SELECT e.stream_id FROM {schema}.events e
        WHERE e.stream_id > $1 AND e.stream_id < $2
        ORDER BY e.stream_id
        LIMIT 1
    ), 1
    UNION ALL
    SELECT (
        SELECT e.stream_id FROM {schema}.events e
        WHERE e.stream_id > stream.stream_id AND e.stream_id < $2
        ORDER BY e.stream_id
        LIMIT 1
    ), place + 1
    FROM stream
    WHERE stream.stream_id IS NOT NULL AND place < $3
)
SELECT
    stream_id,
    (
        SELECT e.version FROM {schema}.events e
        WHERE e.stream_id = stream.stream_id
        ORDER BY e.version DESC
        LIMIT 1
    )
FROM stream
WHERE stream_id IS NOT NULL
ORDER BY place
