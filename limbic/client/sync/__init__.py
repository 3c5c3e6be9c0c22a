"""The clients without an event loop. All but `calls` is made from `limbic.client.aio`, by tools/sync_client.py."""
