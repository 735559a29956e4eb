SELECT type, count(*)
FROM {schema}.events
GROUP BY type
ORDER BY type
