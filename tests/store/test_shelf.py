"""The databases of the tests: each test finds one as the migrations make it, whatever the one before did to its own."""

from __future__ import annotations

import psycopg
import pytest
from tests.conftest import Shelf, address_of

ALL = """
    SELECT relname, reltuples, pg_relation_size(oid), (SELECT count(*) FROM pg_statistic WHERE starelid = pg_class.oid)
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
HELD = "SELECT * FROM vault_marks ORDER BY 1"
COUNTERS = "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"
MEMBER = """
    INSERT INTO members (name, language, zone, digest_hour, created_at) VALUES ('m', 'zh', 'Asia/Shanghai', 8, now())
"""


def found(name: str) -> list[object]:
    with psycopg.connect(address_of(name)) as connection:
        return [connection.execute(asked).fetchall() for asked in (ALL, HELD, COUNTERS)]


@pytest.mark.parametrize(
    ("done", "used_again"),
    [
        ("SELECT 1", True),
        (MEMBER, True),
        ("DELETE FROM vault_marks", True),
        (f"{MEMBER}; ANALYZE members", False),
        ("ALTER TABLE members ADD COLUMN more integer", False),
        ("ALTER TABLE members ALTER COLUMN name DROP NOT NULL", False),
        ("ALTER TABLE evidence DISABLE TRIGGER ALL", False),
        ("UPDATE alembic_version SET version_num = '0001'", False),
        ("DROP TABLE watches", False),
        ("CREATE SCHEMA more", False),
    ],
)
def test_what_a_test_did_is_gone(done: str, used_again: bool, shelf: Shelf) -> None:
    """Rows, counters and what the planner knew are as in a new one; one with another schema is not used again."""
    free, shelf._free = shelf._free, []
    try:
        name = shelf.take()
        before = found(name)
        with psycopg.connect(address_of(name), autocommit=True) as connection:
            connection.execute(done)
        shelf.give_back(name)
        assert bool(shelf._free) is used_again
        again = shelf.take()
        assert again != name
        assert found(again) == before
        shelf.give_back(again)
    finally:
        shelf._free += free


def test_who_is_left_over_is_ended(shelf: Shelf) -> None:
    """A transaction that a test left open neither holds the next one up nor reaches it."""
    name = shelf.take()
    left = psycopg.connect(address_of(name))
    left.execute(MEMBER)
    shelf.give_back(name)
    with pytest.raises(psycopg.OperationalError):
        left.commit()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(address_of(name))
    with psycopg.connect(address_of(shelf._free[-1])) as connection:
        assert connection.execute("SELECT count(*) FROM members").fetchone() == (0,)


def test_one_that_is_gone_is_not_handed_out(shelf: Shelf) -> None:
    """A test may drop its database."""
    name, free = shelf.take(), list(shelf._free)
    shelf._drop(name)
    shelf.give_back(name)
    assert shelf._free == free
