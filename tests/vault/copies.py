"""Copies of a home's parts, taken and put back by their own means."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from ..conftest import POSTGRES


class DatabaseCopy:
    """A copy of the whole database, of several with a ``name``. Nobody may have it open while it is taken or put
    back."""

    def __init__(self, url: str, folder: Path, name: str = "copy") -> None:
        self._url, self._name, self._kept = make_url(url), name, folder / f"database.{name}"
        if self._file is not None:
            with sqlite3.connect(self._file) as here, sqlite3.connect(self._kept) as there:
                here.backup(there)
        else:
            _admin(f"CREATE DATABASE {self._url.database}_{name} TEMPLATE {self._url.database}")

    def put_back(self) -> None:
        """The database is again what it was."""
        if self._file is None:
            _admin(f"DROP DATABASE {self._url.database} WITH (FORCE)")
            _admin(f"CREATE DATABASE {self._url.database} TEMPLATE {self._url.database}_{self._name}")
            return
        for left in self._file.parent.glob(f"{self._file.name}*"):
            left.unlink()
        shutil.copy(self._kept, self._file)

    @property
    def _file(self) -> Path | None:
        return Path(str(self._url.database)) if self._url.get_backend_name() == "sqlite" else None


class FolderCopy:
    """A copy of a folder, such as ``keys/``."""

    def __init__(self, folder: Path, kept: Path) -> None:
        self._folder, self._kept = folder, kept
        shutil.copytree(folder, kept)

    def put_back(self) -> None:
        """The folder is again what it was."""
        shutil.rmtree(self._folder)
        shutil.copytree(self._kept, self._folder)


def drop_copy(url: str, name: str = "copy") -> None:
    """Remove the copy of the database at ``url``."""
    if not url.startswith("sqlite"):
        _admin(f"DROP DATABASE IF EXISTS {make_url(url).database}_{name} WITH (FORCE)")


def _admin(statement: str) -> None:
    with psycopg.connect(POSTGRES, autocommit=True) as admin:
        admin.execute(statement)
