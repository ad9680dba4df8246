"""Comma-separated files and their like, as records.

The rule of this module: columns are found by the names in the header, never by their place, and a record with another
number of columns is set aside, never padded.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
from duckdb import DuckDBPyConnection

from duecare.errors import BadInput
from duecare.registers.files import (
    Lines,
    Plain,
    blank_lines,
    count_lines,
    lines_at,
    text_at,
    unpacked,
    with_plain_newlines,
)
from duecare.registers.staging import LONGEST_TEXT, Records, clean_sql, identifier, literal, scratch

_LONGEST = 2_000_000  # DuckDB's longest record, in bytes


@dataclass(frozen=True)
class Dialect:
    """How the file separates and quotes. ``missing`` are words that mean *no value*."""

    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    missing: frozenset[str] = frozenset()
    suffixes: tuple[str, ...] = (".csv", ".txt")


@dataclass(frozen=True)
class _Malformed:
    """What could not be split into columns: byte offsets, lines, DuckDB's record numbers, heights in lines."""

    offsets: Lines
    lines: Lines
    numbers: Lines
    heights: Lines
    unclosed: npt.NDArray[np.bool_]
    misencoded: npt.NDArray[np.bool_]


class CsvRecords(Records):
    """The records of a delimited file; ``header`` holds its column names as written, without blanks around them."""

    def __init__(
        self,
        connection: DuckDBPyConnection,
        plain: Plain,
        header: list[str],
        columns: Mapping[str, int | None],
        derived: Mapping[str, str],
        dialect: Dialect,
    ) -> None:
        self.header = header
        self._dialect = dialect
        self._errors = scratch("errors")
        table = scratch("records")
        super().__init__(connection, plain, table, [*columns, *(name for name in derived if name not in columns)])
        chosen = ", ".join(
            f"{'NULL::VARCHAR' if place is None else clean_sql(f'c{place}', dialect.missing)} AS {identifier(name)}"
            for name, place in columns.items()
        )
        finished = ", ".join(f"{derived.get(name, identifier(name))} AS {identifier(name)}" for name in self.columns)
        with _in_order(connection):
            self._load(f"CREATE TEMP TABLE {table} AS SELECT {finished} FROM (SELECT {chosen} FROM (", "))")
        self._refuse_if_cut()

    def _load(self, before: str, after: str) -> None:
        try:
            self.connection.execute(before + self._source(self.plain.path, self._errors) + after)
        except duckdb.InvalidInputException:
            # DuckDB stops at a file that mixes line feeds with carriage returns; tables joined from two machines do.
            self.plain = with_plain_newlines(self.plain)
            self._errors = scratch("errors")
            try:
                self.connection.execute(before + self._source(self.plain.path, self._errors) + after)
            except duckdb.Error as error:
                raise BadInput(
                    f"{self.plain.title} cannot be read as a table: {str(error).splitlines()[0]}",
                    hint="A text file with one record a line was expected.",
                ) from None

    def _source(self, path: Path, errors: str | None) -> str:
        columns = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(self.header)))
        keep = (
            f"store_rejects=true, rejects_table='{errors}', rejects_scan='{errors}_scan'"
            if errors
            else ("ignore_errors=true")
        )
        return (
            f"SELECT * FROM read_csv({literal(str(path))}, columns={{{columns}}}, auto_detect=false, header=true, "
            f"delim={literal(self._dialect.delimiter)}, quote={literal(self._dialect.quote)}, "
            f"escape={literal(self._dialect.quote)}, {keep})"
        )

    def _refuse_if_cut(self) -> None:
        """A last record without its end, or lines that went neither into records nor into rejects, mean that what
        was read is only a part."""
        malformed = self._malformed
        if not len(malformed.offsets):
            return
        last = int(malformed.offsets[-1])
        with self.plain.path.open("rb") as file:
            file.seek(last)
            rest = file.read(_LONGEST)
        if last + len(rest) == self.plain.size and b"\n" not in rest[-1:] and not malformed.misencoded[-1]:
            raise BadInput(
                f"{self.plain.title} is cut short: its last record (line {malformed.lines[-1]}) does not end.",
                hint="Download it again; nothing was read from it.",
            )
        unclosed = malformed.lines[malformed.unclosed]
        if len(unclosed) and self._unexplained():
            raise BadInput(
                f"{self.plain.title} has a quotation mark at or just after line {unclosed[0]} that is never closed: "
                "what follows it cannot be told apart.",
                hint="The file is cut short, or that line needs mending; nothing was read from it.",
            )

    @cached_property
    def _malformed(self) -> _Malformed:
        found = self.connection.execute(
            "SELECT line_byte_position - 1 + starts_with(csv_line, chr(10))::INTEGER AS begins, "
            "any_value(line)::BIGINT AS number, "
            "any_value(len(string_split(trim(csv_line, chr(10)), chr(10)))) - 1 AS extra, "
            "bool_or(error_type::VARCHAR IN ('UNQUOTED VALUE', 'LINE SIZE OVER MAXIMUM')) AS unclosed, "
            f"bool_or(error_type::VARCHAR = 'INVALID ENCODING') AS misencoded FROM {self._errors} "
            "GROUP BY begins ORDER BY begins"
        ).fetchnumpy()
        offsets = np.asarray(found["begins"], dtype=np.int64)
        return _Malformed(
            offsets,
            lines_at(self.plain.path, offsets) if len(offsets) else offsets,
            np.asarray(found["number"], dtype=np.int64),
            1 + np.asarray(found["extra"], dtype=np.int64),
            np.asarray(found["unclosed"], dtype=bool),
            np.asarray(found["misencoded"], dtype=bool),
        )

    @cached_property
    def _surplus(self) -> int:
        """Lines beyond one for each record."""
        good = int(self._one(f"SELECT count(*) FROM {self.table}")[0])
        return (
            count_lines(self.plain.path)
            - _height(self.plain, self._dialect)
            - good
            - int(self._malformed.heights.sum())
        )

    def _unexplained(self) -> bool:
        return self._surplus > 0 and self._surplus > int(self._tall[1].sum()) + len(blank_lines(self.plain.path))

    def _malformed_lines(self) -> int:
        return len(self._malformed.offsets)

    def _add_malformed(self, rejects: str) -> None:
        if not len(self._malformed.offsets):
            return
        table = self._kept(record=self._malformed.offsets, line=self._malformed.lines)
        text = f"left(trim(csv_line, chr(13) || chr(10)), {LONGEST_TEXT})"
        self.connection.execute(
            f"INSERT INTO {rejects} SELECT n.line, {_REASON}, {text} FROM {self._errors} "
            f"JOIN {table} n ON record = line_byte_position - 1 + starts_with(csv_line, chr(10))::INTEGER "
            "QUALIFY row_number() OVER (PARTITION BY line_byte_position ORDER BY column_idx) = 1"
        )

    def _lines_of(self, places: Lines) -> Lines:
        """Without line breaks inside values, a record is a line; with them, their count before it is added."""
        malformed = self._malformed
        header = _height(self.plain, self._dialect)
        taller, extra = self._tall
        blank = blank_lines(self.plain.path) if self._surplus > 0 and not len(taller) else np.empty(0, np.int64)
        # A malformed record's own number (DuckDB counts blank lines into it), less the header and the malformed ones
        # before it, is how many good records come before it.
        numbers = malformed.numbers - np.searchsorted(blank, malformed.lines)
        before = numbers - 2 - np.arange(len(numbers))
        heights = np.concatenate([[0], np.cumsum(malformed.heights)])
        lines = header + 1 + places + heights[np.searchsorted(before, places, side="right")]
        lines = lines + np.concatenate([[0], np.cumsum(extra)])[np.searchsorted(taller, places, side="left")]
        shifted: Lines = lines + np.searchsorted(blank - np.arange(len(blank)), lines, side="right")
        return shifted

    def _texts_of(self, places: Lines, lines: Lines) -> list[str]:
        taller, extra = self._tall
        heights = np.ones_like(lines)
        heights[np.isin(places, taller)] += extra[np.isin(taller, places)]
        return text_at(self.plain.path, lines, heights, LONGEST_TEXT)

    @cached_property
    def _tall(self) -> tuple[Lines, Lines]:
        """The places of the records with line breaks inside values, and how many breaks each has."""
        if self._surplus <= 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        breaks = " + ".join(
            f"coalesce(length(c{place}) - length(replace(c{place}, chr(10), '')), 0)"
            for place in range(len(self.header))
        )
        with _in_order(self.connection):
            found = self.connection.execute(
                f"SELECT record, breaks FROM (SELECT row_number() OVER () - 1 AS record, {breaks} AS breaks "
                f"FROM ({self._source(self.plain.path, None)})) WHERE breaks > 0 ORDER BY record"
            ).fetchnumpy()
        return np.asarray(found["record"], dtype=np.int64), np.asarray(found["breaks"], dtype=np.int64)


@contextmanager
def csv_records(
    path: Path,
    connection: DuckDBPyConnection,
    columns: Mapping[str, str],
    *,
    optional: Collection[str] = (),
    derived: Mapping[str, str] | None = None,
    dialect: Dialect = Dialect(),
    names: Sequence[str] | None = None,
) -> Iterator[CsvRecords]:
    """The records of ``path``. ``columns`` maps our column names to the header's; an ``optional`` one that the file
    lacks is null; a ``derived`` one takes what its SQL expression over the columns gives. ``names`` are the names of
    all columns in their order, where the header is known to be wrong.

    Raises ``BadInput`` where the file is empty, cut short, or has no such columns."""
    with unpacked(path, suffixes=dialect.suffixes, encoding=dialect.encoding) as plain:
        header = list(names or read_header(plain, dialect))
        places = _places(plain, header, columns, optional)
        yield CsvRecords(connection, plain, header, places, derived or {}, dialect)


def read_header(plain: Plain, dialect: Dialect) -> list[str]:
    """The column names of the first record, without blanks around them."""
    with plain.path.open("rb") as file:
        start = file.read(1 << 20)
    first, _, _ = start.partition(b"\n")
    if b"\0" in first:
        raise BadInput(f"{plain.title} is not text.", hint="A delimited text file was expected.")
    try:
        first.decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(
            f"The first line of {plain.title} is not UTF-8.",
            hint=f"It may be GBK or another encoding: iconv -f GBK -t UTF-8 {plain.title} makes UTF-8 of it; "
            "a mapping of your own can name an `encoding`.",
        ) from None
    text = start.decode("utf-8-sig", errors="replace")
    try:
        rows = csv.reader(text.splitlines(keepends=True), delimiter=dialect.delimiter, quotechar=dialect.quote)
        header = next((row for row in rows), [])
    except csv.Error as error:
        raise BadInput(f"{plain.title} has no header that can be read: {error}.") from None
    return [name.strip() for name in header]


def _places(
    plain: Plain, header: list[str], columns: Mapping[str, str], optional: Collection[str]
) -> dict[str, int | None]:
    absent = [wanted for name, wanted in columns.items() if name not in optional and wanted not in header]
    if absent:
        raise BadInput(
            f"{plain.title} has no column {', '.join(absent[:5])}; it has {', '.join(header[:12])[:300] or 'none'}.",
            hint="Is it a file of this source? Its first line should name the columns.",
        )
    twice = [wanted for wanted in columns.values() if header.count(wanted) > 1]
    if twice:
        raise BadInput(
            f"{plain.title} names column {twice[0]} twice.", hint="Each column should have a name of its own."
        )
    return {name: header.index(wanted) if wanted in header else None for name, wanted in columns.items()}


_REASON = """CASE error_type::VARCHAR
    WHEN 'MISSING COLUMNS' THEN 'wrong number of columns: '
        || regexp_extract(error_message, 'Found: ([0-9]+)', 1) || ' instead of '
        || regexp_extract(error_message, 'Columns: ([0-9]+)', 1)
    WHEN 'TOO MANY COLUMNS' THEN 'wrong number of columns: '
        || regexp_extract(error_message, 'Found: ([0-9]+)', 1) || ' instead of '
        || regexp_extract(error_message, 'Columns: ([0-9]+)', 1)
    WHEN 'UNQUOTED VALUE' THEN 'a quotation mark is not closed, or text follows it'
    WHEN 'INVALID ENCODING' THEN 'not valid UTF-8'
    WHEN 'LINE SIZE OVER MAXIMUM' THEN 'longer than 2 MB'
    ELSE lower(error_type::VARCHAR) END"""


@contextmanager
def _in_order(connection: DuckDBPyConnection) -> Iterator[None]:
    """``rowid`` tells the line only while DuckDB keeps the file's order."""
    kept = bool(connection.execute("SELECT current_setting('preserve_insertion_order')").fetchall()[0][0])
    if not kept:
        connection.execute("SET preserve_insertion_order = true")
    try:
        yield
    finally:
        if not kept:
            connection.execute("SET preserve_insertion_order = false")


def _height(plain: Plain, dialect: Dialect) -> int:
    with plain.path.open("rb") as file:
        text = file.read(1 << 20).decode("utf-8-sig", errors="replace")
    rows = csv.reader(text.splitlines(keepends=True), delimiter=dialect.delimiter, quotechar=dialect.quote)
    next(rows, None)
    return rows.line_num
