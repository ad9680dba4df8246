"""A PostgreSQL database of its own for a measurement."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

_ADDRESS = os.environ.get("DUECARE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database, dropped afterwards. Raises ``psycopg.OperationalError`` where there is none."""
    name = f"duecare_bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(_ADDRESS, autocommit=True, connect_timeout=3) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield _ADDRESS.rsplit("/", 1)[0] + f"/{name}"
        finally:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
