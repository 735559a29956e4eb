SELECT hash, position
FROM events
WHERE stream_id = ? AND version = ?
ORDER BY position
LIMIT 1
