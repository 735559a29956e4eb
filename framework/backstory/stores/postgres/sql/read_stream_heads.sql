-- One look along an index for each stream.
SELECT wanted.stream_id, head.version, head.hash
FROM unnest($1::text[]) AS wanted (stream_id)
CROSS JOIN LATERAL (
    SELECT e.version, e.hash
    FROM {schema}.events e
    WHERE e.stream_id = wanted.stream_id
    ORDER BY e.version DESC
    LIMIT 1
) head
