"""The state engine: what a conversation feels, as a law over a journal of facts. Nothing ticks."""
