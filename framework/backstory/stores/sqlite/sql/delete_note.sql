DELETE FROM notes
WHERE space = ? AND key = ?
