"""What Alembic runs: migrations over the connection, and in the transaction, of `migrate`."""

from __future__ import annotations

from alembic import context

from samovar.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's DDL is transactional once we begin transactions ourselves
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
