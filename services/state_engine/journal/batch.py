"""What one transaction adds, in rows, and where it leaves each session: the same for every database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from services.state_engine.journal.facts import Fact, Head, LaterFact, SessionFact
from services.state_engine.journal.rows import TABLES, Row


@dataclass(slots=True)
class Rows:
    """Rows by the kind of their facts, each with session_key and sequence first; and the heads after them, by session id."""

    heads: dict[str, Head] = field(default_factory=dict)
    by_kind: dict[type[LaterFact], list[Row]] = field(default_factory=dict)

    def add(self, session_id: str, head: Head, facts: Sequence[Fact]) -> int:
        """Give facts their numbers, from a head on, and return the session's revision after them."""
        sequence = head.revision
        for fact in facts:
            sequence += 1
            if isinstance(fact, SessionFact):
                raise ValueError("a session is opened by the first fact of an append")
            kind = type(fact)
            self.by_kind.setdefault(kind, []).append((head.key, sequence, *TABLES[kind].row(fact)))
        self.heads[session_id] = Head(head.key, sequence)
        return sequence
