SELECT stream_id, version, fingerprint, CAST(state AS BLOB)
FROM snapshots
WHERE stream_id = :stream_id AND version <= :until AND fingerprint = :fingerprint
ORDER BY version DESC
LIMIT 1
