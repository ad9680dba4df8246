"""The lake: Delta tables written by DuckDB, one set of tables for each source.

DuckDB writes the Parquet files and Delta records them, so that any engine reads the same tables; readers always name
the version they read.

The rule of this module: a reader sees only versions that the database has declared true, never what a killed process
left behind.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

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
        self.connection.execute("SET enable_progress_bar=false")  # it would stand among what a command prints
        if threads:
            self.connection.execute(f"SET threads={threads}")
        self._backend: Backend | None = None
        self._files: dict[tuple[str, str, int], list[tuple[str, str | None]]] = {}

    @property
    def backend(self) -> Backend:
        """The engine through Ibis."""
        if self._backend is None:
            import ibis  # takes as long to import as most commands take to run

            self._backend = ibis.duckdb.from_connection(self.connection)
        return self._backend

    def files(self, source: str, table: str, version: int, part: str | None = None) -> list[str]:
        """The Parquet files of ``table`` as of ``version``; empty where it does not exist.

        With ``part``, those of other parts are left out (see ``write``).
        """
        found = self._parted(source, table, version)
        folder = self._path(source, table)
        return [f"{folder}/{name}" for name, own in found if part is None or own is None or own == part]

    def scan(self, source: str, table: str, version: int, columns: str, part: str | None = None) -> str:
        """SQL that reads ``table`` as of ``version``. ``columns``: DuckDB definitions, used where it is empty.

        ``part`` spares opening the files of other parts; rows of other parts may come all the same.
        """
        found = self.files(source, table, version, part)
        if not found:
            nulls = ", ".join(
                f"NULL::{kind} AS {name}" for name, kind in (each.split(" ", 1) for each in columns.split(", "))
            )
            return f"(SELECT {nulls} WHERE false)"
        names = ", ".join(each.split(" ", 1)[0] for each in columns.split(", "))
        return f"(SELECT {names} FROM {read_files(found)})"

    def write(
        self,
        source: str,
        table: str,
        version: int,
        queries: Sequence[str] | Mapping[str, str],
        *,
        replace: bool = False,
        ordered: bool = False,
    ) -> int:
        """Append the rows of ``queries`` to ``version`` (or replace the whole table by them), in one transaction.

        Each query becomes one Parquet file; ``ordered`` keeps the order of its rows. Queries may be given by part: a
        part is what all rows of a file have in their first column, and ``replace`` then replaces the files of these
        parts only. Returns the new version. Versions above ``version`` that were never declared true are undone first.
        """
        folder = Path(self._path(source, table))
        folder.mkdir(parents=True, exist_ok=True)
        parts = queries if isinstance(queries, Mapping) else None
        asked = queries.items() if isinstance(queries, Mapping) else ((None, query) for query in queries)
        adds = []
        for part, query in asked:
            path = self._write_file(folder, query, ordered=ordered)
            if path:
                adds.append(_add_action(path, part))
        if version == NEW:
            self._discard_unborn(folder)
            if not adds:
                return NEW
            schema = Schema.from_arrow(pq.read_schema(folder / adds[0].path).remove_metadata())
            create_table_with_add_actions(str(folder), schema, adds, mode="error")
            return 0
        delta = DeltaTable(str(folder))
        if delta.version() != version:
            delta.restore(version)
            delta = DeltaTable(str(folder))
        removes = self._removes(source, table, version, parts) if replace else []
        if not adds and not removes:
            return delta.version()
        delta.create_write_transaction([*removes, *adds], "append", delta.schema())
        return DeltaTable(str(folder)).version()

    @contextmanager
    def drafting(self) -> Iterator[None]:
        """For the length of the block, ``draft`` may be called; only for whoever has the right to write the lake."""
        self._drafts.mkdir(exist_ok=True)
        try:
            yield
        finally:
            shutil.rmtree(self._drafts, ignore_errors=True)

    def draft(self, query: str) -> Path | None:
        """The rows of ``query`` in a file that belongs to no table, in their order; ``None`` where there are none."""
        return self._write_file(self._drafts, query, ordered=True)

    def close(self) -> None:
        """Close the engine."""
        self.connection.close()

    def _path(self, source: str, table: str) -> str:
        return str(self.root / source / table)

    @property
    def _drafts(self) -> Path:
        return self.root / ".drafts"

    def _parted(self, source: str, table: str, version: int) -> list[tuple[str, str | None]]:
        """Each file of ``table`` as of ``version`` by its name, with its part."""
        if version == NEW:
            return []
        key = (source, table, version)
        if key not in self._files:
            delta = DeltaTable(self._path(source, table), version=version)
            first = delta.schema().fields[0].name
            actions = delta.get_add_actions(flatten=True)
            names = actions.column("path").to_pylist()
            least = f"min.{first}"
            parts = actions.column(least).to_pylist() if least in actions.column_names else [None] * len(names)
            self._files[key] = list(zip(names, parts, strict=True))
        return self._files[key]

    def _removes(self, source: str, table: str, version: int, parts: Mapping[str, str] | None) -> list[RemoveAction]:
        found = self._parted(source, table, version)
        if parts is not None and any(part is None for _, part in found):
            raise ValueError(f"{source}/{table} was not written by part, and cannot be replaced by part")
        at = int(time.time() * 1000)
        return [RemoveAction(name, True, at) for name, part in found if parts is None or part in parts]

    def _write_file(self, folder: Path, query: str, *, ordered: bool = False) -> Path | None:
        path = folder / f"{uuid.uuid4().hex}.parquet"
        quoted = str(path).replace("'", "''")
        if ordered:
            self.connection.execute("SET preserve_insertion_order=true")
        try:
            row = self.connection.execute(
                f"COPY ({query}) TO '{quoted}' (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE 122880)"
            ).fetchone()
        finally:
            if ordered:
                self.connection.execute("SET preserve_insertion_order=false")
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


def read_files(paths: Iterable[str | Path]) -> str:
    """SQL of a table function that reads these Parquet files, in this order."""
    listed = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"read_parquet([{listed}])"


def _add_action(path: Path, part: str | None) -> AddAction:
    metadata = pq.read_metadata(path)
    stats: dict[str, Any] = {"numRecords": metadata.num_rows}
    if part is not None:
        # Any engine that reads the table may leave the file out by this.
        first = metadata.schema.column(0).name
        stats |= {"minValues": {first: part}, "maxValues": {first: part}, "nullCount": {first: 0}}
    return AddAction(path.name, path.stat().st_size, {}, int(time.time() * 1000), True, json.dumps(stats))
