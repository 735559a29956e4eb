-- Locked, so that of two who would move it from the same place the second sees where the first went.
SELECT position FROM {schema}.checkpoints WHERE projection = $1 FOR UPDATE;
