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


def test_old_deliveries_get_the_names_of_their_pairs(database: Database) -> None:
    """Deliveries, and the messages made of them, keep belonging together when their numbers become names, and back."""
    moment = "'2026-01-01 00:00:00'"
    held = """
        SELECT d.alert_id, d.address_id, d.digest_id, d.mode, m.subject FROM deliveries d
        LEFT JOIN messages m ON m.delivery_id = d.id ORDER BY d.alert_id, d.mode, d.digest_id
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
        false = "0" if database.embedded else "false"
        connection.execute(
            text(
                "INSERT INTO members (id, name, language, zone, digest_hour, created_at) "
                f"VALUES (1, 'm', 'zh', 'Asia/Shanghai', 8, {moment})"
            )
        )
        # An alert, a digest of two with its carrier, and a carrier whose digest was composed anew.
        for number, alert, mode, digest in (
            (1, "NULL", "carrier", "3"), (2, "5", "digest", "3"), (3, "-4", "digest", "3"),
            (4, "NULL", "carrier", "NULL"), (5, "7", "realtime", "NULL"),
        ):  # fmt: skip
            connection.execute(
                text(
                    "INSERT INTO deliveries (id, alert_id, member_id, address_id, channel, mode, state, attempts, "
                    "created_at, next_at, unanswered, last_error, digest_id) VALUES "
                    f"({number}, {alert}, 1, 9, 'centre', '{mode}', 'sent', 0, {moment}, {moment}, {false}, '', "
                    f"{digest})"
                )
            )
            connection.execute(
                text(
                    "INSERT INTO messages (id, member_id, delivery_id, subject, body, created_at) "
                    f"VALUES ({number}, 1, {number}, 'of {number}', '', {moment})"
                )
            )
        before = connection.execute(text(held)).all()
        command.upgrade(config, "0009")
        named = set(connection.execute(text("SELECT id FROM deliveries")).scalars())
        assert named == {3, 5 * 2**31 + 9, -4 * 2**31 + 9, -4, 7 * 2**31 + 9}
        assert connection.execute(text(held)).all() == before
        command.downgrade(config, "0008")
        assert connection.execute(text(held)).all() == before
        assert set(connection.execute(text("SELECT id FROM deliveries")).scalars()) == {1, 2, 3, 4, 5}
