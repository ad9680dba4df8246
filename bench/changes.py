"""Changes between two full snapshots, against the least that any engine must do.

The floor is DuckDB's full join of the two Parquet files on the key, comparing a 64-bit hash of the other columns
computed from both. Ours reads the second file, compares it with what is held, and commits facts and changes to disk.
Each round runs in a process of its own, whose peak memory counts: that of ours takes in the first file too.

The last line is of one list that arrives nine times, each a little changed: what the last copy costs on its day, and
what it costs where it is the one in the middle that arrives last.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from duecare.registers.adapter import Coverage, Staged
from duecare.registers.ingest import ingest_file
from duecare.registers.sections import Section
from duecare.registers.sources import Source
from duecare.settings import load
from duecare.store.home import Home

_SOURCE = Source(
    "bench", "测量", "bench", "the bench", "https://bench.invalid", "made up here", "CC0", timedelta(days=1)
)
_WIDE = tuple(f"f{index}" for index in range(8))
_LONG = ("f0", "f1")
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class ParquetAdapter:
    """Reads a Parquet file of ``section, entity, key`` and text columns."""

    def __init__(self, names: tuple[str, ...], fields: tuple[str, ...]) -> None:
        self.source = _SOURCE
        self.version = "1"
        self.sections = tuple(Section(name, name, name, fields) for name in names)

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Lazy relations over ``path``."""
        rows = {
            section.name: connection.sql(
                f"SELECT entity, key, NULL::date AS effective_on, {', '.join(section.fields)} "
                f"FROM read_parquet('{path}') WHERE section = '{section.name}'"
            )
            for section in self.sections
        }
        return Staged(rows, dict.fromkeys(rows, Coverage.WHOLE))


def run(scale: float = 1.0) -> None:
    """Print both shapes, and how the cost of the long one grows."""
    print("changes: ours, from the file to facts and changes committed, over the floor; median of the rounds")
    _measure("wide", int(1_000_000 * scale), ("s0",), _WIDE, rounds=5)
    names = tuple(f"s{index}" for index in range(8))
    for entities, rounds in ((500_000, 3), (1_000_000, 3), (2_000_000, 3), (5_000_000, 1)):
        _measure("long", int(entities * scale), names, _LONG, rounds=rounds)
    _measure_late(int(1_000_000 * scale))


def _measure(shape: str, entities: int, names: tuple[str, ...], fields: tuple[str, ...], rounds: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="duecare-bench-"))
    try:
        old, new = folder / "2026-01-01.parquet", folder / "2026-01-02.parquet"
        _write(old, new, entities, names, fields)
        floors, ours = [], []
        for _ in range(rounds):
            floors.append(_alone(partial(_floor, old, new, fields)))
            ours.append(_alone(partial(_ours, old, new, names, fields)))
        floor, own = (statistics.median(seconds for seconds, _ in rows) for rows in (floors, ours))
        peak, least = (max(size for _, size in rows) for rows in (ours, floors))
        print(
            f"  {shape}: {entities:>9,} entities, {entities * len(names):>10,} rows: floor {floor:6.2f} s, "
            f"ours {own:6.2f} s, ratio {own / floor:4.2f}, peak memory {peak:.1f} GiB (floor {least:.1f})",
            flush=True,
        )
    finally:
        shutil.rmtree(folder)


def _measure_late(entities: int, copies: int = 9) -> None:
    folder = Path(tempfile.mkdtemp(prefix="duecare-bench-"))
    try:
        with duckdb.connect() as connection:
            for number in range(copies):
                # Of every copy one row in a hundred differs from the one before, until that of another copy does.
                values = ", ".join(
                    f"'value {index} of ' || (i + {entities} * ((i + {copies} - {number}) % 100 = 0)::int) AS {name}"
                    for index, name in enumerate(_WIDE)
                )
                connection.execute(
                    f"COPY (SELECT 's0' AS section, 'E' || lpad(i::varchar, 9, '0') AS entity, '' AS key, {values} "
                    f"FROM range({entities}) r(i)) TO '{folder / f'{number}.parquet'}' (FORMAT parquet)"
                )
        order = list(range(copies))
        middle = order.pop(copies // 2)
        on_time, _ = _alone(partial(_last_of, folder, [*range(copies)]))
        late, peak = _alone(partial(_last_of, folder, [*order, middle]))
        print(
            f"  late: {entities:>9,} rows, the last of {copies} copies to arrive: on its day {on_time:6.2f} s, "
            f"as the one in the middle {late:6.2f} s, ratio {late / on_time:4.2f}, peak memory {peak:.1f} GiB",
            flush=True,
        )
    finally:
        shutil.rmtree(folder)


def _last_of(folder: Path, order: list[int]) -> float:
    """Seconds for the last of the copies in the ``order`` of their arrival."""
    home_path = folder / "home"
    try:
        with Home(load(home=home_path)) as home:
            adapter = ParquetAdapter(("s0",), _WIDE)
            for number in order[:-1]:
                ingest_file(home, adapter, folder / f"{number}.parquet", _FIRST + timedelta(days=number))
            last = folder / f"{order[-1]}.parquet"
            home.snapshots.put_file(last)
            return _time(partial(ingest_file, home, adapter, last, _FIRST + timedelta(days=order[-1])))
    finally:
        shutil.rmtree(home_path)


def _alone(work: Callable[[], float]) -> tuple[float, float]:
    """What ``work`` returns in a process of its own, and that process's peak memory in GiB."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_with_peak, work).result()


def _with_peak(work: Callable[[], float]) -> tuple[float, float]:
    return work(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _ours(old: Path, new: Path, names: tuple[str, ...], fields: tuple[str, ...]) -> float:
    """Seconds from the second file to its changes committed."""
    home_path = old.parent / "home"
    try:
        with Home(load(home=home_path)) as home:
            adapter = ParquetAdapter(names, fields)
            ingest_file(home, adapter, old, _FIRST)
            home.snapshots.put_file(new)
            return _time(partial(ingest_file, home, adapter, new, _FIRST + timedelta(days=1)))
    finally:
        shutil.rmtree(home_path)


def _write(old: Path, new: Path, entities: int, names: tuple[str, ...], fields: tuple[str, ...]) -> None:
    """1% changed, 0.5% gone, 0.5% new."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar=false")
        columns = ", ".join(
            f"'value {index} of ' || ((i * 7919 + {index}) % 1000003) AS {name}" for index, name in enumerate(fields)
        )
        changed = columns.replace("'value 0 of '", "'VALUE 0 of '")
        sections = " UNION ALL BY NAME ".join(
            f"SELECT '{name}' AS section, 'E' || lpad(i::varchar, 9, '0') AS entity, '' AS key, {{columns}} "
            f"FROM range({{first}}, {{last}}) r(i) WHERE {{where}}"
            for name in names
        )
        full = sections.format(columns=columns, first=0, last=entities, where="true")
        connection.execute(f"COPY ({full}) TO '{old}' (FORMAT parquet)")
        parts = (
            sections.format(columns=columns, first=0, last=entities, where="i % 100 <> 7 AND i % 200 <> 3"),
            sections.format(columns=changed, first=0, last=entities, where="i % 100 = 7"),
            sections.format(columns=columns, first=entities, last=entities + entities // 200, where="true"),
        )
        connection.execute(f"COPY ({' UNION ALL BY NAME '.join(parts)}) TO '{new}' (FORMAT parquet)")


def _floor(old: Path, new: Path, fields: tuple[str, ...]) -> float:
    """Seconds for the full join, with the memory that ours is given."""
    side = f"SELECT section, entity, key, hash({', '.join(fields)}) AS h FROM read_parquet('{{}}')"
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar=false")
        connection.execute("SET memory_limit='3GB'")
        connection.execute(f"SET temp_directory='{old.parent / 'spill'}'")
        query = f"""CREATE TABLE differing AS SELECT a.h IS NULL AS added, b.h IS NULL AS gone, section, entity, key
            FROM ({side.format(old)}) a FULL JOIN ({side.format(new)}) b USING (section, entity, key)
            WHERE a.h IS DISTINCT FROM b.h"""
        return _time(partial(connection.execute, query))


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
