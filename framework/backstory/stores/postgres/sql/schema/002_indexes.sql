-- Serves reads of events of some types, and conditions on them. Without it their pages go along the
-- log, from where each begins until it is full or the log ends.
CREATE INDEX events_type ON {schema}.events (type, position);

-- Serves reads of events of some categories; its absence costs what that of events_type does.
CREATE INDEX events_category ON {schema}.events (category, position);

-- Serves reads of all that one request set in motion; its absence costs the same.
CREATE INDEX events_correlation_id ON {schema}.events (correlation_id, position)
WHERE correlation_id IS NOT NULL;

-- Serves read_effects, which reads once for each event that it finds. Without it each of these reads
-- goes along the log, from the cause to the end.
CREATE INDEX events_causation_id ON {schema}.events (causation_id, position)
WHERE causation_id IS NOT NULL;

-- Serves reads of what somebody has done; its absence costs what that of events_type does.
CREATE INDEX events_actor ON {schema}.events (actor, position)
WHERE actor IS NOT NULL;

-- Serves reads of events with some tags, and conditions on them. It has no order: a page finds every
-- event of the log that has the tags, at about a microsecond for each, and keeps the first of them.
-- That is little for the tag of an order or a seat. For a tag of many events PostgreSQL goes along
-- the log instead, until the page is full; so a tag that one event in 100 has costs about 30
-- microseconds for each event read, however long the log. Which of the two is cheaper it knows from
-- ANALYZE, and guesses where that has never run: then a condition on a tag that no event has may go
-- along the whole log. Without the index every read of tags goes along the log. New events wait in
-- a list that each read looks through, so that is kept short.
CREATE INDEX events_tags ON {schema}.events USING gin (tags) WITH (gin_pending_list_limit = 256);

-- Serves reads of a time: it knows between which times every megabyte of the log lies. Without it
-- they go along the log and leave out what is earlier or later.
CREATE INDEX events_recorded_at ON {schema}.events USING brin (recorded_at);
