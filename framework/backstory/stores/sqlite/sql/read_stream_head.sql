SELECT version, hash
FROM events
WHERE stream_id = ?
ORDER BY version DESC
LIMIT 1
