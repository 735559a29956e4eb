-- Serves read_effects and the filter by causation_id; SQLite appends the position.
ALTER TABLE events ADD COLUMN
    causation_id TEXT GENERATED ALWAYS AS (json_extract(metadata, '$.causation_id')) VIRTUAL;

CREATE INDEX events_causation_id ON events (causation_id) WHERE causation_id IS NOT NULL;
