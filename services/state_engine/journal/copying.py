"""Copies the path of one session into another inside the database, so that no row of it leaves the database.

The statements are one set for both databases: only how a parameter is written differs, and how a table for the time of the copy is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from services.state_engine.journal.facts import PauseFact, ResumptionFact, RetractionFact, StimulusFact, TurnFact
from services.state_engine.journal.rows import TABLES

COPIED: Final = (TurnFact, StimulusFact, RetractionFact, PauseFact, ResumptionFact)
"""What a fork takes along: not the moves of the tip, which are about turns that it may not have."""

_PATH: Final = """
INSERT INTO copied_turns
WITH RECURSIVE path (turn_id) AS (
    SELECT CAST(:turn_id AS TEXT)
    UNION ALL
    SELECT parent_turn_id FROM path JOIN turns USING (turn_id) WHERE session_key = :origin
)
SELECT turn_id FROM path
"""
# The root, which is no row of `turns`, ends it. It is on every path.

_NUMBERS: Final = """
INSERT INTO copied_facts
SELECT sequence, 1 + ROW_NUMBER() OVER (ORDER BY sequence) FROM (
    SELECT sequence FROM turns JOIN copied_turns USING (turn_id) WHERE session_key = :origin
    UNION ALL SELECT sequence FROM stimuli JOIN copied_turns USING (turn_id) WHERE session_key = :origin
    UNION ALL SELECT retractions.sequence FROM retractions JOIN stimuli USING (session_key, stimulus_id)
        JOIN copied_turns USING (turn_id) WHERE session_key = :origin
    UNION ALL SELECT sequence FROM pauses WHERE session_key = :origin
    UNION ALL SELECT sequence FROM resumptions WHERE session_key = :origin
) AS facts WHERE sequence <= :revision
"""

_TEMPORARY: Final = (
    "copied_turns (turn_id TEXT PRIMARY KEY)",
    "copied_facts (sequence BIGINT PRIMARY KEY, number BIGINT)",
)

COUNT: Final = "SELECT count(*) FROM copied_facts"


def _rows(name: str, columns: Sequence[str]) -> str:
    listed = ", ".join(columns)
    return (
        f"INSERT INTO {name} (session_key, sequence, {listed}) "
        f"SELECT :copy, number, {listed} FROM {name} JOIN copied_facts USING (sequence) WHERE session_key = :origin"
    )


_STATEMENTS: Final = (_PATH, _NUMBERS, *(_rows(TABLES[kind].name, TABLES[kind].columns) for kind in COPIED))

SQLITE: Final = (
    *(f"DROP TABLE IF EXISTS temp.{table.partition(' ')[0]}" for table in _TEMPORARY),
    *(f"CREATE TEMP TABLE {table}" for table in _TEMPORARY),
    *_STATEMENTS,
)
SQLITE_END: Final = tuple(f"DROP TABLE temp.{table.partition(' ')[0]}" for table in _TEMPORARY)

POSTGRESQL: Final = (
    *(f"CREATE TEMP TABLE {table} ON COMMIT DROP" for table in _TEMPORARY),
    *(re.sub(r"(?<!:):(\w+)", r"%(\1)s", statement) for statement in _STATEMENTS),
)
"""Parameters of both: `origin` and `copy`, the keys of the sessions; `turn_id`, the path's end; `revision`, up to which facts count."""
