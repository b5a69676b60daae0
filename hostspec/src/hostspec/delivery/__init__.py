"""The durable delivery engine: what was accepted is delivered; an extra.

Importing this package imports nothing heavy: take `hostspec.delivery.engine.Engine` when it is
needed. It needs the extra ``hostspec[delivery]``.
"""
