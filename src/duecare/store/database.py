"""The database: people, duties, deliveries, and which version of each lake table is true.

The rule of this module: the same migrations and the same code run on SQLite and PostgreSQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import DateTime, Dialect, Engine, MetaData, Select, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import URL, Connection, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.types import TypeDecorator

from duecare.errors import BadInput

_MIGRATIONS = Path(__file__).parent / "migrations"
_RIGHT = (
    "Give sqlite:////folder/file.db or postgresql://user@host:5432/name in DUECARE_DATABASE_URL, or leave it empty for "
    "the embedded database."
)
_AS_GIVEN_OUT = "Look whether it is written as it was given out."
_OUT_OF_RANGE = "22003"  # SQLSTATE numeric_value_out_of_range
_DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg"}
_PART = 5_000

Each = TypeVar("Each")


class Moment(TypeDecorator[datetime]):
    """An aware time, kept in UTC. SQLite has no zones, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive time {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Root of all table models; constraints are named so that both databases can migrate them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Database:
    """An open database, migrated to the newest schema."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self.migrate()

    @property
    def embedded(self) -> bool:
        """Whether this is SQLite in the home folder."""
        return self.engine.dialect.name == "sqlite"

    def migrate(self) -> None:
        """Bring the schema to the newest version; does nothing where it is there already."""
        try:
            with self.engine.connect() as connection:
                current = _version(connection)
        except DBAPIError as error:  # nothing was asked for yet, so it is the address or the server
            raise self._closed(error) from None
        if current == newest():
            return
        try:
            with self.engine.begin() as connection:
                _upgrade(connection)
        except OperationalError as error:
            raise self._closed(error) from None

    def _closed(self, error: DBAPIError) -> BadInput:
        return BadInput(
            f"The database {_shown(address(self.url))} cannot be opened: {str(error.orig).strip()}.", hint=_RIGHT
        )

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: commits at the end of the block, rolls back if it raises."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def newest() -> str:
    """The newest version of the schema: the number that begins the name of the last migration."""
    return max(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(connection: Connection) -> None:
    # Loaded by the few that need it: it takes longer than most commands.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def exists_at(url: str) -> bool:
    """Whether there is a database at ``url`` to be read; one on a server is taken to be there. Makes nothing."""
    parsed = make_url(url)
    return parsed.get_backend_name() != "sqlite" or Path(str(parsed.database)).is_file()


def parts(items: Sequence[Each], size: int = _PART) -> Iterator[Sequence[Each]]:
    """``items``, so many at a time as one statement takes."""
    return (items[start : start + size] for start in range(0, len(items), size))


def alone(session: Session, what: str) -> None:
    """Let no other transaction do ``what``, alone or together, until this one ends; waits for those that do.

    SQLite has one writer at a time as it is.
    """
    _lock(session, "pg_advisory_xact_lock", what)


def together(session: Session, what: str) -> None:
    """Do ``what`` beside other transactions that do it together, and none that does it alone."""
    _lock(session, "pg_advisory_xact_lock_shared", what)


def of_one_moment(session: Session) -> None:
    """Let all that the transaction reads be as it was at one moment. Call it first in the transaction.

    SQLite has one writer at a time as it is.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


def in_order(
    session: Session, rows: Select[Any], given: Mapping[str, Any] | None = None, *, shared: bool = False
) -> None:
    """Lock ``rows`` in the order of the select, until the transaction ends; ``given``: its parameters.

    Whoever changes several rows at once does this before, and in the order of the same column: then two of them wait
    for each other in one direction only. ``shared``: others may do so too, and nobody may change them. SQLite has one
    writer at a time as it is.
    """
    if session.get_bind().dialect.name == "postgresql":
        held = rows.with_for_update(read=shared, key_share=not shared).subquery()
        session.execute(select(func.count()).select_from(held), given)


def _lock(session: Session, function: str, what: str) -> None:
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT {function}(hashtextextended(:what, 0))"), {"what": what})


def address(url: str) -> URL:
    """``url`` as an address of a database that we can use, with its driver. Raises ``BadInput``; shows no password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        shown = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
        raise BadInput(f"The address of the database is {shown!r}, which is none.", hint=_RIGHT) from None
    backend, _, driver = parsed.drivername.partition("+")
    backend = "postgresql" if backend == "postgres" else backend
    if backend not in _DRIVERS:
        raise BadInput(
            f"The database {_shown(parsed)} is of the kind {backend}: ours are SQLite and PostgreSQL.",
            hint=_RIGHT,
        )
    if driver not in ("", _DRIVERS[backend]):
        raise BadInput(
            f"The database {_shown(parsed)} names the driver {driver}: ours for {backend} is {_DRIVERS[backend]}.",
            hint=_RIGHT,
        )
    if backend == "sqlite" and parsed.host:
        raise BadInput(
            f"The database {_shown(parsed)} has a host, which SQLite has not.",
            hint=f"Three slashes begin a path beside us, four one from the root. {_RIGHT}",
        )
    return parsed.set(drivername=f"{backend}+{_DRIVERS[backend]}")


def _shown(url: URL) -> str:
    return url.difference_update_query(["password"]).render_as_string()


def _engine(url: str) -> Engine:
    engine = _opened(url)
    event.listen(engine, "handle_error", _refuse_what_does_not_fit)
    return engine


def _refuse_what_does_not_fit(failed: ExceptionContext) -> None:
    """What no column can hold names nothing here, and cannot be kept: a mistake in what was asked for, on either
    database. SQLite keeps U+0000, so that whoever takes texts from outside refuses it."""
    error = failed.original_exception
    if isinstance(error, OverflowError) or getattr(error, "sqlstate", None) == _OUT_OF_RANGE:
        raise BadInput("A number that was given is beyond all that there can be here.", hint=_AS_GIVEN_OUT)
    if isinstance(error, UnicodeEncodeError) or "cannot contain NUL" in str(error):
        raise BadInput("A text that was given has a character that no text can have here.", hint=_AS_GIVEN_OUT)


def _opened(url: str) -> Engine:
    # Its errors go to logs, where the values that were to be written have no business.
    parsed = address(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            folder = Path(parsed.database).parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInput(
                    f"The folder {folder} of the database cannot be made: {error.strerror}.", hint=_RIGHT
                ) from None
        engine = create_engine(parsed, connect_args={"timeout": 30}, hide_parameters=True)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    try:
        return create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
    except ImportError as error:
        raise BadInput(
            f"The driver psycopg for the database {_shown(parsed)} cannot be loaded: {error}.",
            hint="Install it with its library: pip install 'psycopg[binary]'.",
        ) from None


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transaction handling would start them late (at the first write) and lose the isolation
    # that two delivery workers at once depend on.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is written over: erased is erased
    cursor.execute("PRAGMA recursive_triggers=ON")  # REPLACE, too, asks the triggers that refuse a deletion
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
