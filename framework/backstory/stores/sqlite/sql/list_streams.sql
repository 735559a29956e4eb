-- One seek for each stream: the next id, and its last version.
WITH RECURSIVE stream (stream_id) AS (
    SELECT min(stream_id) FROM events WHERE stream_id > :after AND stream_id < :until
    UNION ALL
    SELECT (
        SELECT min(stream_id) FROM events
        WHERE stream_id > stream.stream_id AND stream_id < :until
    )
    FROM stream
    WHERE stream.stream_id IS NOT NULL
    LIMIT :limit
)
SELECT
    stream_id,
    (SELECT max(version) FROM events WHERE events.stream_id = stream.stream_id)
FROM stream
WHERE stream_id IS NOT NULL
