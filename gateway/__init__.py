"""The gateway: fans a turn out to the state engine, the affect head and the living LLM, and streams it back."""
