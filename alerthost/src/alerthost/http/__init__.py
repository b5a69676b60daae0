"""The HTTP server of ``alerthost run``."""
