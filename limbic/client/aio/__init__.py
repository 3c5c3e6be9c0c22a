"""The clients for asyncio. All but `calls` is also what `limbic.client.sync` is made from, by tools/sync_client.py."""
