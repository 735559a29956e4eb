SELECT projection, position, fingerprint, model FROM {schema}.checkpoints WHERE projection = $1;
