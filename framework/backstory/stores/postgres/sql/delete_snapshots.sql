WITH deleted AS (
    DELETE FROM {schema}.snapshots WHERE $1::text IS NULL OR stream_id = $1 RETURNING 1
)
SELECT count(*) FROM deleted;
