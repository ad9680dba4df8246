"""What every test may ask for: a database of either kind, and the folder of real data."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings

# A machine that is busy is slow; that is no fault of what is tested.
settings.register_profile("duecare", deadline=None)
settings.load_profile("duecare")

POSTGRES = os.environ.get("DUECARE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
OBLIGATORY = os.environ.get("CI") == "true"
SPARK = os.environ.get("DUECARE_TEST_SPARK") == "1"
"""Whether Spark must be there: `make spark` installs it."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of the person who runs the tests leaks into them, and no note of theirs into that person's files."""
    for name in list(os.environ):
        if name.startswith("DUECARE_") and name not in ("DUECARE_DATA", "DUECARE_TEST_POSTGRES"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DUECARE_STATE", str(tmp_path_factory.getbasetemp() / f"state-{uuid.uuid4().hex}"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database: SQLite in a temporary folder, and PostgreSQL in a database of its own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    name = f"duecare_{uuid.uuid4().hex[:12]}"
    try:
        admin = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError:
        if OBLIGATORY:
            raise
        pytest.skip(f"no PostgreSQL at {POSTGRES}; set DUECARE_TEST_POSTGRES")
    with admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            yield POSTGRES.rsplit("/", 1)[0] + f"/{name}"
        finally:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real register data beside the project; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("DUECARE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        if OBLIGATORY:
            pytest.fail(f"no real data at {folder}; set DUECARE_DATA")
        pytest.skip(f"no real data at {folder}; set DUECARE_DATA")
    return folder
