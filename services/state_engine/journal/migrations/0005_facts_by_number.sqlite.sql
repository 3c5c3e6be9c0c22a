-- The facts after a number, which a session that has a snapshot is rebuilt from, and the number of the last one.

DROP INDEX turns_by_sequence;
CREATE UNIQUE INDEX turns_by_sequence       ON turns       (session_key, sequence);
CREATE UNIQUE INDEX stimuli_by_sequence     ON stimuli     (session_key, sequence);
CREATE UNIQUE INDEX retractions_by_sequence ON retractions (session_key, sequence);
CREATE UNIQUE INDEX pauses_by_sequence      ON pauses      (session_key, sequence);
CREATE UNIQUE INDEX resumptions_by_sequence ON resumptions (session_key, sequence);
CREATE UNIQUE INDEX rewinds_by_sequence     ON rewinds     (session_key, sequence);
