DELETE FROM {schema}.snapshots
WHERE stream_id = $1 AND version <= (
    SELECT version FROM {schema}.snapshots WHERE stream_id = $1
    ORDER BY version DESC LIMIT 1 OFFSET $2
);
