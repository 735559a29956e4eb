-- Tags that an event has and that do not find it, and tags that find an event that has them not.
SELECT CAST(
    'tag ' || quote(tag) || ' of the event at position ' || position || ' and its index do not agree'
    AS BLOB
)
FROM (
    SELECT *
    FROM (
        SELECT e.position, t.value AS tag FROM events e, json_each(e.metadata, '$.tags') t
        EXCEPT
        SELECT position, tag FROM event_tags
    )
    UNION ALL
    SELECT *
    FROM (
        SELECT position, tag FROM event_tags
        EXCEPT
        SELECT e.position, t.value FROM events e, json_each(e.metadata, '$.tags') t
    )
    LIMIT 100
)
