"""The durable delivery engine: every accepted alert is delivered or reported.

Importing this package imports nothing heavy; import `alerthost.outbox.engine.Engine` when it is
needed.
"""
