-- Which log it is, what is kept of its end, and where it does end.
SELECT log.incarnation, log.position, log.digest, head.position, head.digest
FROM {schema}.log
LEFT JOIN LATERAL (
    SELECT e.position, e.digest FROM {schema}.events e ORDER BY e.position DESC LIMIT 1
) head ON TRUE
