"""What a database cannot hold is a mistake in what was asked for, on either of them."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from duecare.errors import BadInput
from duecare.evidence.outbox import EvidenceEntry
from duecare.registers.models import Batch
from duecare.store.database import Database


@pytest.mark.parametrize("number", [10**20, -(10**20), 2**63])
def test_a_number_beyond_all_is_refused(database_url: str, number: int) -> None:
    """No row can have it: that is said in a sentence, and the next transaction goes on."""
    database = Database(database_url)
    with pytest.raises(BadInput, match="A number that was given"), database.session() as session:
        session.get(EvidenceEntry, number)
    with database.session() as session:
        assert session.get(EvidenceEntry, 1) is None
    database.close()


def test_half_a_character_is_refused(database_url: str) -> None:
    """What came out of a command line that is no UTF-8 cannot be written."""
    database = Database(database_url)
    with pytest.raises(BadInput, match="A text that was given"), database.session() as session:
        session.get(Batch, "\udcff")
    database.close()


def test_the_character_nought_is_refused_where_it_cannot_be_kept(database_url: str) -> None:
    """PostgreSQL keeps no U+0000; SQLite does, and finds nothing."""
    database = Database(database_url)
    if database.embedded:
        with database.session() as session:
            assert session.get(Batch, "a\0b") is None
    else:
        with pytest.raises(BadInput, match="A text that was given"), database.session() as session:
            session.get(Batch, "a\0b")
    database.close()


def test_an_error_names_no_values(database_url: str) -> None:
    """What was to be written may be of a person, and errors go to logs."""
    database = Database(database_url)
    with pytest.raises(DBAPIError) as raised, database.session() as session:
        session.execute(text("INSERT INTO nowhere (name) VALUES (:name)"), {"name": "Zhang San"})
    assert "nowhere" in str(raised.value)
    assert "Zhang San" not in str(raised.value)
    database.close()
