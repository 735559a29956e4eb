INSERT INTO event_tags (tag, position)
VALUES (?, ?)
