SELECT incarnation, position, digest
FROM log
