DELETE FROM {schema}.notes WHERE space = $1 AND key = $2;
