-- Where there was none, somebody else may have saved one since that was seen.
INSERT INTO {schema}.checkpoints AS c (projection, position, fingerprint, model)
VALUES ($1, $2, $3, $4)
ON CONFLICT (projection) DO UPDATE
SET position = excluded.position, fingerprint = excluded.fingerprint, model = excluded.model
WHERE $5::bigint IS NULL OR c.position = $5
RETURNING c.position;
