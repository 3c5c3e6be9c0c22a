-- Several engines write to one database. Whoever appends to a session locks its head until the transaction ends: so the numbers of a
-- session's facts grow in the order of their commits, and whoever has read up to a number has missed nothing before it.

CREATE TABLE heads (
    session_key INTEGER NOT NULL PRIMARY KEY REFERENCES sessions (session_key),
    revision    INTEGER NOT NULL      -- number of the last fact
) WITH (fillfactor = 50);

INSERT INTO heads
SELECT session_key, GREATEST(1,
    (SELECT MAX(sequence) FROM turns       AS facts WHERE facts.session_key = sessions.session_key),
    (SELECT MAX(sequence) FROM stimuli     AS facts WHERE facts.session_key = sessions.session_key),
    (SELECT MAX(sequence) FROM retractions AS facts WHERE facts.session_key = sessions.session_key),
    (SELECT MAX(sequence) FROM pauses      AS facts WHERE facts.session_key = sessions.session_key),
    (SELECT MAX(sequence) FROM resumptions AS facts WHERE facts.session_key = sessions.session_key),
    (SELECT MAX(sequence) FROM rewinds     AS facts WHERE facts.session_key = sessions.session_key))
FROM sessions;

-- Facts after a number, which an engine reads when another one has written.
DROP INDEX turns_by_sequence;
CREATE UNIQUE INDEX turns_by_sequence       ON turns       (session_key, sequence);
CREATE UNIQUE INDEX stimuli_by_sequence     ON stimuli     (session_key, sequence);
CREATE UNIQUE INDEX retractions_by_sequence ON retractions (session_key, sequence);
CREATE UNIQUE INDEX pauses_by_sequence      ON pauses      (session_key, sequence);
CREATE UNIQUE INDEX resumptions_by_sequence ON resumptions (session_key, sequence);
CREATE UNIQUE INDEX rewinds_by_sequence     ON rewinds     (session_key, sequence);
