"""Alembic's history of the database; only ever added to."""
