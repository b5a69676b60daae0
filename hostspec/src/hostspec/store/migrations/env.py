"""Runs the migrations on the connection that `hostspec.store.database` hands in."""

from __future__ import annotations

from alembic import context

from hostspec.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
