"""The reference host, ``alerthost``: rules in one TOML file, alerts as JSON lines."""
