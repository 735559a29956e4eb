INSERT OR REPLACE INTO notes (space, key, value)
VALUES (?, ?, ?)
