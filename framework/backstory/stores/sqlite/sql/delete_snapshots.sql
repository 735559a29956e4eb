DELETE FROM snapshots
WHERE :stream_id IS NULL OR stream_id = :stream_id
