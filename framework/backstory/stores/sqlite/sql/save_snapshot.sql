INSERT OR REPLACE INTO snapshots (stream_id, version, fingerprint, state)
VALUES (?, ?, ?, ?)
