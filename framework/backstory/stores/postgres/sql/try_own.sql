-- The key is of this log and this name: two texts share one by chance once in 2^64.
SELECT pg_try_advisory_lock(hashtextextended($1, '{schema}.events'::regclass::oid::bigint));
