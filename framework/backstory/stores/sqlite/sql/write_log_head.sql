UPDATE log
SET position = ?, digest = ?
