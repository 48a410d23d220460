"""Read by Alembic: where the tables are described, and which connection to use."""

from alembic import context

from palladion.storage.tables import Base

# Whoever upgrades has begun a transaction; everything happens in it, on SQLite as well.
context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
