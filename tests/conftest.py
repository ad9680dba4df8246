"""What every test may ask for: a database of either kind, and the folder of real data."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings

from duecare.store.database import Database

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


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database without a row, migrated once for all tests of a process."""
    path = tmp_path_factory.mktemp("migrated") / "migrated.db"
    Database(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def migrated_database() -> Iterator[str]:
    """The name of the same on the server, for new databases to be made from."""
    with _server() as admin, _database(admin) as name:
        Database(_address_of(name)).close()
        yield name


@pytest.fixture(autouse=True)
def _migrated_already(monkeypatch: pytest.MonkeyPatch, migrated_file: Path) -> None:
    """A new SQLite database begins as a copy of the migrated one, which takes a hundredth of the time of migrating it.
    The migrations themselves are tested down to nothing and up again in ``store/test_migrations.py``."""
    migrate = Database.migrate

    def copy_first(database: Database) -> None:
        path = Path(database.engine.url.database or "") if database.embedded else None
        if path is not None and path.parent.is_dir() and not path.exists():
            copy = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
            shutil.copyfile(migrated_file, copy)
            copy.rename(path)
        migrate(database)

    monkeypatch.setattr(Database, "migrate", copy_first)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without a row: SQLite in a temporary folder, PostgreSQL in a database of its own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    template = request.getfixturevalue("migrated_database")
    with _server() as admin, _database(admin, f"TEMPLATE {template}") as name:
        yield _address_of(name)


@contextmanager
def _server() -> Iterator[psycopg.Connection]:
    try:
        admin = psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError:
        if OBLIGATORY:
            raise
        pytest.skip(f"no PostgreSQL at {POSTGRES}; set DUECARE_TEST_POSTGRES")
    with admin:
        yield admin


@contextmanager
def _database(admin: psycopg.Connection, how: str = "") -> Iterator[str]:
    name = f"duecare_{uuid.uuid4().hex[:12]}"
    admin.execute(f"CREATE DATABASE {name} {how}")
    try:
        yield name
    finally:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _address_of(name: str) -> str:
    return POSTGRES.rsplit("/", 1)[0] + f"/{name}"


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real register data beside the project; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("DUECARE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        if OBLIGATORY:
            pytest.fail(f"no real data at {folder}; set DUECARE_DATA")
        pytest.skip(f"no real data at {folder}; set DUECARE_DATA")
    return folder
