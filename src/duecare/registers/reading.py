"""From what an adapter read to what can be compared: one view for each section, with a hash of each row.

The rule of this module: a section that was found empty counts as read; one that was not read does not count at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from multiprocessing import parent_process
from threading import Thread
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection

from duecare.errors import BadInput
from duecare.registers.adapter import Coverage, Page, PageAdapter, PageRead, ReadState, Staged
from duecare.registers.sections import Section
from duecare.registers.tables import WHOLE
from duecare.store.home import Home

_CHUNK = 200
_READS = pa.schema(
    [
        ("entity", pa.string()),
        ("section", pa.string()),
        ("state", pa.string()),
        ("note", pa.string()),
        ("observed_at", pa.timestamp("us", "UTC")),
        ("snapshot", pa.string()),
    ]
)


@dataclass(frozen=True)
class StagedSection:
    """A section in the engine: ``view`` has ``entity, key, effective_on, correction``, the fields as one struct
    ``fields``, and ``hash``, 63 bits over the fields and the register's date. ``rows`` is how many it has, ``entities``
    about how many entities they are of.

    A view, so that values are read only of what turns out to differ, and the file is gone through once.
    """

    section: Section
    coverage: Coverage
    view: str
    rows: int
    entities: int


@dataclass(frozen=True)
class Stage:
    """What one snapshot says: its sections, and the table ``reads`` (entity, section, coverage, state, note,
    observed_at, snapshot). ``pages`` is a table of where its pages are (see ``pages.Places``), if it has any."""

    sections: tuple[StagedSection, ...]
    reads: str
    pages: str = ""


@dataclass(frozen=True)
class Unreadable:
    """What could not be read: of the page about ``entity`` nothing at all (``section`` is empty), or ``section`` of
    ``entities`` companies, of which ``entity`` is the first. ``reason`` says why, of that page."""

    entity: str
    section: str
    reason: str
    entities: int

    def as_json(self) -> dict[str, Any]:
        """For ``--json``: ``section`` is null where it is the whole page."""
        return {**self.__dict__, "section": self.section or None}


def unreadable(connection: DuckDBPyConnection, made: Stage) -> tuple[Unreadable, ...]:
    """What could not be read: each page of which nothing could, and each section of the others."""
    rows = connection.execute(
        f"""WITH lost AS (SELECT entity FROM {made.reads} GROUP BY entity HAVING bool_and(state = 'unreadable'))
        SELECT entity, '' AS section, min(note), 1 FROM {made.reads} WHERE entity IN (FROM lost) GROUP BY entity
        UNION ALL
        SELECT min(entity), section, arg_min(note, entity), count(DISTINCT entity) FROM {made.reads}
        WHERE state = 'unreadable' AND entity NOT IN (FROM lost) GROUP BY section ORDER BY section, entity"""
    ).fetchall()
    return tuple(Unreadable(*row) for row in rows)


def open_workshop(connection: DuckDBPyConnection) -> None:
    """An empty place for the tables of one batch, with the macro ``fact_value``."""
    connection.execute("DROP SCHEMA IF EXISTS work CASCADE")
    connection.execute("CREATE SCHEMA work")
    # A fact's value: a JSON object of the fields that are not null, in the order of the section.
    connection.execute("CREATE MACRO work.fact_value(fields) AS json_merge_patch('{}', to_json(fields))::varchar")


def prepare(
    home: Home, staged: Staged, sections: Iterable[Section], observed_at: datetime, snapshot: str, prefix: str = "s"
) -> Stage:
    """Put ``staged`` into the workshop. ``observed_at`` counts where the reads carry no time of their own."""
    connection = home.lake.connection
    known = {section.name: section for section in sections}
    made: list[StagedSection] = []
    for index, (name, coverage) in enumerate(staged.coverage.items()):
        if name not in known:
            raise BadInput(f"The adapter read section {name!r}, which it does not declare.")
        made.append(_prepare_section(home, staged, known[name], coverage, f"{prefix}{index}"))
    reads = f"work.{prefix}_reads"
    connection.execute(
        f"""CREATE TABLE {reads} (entity VARCHAR, section VARCHAR, coverage VARCHAR, state VARCHAR, note VARCHAR,
            observed_at TIMESTAMPTZ, snapshot VARCHAR)"""
    )
    for item in made:
        _prepare_reads(connection, staged, item, reads, observed_at, snapshot)
    return Stage(tuple(made), reads)


def _prepare_section(home: Home, staged: Staged, section: Section, coverage: Coverage, name: str) -> StagedSection:
    run, view = home.lake.connection.execute, f"work.{name}_rows"
    relation = staged.rows.get(section.name)
    # Cast, since a field that the file never has is typeless, and since a bare column would keep the file's spelling.
    texts = [f"CAST({'NULL' if relation is None else _quote(field)} AS VARCHAR)" for field in section.fields]
    fields = ", ".join(f"{_quote(field)} := {text}" for field, text in zip(section.fields, texts, strict=True))
    if relation is None:
        source = "(SELECT NULL::varchar AS entity, NULL::varchar AS key, NULL::date AS effective_on WHERE false)"
    else:
        source = f"{name}_raw"
        relation.create_view(source, replace=True)
    correction = "correction" if relation is not None and "correction" in relation.columns else "false"
    # Delta has no unsigned integers: one of the 64 bits is given up, which is cheaper than moving the range.
    run(
        f"""CREATE VIEW {view} AS SELECT entity, key, effective_on, {correction} AS correction,
            struct_pack({fields}) AS fields, (hash({", ".join(texts)}, effective_on) >> 1)::bigint AS hash
            FROM {source}"""
    )
    # DuckDB 2 refuses other work on a connection until a result has been fetched to its end.
    ((rows, entities),) = run(f"SELECT count(*), approx_count_distinct(entity) FROM {view}").fetchall()
    return StagedSection(section, coverage, view, rows, entities)


def _prepare_reads(
    connection: DuckDBPyConnection,
    staged: Staged,
    item: StagedSection,
    reads: str,
    observed_at: datetime,
    snapshot: str,
) -> None:
    name, coverage = item.section.name, item.coverage.value
    if item.coverage is not Coverage.LISTED:
        connection.execute(
            f"INSERT INTO {reads} VALUES (?, ?, ?, 'read', NULL, ?, ?)",
            [WHOLE, name, coverage, observed_at, snapshot],
        )
        return
    columns: list[str] = []
    if staged.reads is None:
        source = f"(SELECT DISTINCT entity, '{name}' AS section, 'read' AS state, NULL AS note FROM {item.view})"
    else:
        staged.reads.create_view("staged_reads", replace=True)
        source, columns = "staged_reads", staged.reads.columns
    at = "coalesce(observed_at, ?)" if "observed_at" in columns else "?"
    from_snapshot = "coalesce(snapshot, ?)" if "snapshot" in columns else "?"
    connection.execute(
        f"INSERT INTO {reads} SELECT entity, section, ?, state, note, {at}, {from_snapshot} FROM {source} "
        "WHERE section = ?",
        [coverage, observed_at, snapshot, name],
    )


def read_pages(home: Home, adapter: PageAdapter, pages: Iterable[tuple[Page, str]]) -> Staged:
    """Read ``pages`` (each with its SHA-256) into one ``Staged``, on all cores where there are many."""
    fields = {section.name: section.fields for section in adapter.sections}
    columns: dict[str, dict[str, list[object]]] = {}
    reads: dict[str, list[object]] = {name: [] for name in _READS.names}
    for page, digest, read in _parsed(adapter, pages):
        for name, rows in read.sections.items():
            state = ReadState.READ if rows else ReadState.EMPTY
            _add(reads, page.entity, name, state.value, None, page.fetched_at, digest)
            heads = ("entity", "key", "effective_on", *fields[name])
            target = columns.setdefault(name, {column: [] for column in heads})
            for row in rows:
                values = (row.value.get(field) or None for field in fields[name])
                _add(target, page.entity, row.key, row.effective_on, *values)
        for name, reason in read.unreadable.items():
            _add(reads, page.entity, name, ReadState.UNREADABLE.value, reason, page.fetched_at, digest)
    connection = home.lake.connection
    relations = {
        name: connection.from_arrow(pa.table(data, schema=pa.schema([_typed(column) for column in data])))
        for name, data in columns.items()
    }
    coverage = dict.fromkeys(map(str, reads["section"]), Coverage.LISTED)
    return Staged(relations, coverage, connection.from_arrow(pa.table(reads, schema=_READS)))


def _typed(column: str) -> tuple[str, pa.DataType]:
    return column, pa.date32() if column == "effective_on" else pa.string()


def _add(columns: dict[str, list[object]], *values: object) -> None:
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)


def _parsed(adapter: PageAdapter, pages: Iterable[tuple[Page, str]]) -> Iterator[tuple[Page, str, PageRead]]:
    iterator = iter(pages)
    first = list(islice(iterator, 2 * _CHUNK))
    if len(first) < 2 * _CHUNK:
        for page, digest in first:
            yield page, digest, adapter.read(page)
        return
    chunks = _chunks(chain(first, iterator))
    with ProcessPoolExecutor(initializer=_end_with_parent) as pool:
        waiting = [(chunk, pool.submit(_read_chunk, adapter, chunk)) for chunk in islice(chunks, 8)]
        while waiting:
            chunk, future = waiting.pop(0)
            following = next(chunks, None)
            if following is not None:
                waiting.append((following, pool.submit(_read_chunk, adapter, following)))
            for (page, digest), read in zip(chunk, future.result(), strict=True):
                yield page, digest, read


def _end_with_parent() -> None:
    """A reader whose ingest was killed ends too: nobody would ever ask it for anything again."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


def _chunks(pages: Iterator[tuple[Page, str]]) -> Iterator[list[tuple[Page, str]]]:
    while chunk := list(islice(pages, _CHUNK)):
        yield chunk


def _read_chunk(adapter: PageAdapter, chunk: list[tuple[Page, str]]) -> list[PageRead]:
    return [adapter.read(page) for page, _ in chunk]


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
