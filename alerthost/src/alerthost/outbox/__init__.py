"""The durable delivery engine: what was accepted is delivered.

Importing this package imports nothing heavy: take `alerthost.outbox.engine.Engine` when it is
needed.
"""
