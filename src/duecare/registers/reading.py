"""From what an adapter read to tables that can be compared: one view and one table of hashes for each section.

The rule of this module: a section that was found empty counts as read; one that was not read does not count at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from inspect import Parameter, Signature
from itertools import chain, islice

import ibis
import pyarrow as pa
from duckdb import DuckDBPyConnection
from ibis.expr import types as ir

from duecare.errors import BadInput
from duecare.registers.adapter import Coverage, Page, PageAdapter, PageRead, ReadState, Staged
from duecare.registers.sections import Section
from duecare.registers.tables import READABLE, WHOLE, Tables
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
    """A section in the engine: ``view`` (entity, key, effective_on, correction, fields) and its ``hashes``
    (section, entity, key, hash)."""

    section: Section
    coverage: Coverage
    view: str
    hashes: str

    @property
    def value(self) -> str:
        """SQL of a fact's value: a JSON object of the fields that are not null, in the order of the section."""
        pairs = ", ".join(f"{_quote(name)} := {_quote(name)}" for name in self.section.fields)
        return f"json_merge_patch('{{}}', to_json(struct_pack({pairs})))::varchar"


@dataclass(frozen=True)
class Stage:
    """What one snapshot says: its sections, and the table ``reads`` (entity, section, coverage, state, note,
    observed_at, snapshot)."""

    sections: tuple[StagedSection, ...]
    reads: str


def open_workshop(connection: DuckDBPyConnection) -> None:
    """An empty place for the tables of one batch."""
    connection.execute("DROP SCHEMA IF EXISTS work CASCADE")
    connection.execute("CREATE SCHEMA work")


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
    connection = home.lake.connection
    view, hashes = f"work.{name}_rows", f"work.{name}_hashes"
    relation = staged.rows.get(section.name)
    # Cast, since a field that the file never has is typeless, and since a bare column would keep the file's spelling.
    names = ", ".join(f"CAST({_quote(field)} AS VARCHAR) AS {_quote(field)}" for field in section.fields)
    if relation is None:
        nulls = ", ".join(f"NULL::varchar AS {_quote(field)}" for field in section.fields)
        connection.execute(
            f"CREATE VIEW {view} AS SELECT NULL::varchar AS entity, NULL::varchar AS key, NULL::date AS effective_on, "
            f"false AS correction, {nulls} WHERE false"
        )
    else:
        relation.create_view(f"{name}_raw", replace=True)
        correction = "correction" if "correction" in relation.columns else "false AS correction"
        connection.execute(
            f"CREATE VIEW {view} AS SELECT entity, key, effective_on, {correction}, {names} FROM {name}_raw"
        )
    connection.execute(f"CREATE TABLE {hashes} AS {_hashed_sql(f'{name}_rows', section)}")
    return StagedSection(section, coverage, view, hashes)


@lru_cache(maxsize=4096)
def _hashed_sql(view: str, section: Section) -> str:
    """SQL of ``hashed`` over a view of the workshop; compiled once, for a small batch costs less than compiling."""
    columns = {"entity": "string", "key": "string", "effective_on": "date", **dict.fromkeys(section.fields, "string")}
    return str(ibis.to_sql(hashed(ibis.table(columns, name=view, database="work"), section), dialect="duckdb"))


def hashed(rows: ir.Table, section: Section) -> ir.Table:
    """The rows of a section as ``section, entity, key, hash``: 63 bits over the fields and the register's date."""
    columns = [*section.fields, "effective_on"]
    engine_hash = _engine_hash(len(section.fields))
    # Delta has no unsigned integers: one of the 64 bits is given up, which is cheaper than moving the range.
    signed = (engine_hash(*(rows[name] for name in columns)) >> 1).cast("int64")
    return rows.select(section=ibis.literal(section.name), entity=rows.entity, key=rows.key, hash=signed)


def _engine_hash(texts: int) -> Callable[..., ir.IntegerValue]:
    """The engine's own 64-bit hash over ``texts`` text columns and a date."""

    def columns_hash() -> None: ...

    names = [f"text_{index}" for index in range(texts)] + ["day"]
    columns_hash.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    signature = (("string",) * texts + ("date",), "uint64")
    made: Callable[..., ir.IntegerValue] = ibis.udf.scalar.builtin(columns_hash, name="hash", signature=signature)
    return made


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
        source = f"(SELECT DISTINCT entity, '{name}' AS section, 'read' AS state, NULL AS note FROM {item.hashes})"
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


def held_where_read(tables: Tables, stage: Stage, item: StagedSection) -> str:
    """SQL of what is held of a section, as far as ``stage`` read it: all of a list, or the entities it names."""
    held = f"SELECT * FROM {tables.scan('held')} WHERE section = '{item.section.name}'"
    if item.coverage is Coverage.LISTED:
        held += (
            f" AND entity IN (SELECT entity FROM {stage.reads} WHERE section = '{item.section.name}' AND {READABLE})"
        )
    return held


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
    with ProcessPoolExecutor() as pool:
        waiting = [(chunk, pool.submit(_read_chunk, adapter, chunk)) for chunk in islice(chunks, 8)]
        while waiting:
            chunk, future = waiting.pop(0)
            following = next(chunks, None)
            if following is not None:
                waiting.append((following, pool.submit(_read_chunk, adapter, following)))
            for (page, digest), read in zip(chunk, future.result(), strict=True):
                yield page, digest, read


def _chunks(pages: Iterator[tuple[Page, str]]) -> Iterator[list[tuple[Page, str]]]:
    while chunk := list(islice(pages, _CHUNK)):
        yield chunk


def _read_chunk(adapter: PageAdapter, chunk: list[tuple[Page, str]]) -> list[PageRead]:
    return [adapter.read(page) for page, _ in chunk]


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
