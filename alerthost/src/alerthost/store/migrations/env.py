"""Run the migrations on the connection that `alerthost.store.migrations.upgrade` passes."""

from __future__ import annotations

from alembic import context

from alerthost.store import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.submissions.metadata,
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
