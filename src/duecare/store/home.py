"""A home: one folder that holds everything, and what is opened in it.

The rule of this module: two homes never touch each other. A database that belongs to one home is refused by another.
"""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from sqlalchemy import text

from duecare.clock import Clock, SystemClock
from duecare.errors import BadInput
from duecare.settings import Settings
from duecare.store import durable
from duecare.store.database import Database
from duecare.store.lock import holding
from duecare.store.readers import Readers
from duecare.store.snapshots import Snapshots

if TYPE_CHECKING:
    from duecare.store.lake import Lake


class Home:
    """The opened home. Everything in it is opened when it is first used."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.path: Path = settings.home
        if self.path.exists() and not self.path.is_dir():
            raise BadInput(f"The home {self.path} is a file.", hint="Give a folder with --home or DUECARE_HOME.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"The home {self.path} cannot be made: {error.strerror}.",
                hint="Give a folder with --home or DUECARE_HOME.",
            ) from None

    @cached_property
    def id(self) -> str:
        """The home's own name, made on first use."""
        path = self.path / "home.id"
        if not path.exists():
            durable.keep(path, str(uuid.uuid4()).encode(), mode=0o644)  # of two processes, the first names it
        return path.read_text().strip()

    @cached_property
    def database(self) -> Database:
        """The database, migrated, and found to belong to this home."""
        database = Database(self.settings.database)
        with database.session() as session:
            owner = session.execute(text("SELECT id FROM home")).scalar()
            if owner is None:
                session.execute(text("INSERT INTO home (id) VALUES (:id)"), {"id": self.id})
            elif owner != self.id:
                raise BadInput(
                    f"The database belongs to another home ({owner}), not to {self.path}.",
                    hint="Give each home a database of its own in DUECARE_DATABASE_URL.",
                )
        return database

    @cached_property
    def lake(self) -> Lake:
        """The lake's engine."""
        # Loaded by those who use it: the engine takes longer than most commands.
        from duecare.store.lake import Lake

        (self.path / "lake").mkdir(exist_ok=True)
        return Lake(self.path / "lake", memory_limit=self.settings.memory_limit, threads=self.settings.threads)

    @cached_property
    def readers(self) -> Readers:
        """Who reads the lake."""
        return Readers(self.path / "lake-readers.lock")

    @cached_property
    def snapshots(self) -> Snapshots:
        """Bytes as received."""
        return Snapshots(self.path / "snapshots")

    def writing(self, what: str, *, wait: float = 60.0) -> AbstractContextManager[None]:
        """Hold the right to write ``what``; another process waits for it at most ``wait`` seconds. Raises ``Busy``."""
        lock = FileLock(self.path / f"{what}.lock", timeout=wait)
        busy = f"Another process is writing to the {what} of {self.path}."
        return holding(lock, busy, hint="Try again when it is done.")

    def close(self) -> None:
        """Close what was opened."""
        for name in ("database", "lake", "readers"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
