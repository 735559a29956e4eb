DELETE FROM snapshots
WHERE stream_id = :stream_id AND version <= (
    SELECT version FROM snapshots
    WHERE stream_id = :stream_id
    ORDER BY version DESC
    LIMIT 1 OFFSET :keep
)
