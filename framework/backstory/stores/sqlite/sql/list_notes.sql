SELECT space, key, CAST(value AS BLOB)
FROM notes
WHERE space = :space AND key > :after
ORDER BY key
LIMIT :limit
