"""How Alembic runs the migrations: on the connection that the caller holds, in its transaction."""

from __future__ import annotations

from alembic import context

from tiffin.registry import tables

context.configure(connection=context.config.attributes["connection"], target_metadata=tables.metadata)
with context.begin_transaction():
    context.run_migrations()
