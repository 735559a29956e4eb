-- The last version of a stream is the number of its events.
SELECT split_part(stream_id, '-', 1) COLLATE "C" AS category, sum(version)::bigint, count(*)
FROM (SELECT stream_id, max(version) AS version FROM {schema}.events GROUP BY stream_id) stream
GROUP BY category
ORDER BY category
