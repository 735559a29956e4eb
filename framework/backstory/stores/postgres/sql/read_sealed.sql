-- Texts come as bytes, so that one which is damaged does not hide the events around it. As for every
-- page, what is large is read only when the page is known to hold it.
SELECT
    e.position, textsend(e.stream_id), e.version, e.event_id::text, textsend(e.type),
    e.schema_version, (extract(epoch FROM e.recorded_at) * 1000000)::bigint,
    json_send(e.metadata), json_send(e.data), e.hash, e.digest, before.hash, before.position
FROM (
    SELECT page.*, sum(page.size) OVER (ORDER BY page.position ROWS UNBOUNDED PRECEDING) AS so_far
    FROM (
        SELECT * FROM {schema}.events WHERE position > $1 ORDER BY position LIMIT $2
    ) page
) e
LEFT JOIN LATERAL (
    SELECT p.hash, p.position
    FROM {schema}.events p
    WHERE p.stream_id = e.stream_id AND p.version = e.version - 1
    ORDER BY p.position
    LIMIT 1
) before ON TRUE
WHERE e.so_far - e.size < $3
ORDER BY e.position
