"""The host's database: the installations that are kept there, secrets sealed; an extra.

Importing this package imports nothing heavy: take what is needed from its modules, when it is
needed.
"""
