-- With indexes, and with what is kept apart because it is large.
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint
FROM pg_class
WHERE relnamespace = to_regnamespace($1) AND relname = ANY($2::text[])
