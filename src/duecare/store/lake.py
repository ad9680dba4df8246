"""The lake: Delta tables written by DuckDB, one set of tables for each source.

DuckDB writes the Parquet files and Delta records them, so that any engine reads the same tables; readers always name
the version they read.

The rule of this module: a reader sees only versions that the database has declared true, never what a killed process
left behind.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction, create_table_with_add_actions

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

NEW = -1
"""The version of a table that does not exist yet."""


class Lake:
    """Tables under ``root``; ``connection`` is the engine, ``backend`` the same through Ibis."""

    def __init__(self, root: Path, *, memory_limit: str = "3GB", threads: int = 0) -> None:
        self.root = root
        self.connection = duckdb.connect()
        spill = root / ".spill"
        self.connection.execute(f"SET memory_limit='{memory_limit}'")
        self.connection.execute(f"SET temp_directory='{spill}'")
        self.connection.execute("SET TimeZone='UTC'")
        self.connection.execute("SET preserve_insertion_order=false")
        if threads:
            self.connection.execute(f"SET threads={threads}")
        self._backend: Backend | None = None
        self._files: dict[tuple[str, str, int], list[str]] = {}

    @property
    def backend(self) -> Backend:
        """The engine through Ibis."""
        if self._backend is None:
            import ibis  # takes as long to import as most commands take to run

            self._backend = ibis.duckdb.from_connection(self.connection)
        return self._backend

    def files(self, source: str, table: str, version: int) -> list[str]:
        """The Parquet files of ``table`` as of ``version``; empty where it does not exist."""
        if version == NEW:
            return []
        key = (source, table, version)
        if key not in self._files:
            delta = DeltaTable(self._path(source, table), version=version)
            self._files[key] = [uri.removeprefix("file://") for uri in delta.file_uris()]
        return self._files[key]

    def scan(self, source: str, table: str, version: int, columns: str) -> str:
        """SQL that reads ``table`` as of ``version``. ``columns``: DuckDB definitions, used where it is empty."""
        found = self.files(source, table, version)
        if not found:
            nulls = ", ".join(
                f"NULL::{kind} AS {name}" for name, kind in (part.split(" ", 1) for part in columns.split(", "))
            )
            return f"(SELECT {nulls} WHERE false)"
        names = ", ".join(part.split(" ", 1)[0] for part in columns.split(", "))
        listed = ", ".join("'" + path.replace("'", "''") + "'" for path in found)
        return f"(SELECT {names} FROM read_parquet([{listed}]))"

    def write(self, source: str, table: str, version: int, queries: list[str], *, replace: bool = False) -> int:
        """Append the rows of ``queries`` to ``version`` (or replace the whole table by them), in one transaction.

        Each query becomes one Parquet file. Returns the new version. Versions above ``version`` that were never
        declared true are undone first.
        """
        folder = Path(self._path(source, table))
        folder.mkdir(parents=True, exist_ok=True)
        written = [path for path in (self._write_file(folder, query) for query in queries) if path]
        adds = [_add_action(path) for path in written]
        if version == NEW:
            self._discard_unborn(folder)
            if not written:
                return NEW
            schema = Schema.from_arrow(pq.read_schema(written[0]).remove_metadata())
            create_table_with_add_actions(str(folder), schema, adds, mode="error")
            return 0
        delta = DeltaTable(str(folder))
        if delta.version() != version:
            delta.restore(version)
            delta = DeltaTable(str(folder))
        if not written and not replace:
            return delta.version()
        schema = delta.schema()
        delta.create_write_transaction([*adds], "overwrite" if replace else "append", schema)
        return DeltaTable(str(folder)).version()

    def close(self) -> None:
        """Close the engine."""
        self.connection.close()

    def _path(self, source: str, table: str) -> str:
        return str(self.root / source / table)

    def _write_file(self, folder: Path, query: str) -> Path | None:
        path = folder / f"{uuid.uuid4().hex}.parquet"
        quoted = str(path).replace("'", "''")
        row = self.connection.execute(
            f"COPY ({query}) TO '{quoted}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 122880)"
        ).fetchone()
        if row is None or row[0] == 0:
            path.unlink(missing_ok=True)
            return None
        return path

    @staticmethod
    def _discard_unborn(folder: Path) -> None:
        """Remove the log of a table that a killed process created without declaring it true."""
        log = folder / "_delta_log"
        if log.is_dir():
            for path in log.iterdir():
                path.unlink()
            log.rmdir()


def _add_action(path: Path) -> AddAction:
    rows = pq.read_metadata(path).num_rows
    return AddAction(
        path.name, path.stat().st_size, {}, int(time.time() * 1000), True, json.dumps({"numRecords": rows})
    )
