-- Snapshots and checkpoints that are ahead of the events, or no JSON.
SELECT CAST(what AS BLOB)
FROM (
    SELECT 'the snapshot of stream ' || quote(stream_id) || ' at version ' || version
        || ' is ahead of the stream' AS what
    FROM snapshots s
    WHERE version > coalesce((SELECT max(version) FROM events WHERE stream_id = s.stream_id), 0)
    UNION ALL
    SELECT 'the snapshot of stream ' || quote(stream_id) || ' at version ' || version || ' is no JSON'
    FROM snapshots
    WHERE NOT json_valid(state)
    UNION ALL
    SELECT 'the checkpoint of projection ' || quote(projection) || ' at position ' || position
        || ' is ahead of the log'
    FROM checkpoints
    WHERE position > (SELECT position FROM log)
    UNION ALL
    SELECT 'the checkpoint of projection ' || quote(projection) || ' is no JSON'
    FROM checkpoints
    WHERE NOT json_valid(model)
    LIMIT 100
)
