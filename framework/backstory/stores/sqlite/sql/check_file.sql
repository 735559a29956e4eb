-- What SQLite says of every page, row and index; as bytes, since damage that is quoted may be no text.
SELECT CAST(integrity_check AS BLOB)
FROM pragma_integrity_check(100)
WHERE integrity_check <> 'ok'
