INSERT INTO {schema}.snapshots (stream_id, version, fingerprint, state)
VALUES ($1, $2, $3, $4)
ON CONFLICT (stream_id, version) DO UPDATE
SET fingerprint = excluded.fingerprint, state = excluded.state;
