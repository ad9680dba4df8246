"""A database in which the park has declared what it does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from duecare.store.database import Database

from .world import furnish


@pytest.fixture
def empty(database_url: str) -> Iterator[Database]:
    """A database in which nothing is declared."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def park(empty: Database) -> Database:
    """A database with the park's fields, purposes and first notice."""
    furnish(empty)
    return empty
