-- With their types, so that no function of the same name and others can ever be called instead.
SELECT base, digest
FROM {schema}.append_events(
    $1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::integer[], $6::bigint, $7::text[],
    $8::text[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bigint, $13::bytea
);
