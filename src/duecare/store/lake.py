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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
from deltalake import DeltaTable, PostCommitHookProperties, Schema
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

NEW = -1
"""The version of a table that does not exist yet."""

_KEEP_LOG = PostCommitHookProperties(cleanup_expired_logs=False)
"""A commit is not true yet when it is written: it must not take the log of the version that is."""


@dataclass(frozen=True)
class File:
    """A Parquet file of a table: its name, its size in bytes, and its part, if it was written by part."""

    name: str
    size: int
    part: str | None


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
        self._files: dict[tuple[str, str, int], list[File]] = {}

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
        folder = self.folder(source, table)
        found = self.members(source, table, version)
        return [f"{folder}/{each.name}" for each in found if part is None or each.part is None or each.part == part]

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
        folder = self.folder(source, table)
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
        delta = self.settled(source, table, version)
        removes = []
        if replace:
            members = self.members(source, table, version)
            if parts is not None and any(each.part is None for each in members):
                raise ValueError(f"{source}/{table} was not written by part, and cannot be replaced by part")
            removes = [_remove_action(each) for each in members if parts is None or each.part in parts]
        return _commit(delta, [*removes, *adds])

    def merge(self, source: str, table: str, version: int, files: Sequence[File], order: str) -> int:
        """Put the rows of ``files`` of ``version`` into one file, in the order of the SQL list ``order``; says the same
        as before. Returns the new version."""
        folder = self.folder(source, table)
        rows = read_files(folder / each.name for each in files)
        path = self._write_file(folder, f"SELECT * FROM {rows} ORDER BY {order}", ordered=True)
        delta = self.settled(source, table, version)
        adds = [_add_action(path, None, says_new=False)] if path else []
        return _commit(delta, [*(_remove_action(each, says_new=False) for each in files), *adds])

    def settled(self, source: str, table: str, version: int) -> DeltaTable:
        """The table, brought back to ``version`` where a killed process wrote versions above it."""
        folder = str(self.folder(source, table))
        delta = DeltaTable(folder)
        if delta.version() != version:
            delta.restore(version, post_commithook_properties=_KEEP_LOG)
            delta = DeltaTable(folder)
        return delta

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

    def folder(self, source: str, table: str) -> Path:
        """Where ``table`` is."""
        return self.root / source / table

    def members(self, source: str, table: str, version: int) -> list[File]:
        """The files of ``table`` as of ``version``; none where it does not exist."""
        if version == NEW:
            return []
        key = (source, table, version)
        if key not in self._files:
            delta = DeltaTable(str(self.folder(source, table)), version=version)
            first = delta.schema().fields[0].name
            actions = delta.get_add_actions(flatten=True)
            names, sizes = (actions.column(name).to_pylist() for name in ("path", "size_bytes"))
            least = f"min.{first}"
            parts = actions.column(least).to_pylist() if least in actions.column_names else [None] * len(names)
            self._files[key] = [File(*each) for each in zip(names, sizes, parts, strict=True)]
        return self._files[key]

    @property
    def _drafts(self) -> Path:
        return self.root / ".drafts"

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


def _commit(delta: DeltaTable, actions: list[AddAction | RemoveAction]) -> int:
    """The version that ``actions`` make."""
    if not actions:
        return delta.version()
    delta.create_write_transaction(actions, "append", delta.schema(), post_commithook_properties=_KEEP_LOG)
    delta.update_incremental()
    return delta.version()


def _remove_action(file: File, *, says_new: bool = True) -> RemoveAction:
    return RemoveAction(file.name, says_new, int(time.time() * 1000))


def _add_action(path: Path, part: str | None, *, says_new: bool = True) -> AddAction:
    metadata = pq.read_metadata(path)
    stats: dict[str, Any] = {"numRecords": metadata.num_rows}
    if part is not None:
        # Any engine that reads the table may leave the file out by this.
        first = metadata.schema.column(0).name
        stats |= {"minValues": {first: part}, "maxValues": {first: part}, "nullCount": {first: 0}}
    return AddAction(path.name, path.stat().st_size, {}, int(time.time() * 1000), says_new, json.dumps(stats))
