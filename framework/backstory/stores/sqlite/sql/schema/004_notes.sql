-- Small records that the framework keeps beside the log: parked events, orders to projectors.
CREATE TABLE notes (
    space TEXT NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,              -- JSON
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;
