SELECT position, digest
FROM {schema}.events
ORDER BY position DESC
LIMIT 1
