SELECT
    coalesce((SELECT max(position) FROM {schema}.events), 0),
    (
        SELECT (extract(epoch FROM recorded_at) * 1000000)::bigint
        FROM {schema}.events ORDER BY position LIMIT 1
    ),
    (
        SELECT (extract(epoch FROM recorded_at) * 1000000)::bigint
        FROM {schema}.events ORDER BY position DESC LIMIT 1
    ),
    (SELECT count(*) FROM {schema}.snapshots),
    (SELECT count(*) FROM {schema}.checkpoints)
