SELECT
    position, stream_id, version, event_id::text, type, schema_version,
    (extract(epoch FROM recorded_at) * 1000000)::bigint, json_send(metadata), json_send(data)
FROM {schema}.events
WHERE event_id = ANY($1::uuid[])
