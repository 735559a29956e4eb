GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT EXECUTE ON FUNCTION {schema}.append_events TO {role};
GRANT INSERT, UPDATE, DELETE ON {schema}.snapshots, {schema}.checkpoints, {schema}.notes TO {role};
