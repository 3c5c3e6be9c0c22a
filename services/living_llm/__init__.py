"""The living LLM: speaks from a state, through an embedded model or any OpenAI-compatible server, and never lies about failure."""
