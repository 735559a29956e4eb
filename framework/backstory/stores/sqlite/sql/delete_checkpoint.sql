DELETE FROM checkpoints
WHERE projection = ?
