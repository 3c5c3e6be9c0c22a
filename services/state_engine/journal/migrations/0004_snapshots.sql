-- What was kept of a session at a revision, so that its log need not be read from the beginning: a cache, which may be emptied at any time.

CREATE TABLE snapshots (
    session_key INTEGER NOT NULL PRIMARY KEY REFERENCES sessions (session_key),
    revision    INTEGER NOT NULL,     -- number of the last fact that it takes in
    content     BLOB    NOT NULL      -- says by itself what it was made from, and whether it is whole
) STRICT;
