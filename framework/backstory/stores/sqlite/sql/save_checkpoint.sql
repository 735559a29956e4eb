INSERT OR REPLACE INTO checkpoints (projection, position, fingerprint, model)
VALUES (?, ?, ?, ?)
