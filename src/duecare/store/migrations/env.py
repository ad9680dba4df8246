"""Runs the migrations on the connection that ``Database.migrate`` hands over.

The models' metadata gives constraints their names, so that both databases know them by the same ones.
"""

from alembic import context

from duecare.store.database import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
