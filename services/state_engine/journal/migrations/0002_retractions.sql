-- A stimulus is retracted once or not at all, so its own id is the key. Nothing had been written to the first form of this table.

DROP TABLE retractions;

CREATE TABLE retractions (
    session_key INTEGER NOT NULL REFERENCES sessions (session_key),
    sequence    INTEGER NOT NULL,
    stimulus_id TEXT    NOT NULL,
    recorded_ns INTEGER NOT NULL,
    UNIQUE (session_key, stimulus_id)
) STRICT;
