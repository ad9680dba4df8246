"""The schema that the migrations make."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

import duecare.consent.models
import duecare.evidence.outbox
import duecare.radar.models
import duecare.registers.models
import duecare.systems.passes.models
import duecare.vault.models  # noqa: F401  (the models register themselves with Base)
from duecare.store.database import _MIGRATIONS, Base, Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def test_migrated_schema_equals_the_models(database: Database) -> None:
    """Nothing is left that alembic would still change: columns, types, keys, indexes, constraints."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_partial_indexes_have_the_conditions_of_the_models(database: Database) -> None:
    """What alembic does not compare: an index over some rows covers the same rows in the schema as in the models."""
    with database.engine.connect() as connection:
        if database.embedded:
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql <> ''"))
        else:
            rows = connection.execute(text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"))
        found = {name: sql.partition(" WHERE ")[2] for name, sql in rows}
    for table in Base.metadata.tables.values():
        for index in table.indexes:
            where = index.dialect_options["sqlite"].get("where")
            words = {word for word in str(where).split() if word.isidentifier()} if where is not None else set()
            assert all(word in found[str(index.name)] for word in words), index.name
            assert bool(found[str(index.name)]) == (where is not None), index.name


def test_migrations_go_down_to_nothing_and_up_again(database: Database) -> None:
    """Every step can be undone and done again."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    database.migrate()
    with database.engine.connect() as connection:
        assert "deliveries" in inspect(connection).get_table_names()
