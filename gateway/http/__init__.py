"""The gateway over HTTP: each face is a router of its own, and `app` puts them together."""
