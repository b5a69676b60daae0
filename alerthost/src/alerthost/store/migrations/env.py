"""Run the migrations on the connection that `alerthost.store.migrations.upgrade` passes."""

from __future__ import annotations

from alembic import context

from alerthost.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
