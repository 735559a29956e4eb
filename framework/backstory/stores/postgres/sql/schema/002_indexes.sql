-- Serves reads of events of some types, and conditions on them; for others each page goes along the
-- log from where it begins, until it is full or the log ends.
CREATE INDEX events_type ON {schema}.events (type, position);

-- Serves reads of events of some categories; its absence costs as that of events_type.
CREATE INDEX events_category ON {schema}.events (category, position);

-- Serves reads of all that one request set in motion; its absence costs as that of events_type.
CREATE INDEX events_correlation_id ON {schema}.events (correlation_id, position)
WHERE correlation_id IS NOT NULL;

-- Serves read_effects, which reads once for each event it finds; without it each of these reads
-- goes along the log from its cause to the end.
CREATE INDEX events_causation_id ON {schema}.events (causation_id, position)
WHERE causation_id IS NOT NULL;

-- Serves reads of what somebody has done; its absence costs as that of events_type.
CREATE INDEX events_actor ON {schema}.events (actor, position) WHERE actor IS NOT NULL;

-- Serves reads of events with some tags, and conditions on them. It has no order: a page finds all
-- events that have the tags and keeps the first of them, at about a microsecond for each, which is
-- little for an order or a seat. Where PostgreSQL expects so many that going along the log fills the
-- page sooner, it does that; its expectation is what ANALYZE has seen. Without the index every read
-- goes along the log. New events wait in a list that each read looks through; it is kept short.
CREATE INDEX events_tags ON {schema}.events USING gin (tags) WITH (gin_pending_list_limit = 256);

-- Serves reads of a time: it knows the first and the last time of every megabyte of the log. Without
-- it they go along the log from where they begin, and leave out what is earlier.
CREATE INDEX events_recorded_at ON {schema}.events USING brin (recorded_at);
