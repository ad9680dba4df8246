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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test come first, so that at the end none is left to one worker while the other waits."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


class Shelf:
    """Databases as the migrations make them on the server, each for one test at a time.

    To make one and to drop it takes longer than most tests. So the one that a test leaves is brought back for the next,
    to the rows and counters that it began with, in new files. One that was analyzed, or whose schema is not what it
    was, is dropped. It gets another name, so that who was left over from an earlier test finds nothing at the old one.
    """

    def __init__(self, admin: psycopg.Connection) -> None:
        self._admin = admin
        self._free: list[str] = []
        self._template = self._made()
        Database(address_of(self._template)).close()
        with psycopg.connect(address_of(self._template)) as connection:
            self._tables = [name for (name,) in connection.execute(_TABLES)]
            self._schema = connection.execute(_SCHEMA).fetchone()
            self._rows = {table: self._copied(connection, table) for table in self._full(connection)}
            self._counters = connection.execute(_COUNTERS).fetchall()

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*self._free, self._template):
            self._drop(name)

    def take(self) -> str:
        """The name of one."""
        return self._free.pop() if self._free else self._made(f"TEMPLATE {self._template}")

    def give_back(self, name: str) -> None:
        """Done with that one."""
        try:
            with psycopg.connect(address_of(name), autocommit=True) as connection:
                connection.execute(_END_THE_OTHERS)
                kept = connection.execute(_SCHEMA).fetchone() == self._schema
                if kept:
                    self._empty(connection)
        except psycopg.Error:  # the test itself dropped it, or put another in its place
            kept = False
        if kept:
            self._free.append(_new_name())
            self._admin.execute(f"ALTER DATABASE {name} RENAME TO {self._free[-1]}")
        else:
            self._drop(name)

    def _empty(self, connection: psycopg.Connection) -> None:
        connection.execute("SET session_replication_role = replica")  # no trigger that refuses it is asked
        full = self._full(connection)
        if full:
            connection.execute(f"TRUNCATE {', '.join(full)} CASCADE")
        with connection.cursor() as cursor:
            for table, rows in self._rows.items():
                with cursor.copy(f"COPY {table} FROM STDIN") as into:
                    into.write(rows)
            cursor.executemany("SELECT setval(%s, %s, %s)", self._counters)

    @staticmethod
    def _copied(connection: psycopg.Connection, table: str) -> bytes:
        with connection.cursor().copy(f"COPY {table} TO STDOUT") as out:
            return b"".join(out)

    def _full(self, connection: psycopg.Connection) -> list[str]:
        each = (f"(SELECT '{name}' FROM {name} LIMIT 1)" for name in self._tables)
        return [name for (name,) in connection.execute(" UNION ALL ".join(each))]

    def _made(self, how: str = "") -> str:
        name = _new_name()
        self._admin.execute(f"CREATE DATABASE {name} {how}")
        return name

    def _drop(self, name: str) -> None:
        self._admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


_TABLES = """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
"""
_END_THE_OTHERS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SCHEMA = """
    SELECT (SELECT version_num FROM alembic_version), md5(string_agg(part, ',' ORDER BY part)) FROM (
        SELECT concat('namespace ', oid, nspname) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
        UNION ALL SELECT concat('relation ', oid, relname, relkind, CASE WHEN relkind = 'r' THEN reltuples END)
            FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT concat('column ', attrelid, attname, attnum, atttypid, attnotnull, atthasdef, attisdropped)
            FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid AND relnamespace = 'public'::regnamespace
        UNION ALL SELECT concat('trigger ', oid, tgname, tgenabled) FROM pg_trigger
        UNION ALL SELECT concat('constraint ', oid, conname) FROM pg_constraint
        UNION ALL SELECT concat('function ', oid, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ) AS parts (part)
"""
_COUNTERS = """
    SELECT format('%I.%I', schemaname, sequencename), coalesce(last_value, start_value), last_value IS NOT NULL
    FROM pg_sequences
"""


def _new_name() -> str:
    return f"duecare_{uuid.uuid4().hex[:12]}"


def address_of(name: str) -> str:
    """Where the database of this name is."""
    return POSTGRES.rsplit("/", 1)[0] + f"/{name}"


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
def shelf() -> Iterator[Shelf]:
    """Such databases on the server."""
    with _server() as admin, Shelf(admin) as made:
        yield made


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
    shelf: Shelf = request.getfixturevalue("shelf")
    name = shelf.take()
    yield address_of(name)
    shelf.give_back(name)


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


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real register data beside the project; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("DUECARE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        if OBLIGATORY:
            pytest.fail(f"no real data at {folder}; set DUECARE_DATA")
        pytest.skip(f"no real data at {folder}; set DUECARE_DATA")
    return folder
