"""The reference host: a durable delivery engine, and the command ``alerthost`` around it."""
