SELECT 'backstory_' || '{schema}.events'::regclass::oid;
