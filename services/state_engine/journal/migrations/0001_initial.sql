-- Every table is append-only. `sequence` numbers the facts of a session from 1, over all tables; the opening is number 1.
-- Moments are nanoseconds since the epoch. Ids are the callers' own, unique within a session.

CREATE TABLE temperaments (
    digest TEXT PRIMARY KEY,          -- SHA-256 of the text, lower-case hexadecimal
    text   TEXT NOT NULL              -- TOML; a session goes on under the text it began with
) STRICT;

CREATE TABLE sessions (
    session_key            INTEGER PRIMARY KEY,
    session_id             TEXT    NOT NULL UNIQUE,
    temperament            TEXT    NOT NULL,
    temperament_digest     TEXT    NOT NULL REFERENCES temperaments (digest),
    keep_text              INTEGER NOT NULL CHECK (keep_text IN (0, 1)),
    created_ns             INTEGER NOT NULL,
    forked_from_session_id TEXT,      -- NULL unless it was forked; no reference, since the origin may be deleted
    forked_from_turn_id    TEXT
) STRICT;

CREATE TABLE turns (
    session_key    INTEGER NOT NULL REFERENCES sessions (session_key),
    sequence       INTEGER NOT NULL,
    turn_id        TEXT    NOT NULL,
    parent_turn_id TEXT    NOT NULL,  -- empty: the root
    role           INTEGER NOT NULL CHECK (role IN (1, 2)),
    occurred_ns    INTEGER NOT NULL,
    recorded_ns    INTEGER NOT NULL,
    text           TEXT    NOT NULL,  -- empty where the session does not keep it
    cut            INTEGER NOT NULL CHECK (cut IN (0, 1)),
    UNIQUE (session_key, turn_id)
) STRICT;
CREATE INDEX turns_by_sequence ON turns (session_key, sequence);

CREATE TABLE stimuli (
    session_key          INTEGER NOT NULL REFERENCES sessions (session_key),
    sequence             INTEGER NOT NULL,
    stimulus_id          TEXT    NOT NULL,
    turn_id              TEXT    NOT NULL,
    occurred_ns          INTEGER NOT NULL,
    recorded_ns          INTEGER NOT NULL,
    valence              REAL,         -- these are NULL where the cause is an event
    intimacy             REAL,
    tension              REAL,
    confidence           REAL,
    valence_sd           REAL,         -- NULL where the head gave no uncertainty
    intimacy_sd          REAL,
    tension_sd           REAL,
    emotions             TEXT,         -- JSON: [[label, …], [probability, …], [index of an active one, …]]
    head_id              TEXT,
    head_quantization    TEXT,
    head_calibration     TEXT,
    truncated            INTEGER,
    reasoning            TEXT,
    latency_ns           INTEGER,
    event_name           TEXT,         -- these are NULL where the cause is a reading
    event_intensity      REAL,
    UNIQUE (session_key, stimulus_id),
    CHECK ((valence IS NULL) <> (event_name IS NULL))
) STRICT;

CREATE TABLE retractions (
    session_key   INTEGER NOT NULL REFERENCES sessions (session_key),
    sequence      INTEGER NOT NULL,
    retraction_id TEXT    NOT NULL,
    stimulus_id   TEXT    NOT NULL,
    recorded_ns   INTEGER NOT NULL,
    UNIQUE (session_key, retraction_id)
) STRICT;

CREATE TABLE pauses (
    session_key INTEGER NOT NULL REFERENCES sessions (session_key),
    sequence    INTEGER NOT NULL,
    pause_id    TEXT    NOT NULL,
    from_ns     INTEGER NOT NULL,
    recorded_ns INTEGER NOT NULL,
    UNIQUE (session_key, pause_id)
) STRICT;

CREATE TABLE resumptions (
    session_key INTEGER NOT NULL REFERENCES sessions (session_key),
    sequence    INTEGER NOT NULL,
    pause_id    TEXT    NOT NULL,
    from_ns     INTEGER NOT NULL,
    recorded_ns INTEGER NOT NULL,
    UNIQUE (session_key, pause_id)
) STRICT;

CREATE TABLE rewinds (
    session_key INTEGER NOT NULL REFERENCES sessions (session_key),
    sequence    INTEGER NOT NULL,
    rewind_id   TEXT    NOT NULL,
    turn_id     TEXT    NOT NULL,     -- empty: the root
    recorded_ns INTEGER NOT NULL,
    UNIQUE (session_key, rewind_id)
) STRICT;
