-- A reader reads, the tables of read models too.
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON {schema}.events, {schema}.log, {schema}.migrations, {schema}.snapshots,
    {schema}.checkpoints, {schema}.notes
TO {role};
