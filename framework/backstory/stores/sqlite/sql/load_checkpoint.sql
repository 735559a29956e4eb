SELECT projection, position, fingerprint, CAST(model AS BLOB)
FROM checkpoints
WHERE projection = ?
