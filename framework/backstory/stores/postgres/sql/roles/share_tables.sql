-- Whoever may read the events may read the tables of read models, those of this role's that are
-- there and those that it will create. Where that is so already, nothing is changed.
DO $body$
DECLARE
    wanted text[];
    one text;
BEGIN
    SET LOCAL search_path = pg_catalog, pg_temp;
    WITH me AS (
        SELECT oid FROM pg_roles WHERE rolname = current_user
    ), reader AS (
        SELECT DISTINCT r.oid, quote_ident(r.rolname) AS name
        FROM pg_class c
        CROSS JOIN aclexplode(c.relacl) AS acl
        JOIN pg_roles r ON r.oid = acl.grantee
        WHERE c.oid = '{schema}.events'::regclass AND acl.privilege_type = 'SELECT'
            AND r.rolname <> current_user
    )
    SELECT array_agg(sql) INTO wanted
    FROM (
        SELECT format('GRANT SELECT ON %s TO %s', c.oid::regclass, reader.name) AS sql
        FROM pg_class c CROSS JOIN me CROSS JOIN reader
        WHERE c.relnamespace = '{schema}'::regnamespace AND c.relowner = me.oid
            AND c.relkind IN ('r', 'p', 'v', 'm')
            AND NOT has_table_privilege(reader.oid, c.oid, 'SELECT')
        UNION ALL
        SELECT format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %s GRANT SELECT ON TABLES TO %s',
            '{schema}'::regnamespace, reader.name
        )
        FROM me CROSS JOIN reader
        WHERE NOT EXISTS (
            SELECT FROM pg_default_acl d CROSS JOIN aclexplode(d.defaclacl) AS acl
            WHERE d.defaclrole = me.oid AND d.defaclnamespace = '{schema}'::regnamespace
                AND d.defaclobjtype = 'r' AND acl.grantee = reader.oid
                AND acl.privilege_type = 'SELECT'
        )
    ) AS missing;
    IF wanted IS NULL THEN
        RETURN;
    END IF;
    -- One at a time, since two who change the same grant disturb each other.
    PERFORM pg_advisory_xact_lock(1112757338, hashoid('{schema}.events'::regclass));
    FOREACH one IN ARRAY wanted LOOP
        EXECUTE one;
    END LOOP;
END $body$;
