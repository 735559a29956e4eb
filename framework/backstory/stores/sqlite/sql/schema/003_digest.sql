-- The running digest of the log behind each event, so that verify can name where it goes wrong.
-- Events that were written before this have none.
ALTER TABLE events ADD COLUMN digest BLOB;
