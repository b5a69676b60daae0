"""The console of ``alerthost run``: web pages to see deliveries and incidents, and to act."""
