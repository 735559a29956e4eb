SELECT space, key, value FROM {schema}.notes
WHERE space = $1 AND key > $2
ORDER BY key
LIMIT $3;
