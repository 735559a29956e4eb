-- Snapshots and checkpoints that are ahead of the events.
SELECT what
FROM (
    SELECT 'the snapshot of stream ' || quote_literal(s.stream_id) || ' at version ' || s.version
        || ' is ahead of the stream' AS what
    FROM {schema}.snapshots s
    WHERE s.version > coalesce((
        SELECT e.version FROM {schema}.events e
        WHERE e.stream_id = s.stream_id
        ORDER BY e.version DESC
        LIMIT 1
    ), 0)
    UNION ALL
    SELECT 'the checkpoint of projection ' || quote_literal(projection) || ' at position '
        || position || ' is ahead of the log'
    FROM {schema}.checkpoints
    WHERE position > coalesce((SELECT max(e.position) FROM {schema}.events e), 0)
) found
LIMIT 100
