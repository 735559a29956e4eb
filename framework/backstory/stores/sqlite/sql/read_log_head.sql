SELECT position, digest
FROM log
