SELECT
    (SELECT position FROM log),
    (SELECT recorded_at FROM events ORDER BY position LIMIT 1),
    (SELECT recorded_at FROM events ORDER BY position DESC LIMIT 1),
    (SELECT count(*) FROM snapshots),
    (SELECT count(*) FROM checkpoints)
