-- A writer appends through the function, and keeps what lies beside the log. It may create tables,
-- which are those of its read models.
GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};
GRANT SELECT ON {schema}.events, {schema}.log, {schema}.migrations TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE
ON {schema}.snapshots, {schema}.checkpoints, {schema}.notes TO {role};
GRANT EXECUTE ON FUNCTION {schema}.take_turn(), {schema}.append_events(
    text[], bigint[], uuid[], text[], integer[], bigint, text[], text[], bytea[], bytea[], bytea[],
    bigint, bytea
) TO {role};
