-- What is missing of what the schema migrations create, and what is there and does nothing.
SELECT what
FROM (
    SELECT 'the ' || kind || ' ' || name || ' is missing' AS what
    FROM unnest($2::text[], $3::text[]) AS wanted (kind, name)
    WHERE NOT CASE kind
        WHEN 'table' THEN EXISTS (
            SELECT FROM pg_class
            WHERE relnamespace = to_regnamespace($1) AND relname = name AND relkind IN ('r', 'p')
        )
        WHEN 'function' THEN EXISTS (
            SELECT FROM pg_proc WHERE pronamespace = to_regnamespace($1) AND proname = name
        )
        WHEN 'constraint' THEN EXISTS (
            SELECT FROM pg_constraint
            WHERE connamespace = to_regnamespace($1) AND conname = name AND convalidated
        )
        WHEN 'trigger' THEN EXISTS (
            SELECT FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
            WHERE c.relnamespace = to_regnamespace($1) AND t.tgname = name
        )
    END
    UNION ALL
    SELECT 'the trigger ' || t.tgname || ' is disabled'
    FROM pg_trigger t
    JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = to_regnamespace($1) AND t.tgname = ANY($3::text[])
        AND t.tgenabled NOT IN ('O', 'A')
    UNION ALL
    SELECT 'the index ' || i.relname || ' is invalid; drop it, or build it anew with REINDEX'
    FROM pg_index x
    JOIN pg_class i ON i.oid = x.indexrelid
    JOIN pg_class c ON c.oid = x.indrelid
    WHERE c.relnamespace = to_regnamespace($1) AND c.relname = ANY($4::text[])
        AND NOT (x.indisvalid AND x.indisready)
) found
ORDER BY what
LIMIT 100
