"""The schema that the migrations make."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

import duecare.consent.models
import duecare.evidence.outbox
import duecare.radar.models
import duecare.registers.models
import duecare.systems.passes.models
import duecare.vault.models  # noqa: F401  (the models register themselves with Base)
from duecare.store.database import _MIGRATIONS, Base, Database, newest


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def test_newest_version_is_the_end_of_the_migrations() -> None:
    """The number that is read off their names is what alembic finds by reading them."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    assert newest() == ScriptDirectory.from_config(config).get_current_head()


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
    """Deliveries, and the messages made of them, keep belonging together when their numbers become names, and back;
    and no digest gets an id that was in use."""
    moment = "'2026-01-01 00:00:00'"
    false = "0" if database.embedded else "false"
    held = """
        SELECT m.subject, d.alert_id, d.address_id, d.mode FROM deliveries d JOIN messages m ON m.delivery_id = d.id
        ORDER BY m.subject
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    planted = [
        "INSERT INTO members (id, name, language, zone, digest_hour, created_at) "
        f"VALUES (1, 'm', 'zh', 'Asia/Shanghai', 8, {moment})",
        "INSERT INTO channel_addresses (id, member_id, channel, commitment, state, created_at) VALUES "
        + ", ".join(f"({number}, 1, 'centre', 'sha256:aa', 'active', {moment})" for number in (8, 9)),
        "INSERT INTO digests (id, member_id, address_id, day, zone, subject, counts, body_text, body_html, created_at) "
        f"VALUES (3, 1, 9, '2026-01-01', 'UTC', '', '{{}}', '', '', {moment})",
    ]
    deliveries = (
        (1, "NULL", 9, "carrier", "3"),  # a digest of two
        (2, "5", 9, "digest", "3"),
        (3, "-4", 9, "digest", "3"),
        (4, "NULL", 9, "carrier", "NULL"),  # its digest was composed anew
        (5, "7", 9, "realtime", "NULL"),
        (6, "NULL", 8, "carrier", "3"),  # its digest was erased, and the id given to the one above
        (7, "5", 8, "digest", "3"),
        (8, "NULL", 8, "carrier", "6"),  # the last digest there was, erased
    )
    for number, alert, address, mode, digest in deliveries:
        planted.append(
            "INSERT INTO deliveries (id, alert_id, member_id, address_id, channel, mode, state, attempts, created_at, "
            f"next_at, unanswered, last_error, digest_id) VALUES ({number}, {alert}, 1, {address}, 'centre', '{mode}', "
            f"'sent', 0, {moment}, {moment}, {false}, '', {digest})"
        )
        planted.append(
            "INSERT INTO messages (id, member_id, delivery_id, subject, body, created_at) "
            f"VALUES ({number}, 1, {number}, 'of {number}', '', {moment})"
        )
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
        for statement in planted:
            connection.execute(text(statement))
        before = connection.execute(text(held)).all()
        command.upgrade(config, "0009")
        pairs = {alert * 2**31 + address for alert, address in ((5, 9), (-4, 9), (7, 9), (5, 8))}
        found = set(connection.execute(text("SELECT id FROM deliveries")).scalars())
        assert found == {3, *pairs, *(-(2**62) - number for number in (4, 6, 8))}
        of_digest = text("SELECT id FROM deliveries WHERE digest_id = 3")
        assert set(connection.execute(of_digest).scalars()) == {3, 5 * 2**31 + 9, -4 * 2**31 + 9}
        assert connection.execute(text(held)).all() == before
        if database.embedded:  # PostgreSQL counts on by itself
            connection.execute(text(planted[2].replace("(3, 1, 9", "(NULL, 1, 8")))
            assert connection.execute(text("SELECT max(id) FROM digests")).scalar() == 7
        command.downgrade(config, "0008")
        assert connection.execute(text(held)).all() == before
        assert set(connection.execute(text("SELECT id FROM deliveries")).scalars()) == set(range(1, 9))
