"""The journal: an append-only log of facts, and the only thing that is kept. State is a fold of it."""
