SELECT stream_id, version, fingerprint, state
FROM {schema}.snapshots
WHERE stream_id = $1 AND fingerprint = $2 AND version <= $3
ORDER BY version DESC
LIMIT 1;
