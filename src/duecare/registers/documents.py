"""JSON files as records: one object a line, one array of objects, or one object whose members are the records.

The rule of this module: brackets that do not close, or a last line that is no JSON, mean that the file is cut short,
and then nothing is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
from duckdb import DuckDBPyConnection

from duecare.errors import BadInput
from duecare.registers.files import Lines, Plain, text_at, unpacked
from duecare.registers.staging import LONGEST_TEXT, Records, clean_sql, identifier, literal, scratch

_CHUNK = 4 << 20
_MAX_RECORD = 32 << 20
_ESCAPED_NUL = r"(^|[^\\])(\\\\)*\\u0000"
_SPACE = np.isin(np.arange(256), np.frombuffer(b" \t\r\n", dtype=np.uint8))


class Shape(Enum):
    """Where the records stand: each on a line; in the array that is the file, or that its one object holds; or as
    the members of the file's object, read as ``{"key": name, "value": …}``."""

    LINES = "one JSON object a line"
    ARRAY = "an array of JSON objects"
    MEMBERS = "one JSON object"


class JsonRecords(Records):
    """The records of a JSON file; each column is the text at its JSON path (lists and objects as JSON text)."""

    _nul = b"\\u0000"

    def __init__(
        self,
        connection: DuckDBPyConnection,
        plain: Plain,
        columns: Mapping[str, str],
        derived: Mapping[str, str],
        shape: Shape,
    ) -> None:
        table = scratch("records")
        super().__init__(connection, plain, table, [*columns, *(name for name in derived if name not in columns)])
        self._starts: Lines | None = None
        self._source = plain.path
        if shape is not Shape.LINES:
            self._source = plain.folder / "records"
            self._starts = split(plain, self._source, 2 if shape is Shape.ARRAY and _first(plain) == b"{" else 1)
        self._load(table, columns, derived, shape)
        self._judge(shape)

    def _load(self, table: str, columns: Mapping[str, str], derived: Mapping[str, str], shape: Shape) -> None:
        line = "line"
        if shape is Shape.MEMBERS:
            line = 'regexp_replace(line, \'^\\s*("(?:[^"\\\\]|\\\\.)*")\\s*:\', \'{"key":\\1,"value":\') || \'}\''
        paths = ", ".join(literal(path) for path in columns.values())
        chosen = ", ".join(
            f"{clean_sql(f'found[{place}]')} AS {identifier(name)}" for place, name in enumerate(columns, start=1)
        )
        finished = ", ".join(f"{derived.get(name, identifier(name))} AS {identifier(name)}" for name in self.columns)
        try:
            self.connection.execute(
                f"CREATE TEMP TABLE {table} AS SELECT {finished}, state FROM (SELECT {chosen}, CASE WHEN blank THEN "
                "'blank' WHEN document IS NULL THEN 'not JSON' WHEN json_type(document) <> 'OBJECT' THEN "
                "'not a JSON object' END AS state FROM (SELECT blank, document, "
                f"json_extract_string(document, [{paths}]) AS found FROM (SELECT "
                "line IS NULL OR trim(line) = '' AS blank, "
                f"TRY_CAST({line} AS JSON) AS document FROM read_csv({literal(str(self._source))}, "
                "columns={'line': 'VARCHAR'}, auto_detect=false, header=false, delim='\x01', quote='', escape='', "
                f"max_line_size={_MAX_RECORD}))))"
            )
        except duckdb.InvalidInputException as error:
            raise BadInput(
                f"{self.plain.title} cannot be read: {str(error).splitlines()[0]}", hint=f"Expected {shape.value}."
            ) from None

    def _judge(self, shape: Shape) -> None:
        last = self.connection.execute(f"SELECT state FROM {self.table} ORDER BY rowid DESC LIMIT 1").fetchall()
        if shape is Shape.LINES and last and last[0][0] == "not JSON" and not _ends_its_line(self.plain.path):
            raise BadInput(
                f"{self.plain.title} is cut short: its last line is not JSON.",
                hint="Download it again; nothing was read from it.",
            )
        self.connection.execute(
            f"INSERT INTO {self._bad} SELECT rowid, nullif(state, 'blank'), true FROM {self.table} "
            "WHERE state IS NOT NULL"
        )

    def _nul_sql(self, column: str) -> str:
        # Lists and objects stand in their column as JSON still.
        return f"({super()._nul_sql(column)} OR regexp_matches({column}, {literal(_ESCAPED_NUL)}))"

    def _lines_of(self, places: Lines) -> Lines:
        return places + 1 if self._starts is None else self._starts[places]

    def _texts_of(self, places: Lines, lines: Lines) -> list[str]:
        return text_at(self._source, places + 1, np.ones_like(places), LONGEST_TEXT)


@contextmanager
def json_records(
    path: Path,
    connection: DuckDBPyConnection,
    columns: Mapping[str, str],
    *,
    shape: Shape,
    derived: Mapping[str, str] | None = None,
    suffixes: tuple[str, ...] = (".json", ".jsonl", ".ndjson"),
) -> Iterator[JsonRecords]:
    """The records of ``path``. ``columns`` maps our column names to JSON paths (``$.Entity.LegalName."$"``);
    a ``derived`` one takes what its SQL expression over the columns gives.

    Raises ``BadInput`` where the file is empty, cut short, or of another shape."""
    with unpacked(path, suffixes=suffixes) as plain:
        first = _first(plain)
        wanted = b"{" if shape is not Shape.ARRAY else b"{["
        if not first or first not in wanted:
            raise BadInput(f"{plain.title} begins with {first.decode('latin-1')!r}.", hint=f"Expected {shape.value}.")
        yield JsonRecords(connection, plain, columns, derived or {}, shape)


def list_sql(column: str) -> str:
    """A DuckDB expression: a JSON list as text in one order, since its own order means nothing: the value itself
    where there is one, a JSON list of them where there are several, null where there is none."""
    values = f"list_transform(TRY_CAST(TRY_CAST({column} AS JSON) AS VARCHAR[]), lambda x: nullif(trim(x), ''))"
    values = f"list_sort(list_distinct(list_filter({values}, lambda x: x IS NOT NULL)))"
    # The list of one list gives the values a name, so that they are put together once and not four times.
    text = "CASE len(v) WHEN 0 THEN NULL WHEN 1 THEN v[1] ELSE to_json(v)::VARCHAR END"
    return f"list_transform([{values}], lambda v: {text})[1]"


def split(plain: Plain, target: Path, depth: int) -> Lines:
    """Write to ``target``, one a line, what stands ``depth`` brackets deep in ``plain``, separated by commas there.

    Returns the line of ``plain`` on which each begins. Works on whole chunks: brackets and commas inside strings are
    told by the parity of the quotation marks before them. Raises ``BadInput`` where a bracket or string stays open.
    """
    state = _Splitting(depth)
    with plain.path.open("rb") as source, target.open("wb") as out:
        while chunk := source.read(_CHUNK):
            out.write(state.feed(np.frombuffer(chunk, dtype=np.uint8)))
    if state.level != 0 or state.inside:
        raise BadInput(
            f"{plain.title} is cut short: {state.level} brackets stay open.",
            hint="Download it again; nothing was read from it.",
        )
    return np.concatenate(state.starts) if state.starts else np.empty(0, dtype=np.int64)


class _Splitting:
    """Where a chunk begins: how many brackets are open, whether inside a string, after how many backslashes."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.level = 0
        self.inside = False
        self.slashes = 0
        self.line = 1
        self.waiting = True
        self.starts: list[Lines] = []

    def feed(self, data: npt.NDArray[np.uint8]) -> bytes:
        """The records in ``data``, line feeds between them."""
        quoted = self._quoted(data)
        plain = ~quoted
        step = np.zeros(len(data), dtype=np.int32)
        step[plain & ((data == 0x7B) | (data == 0x5B))] = 1
        step[plain & ((data == 0x7D) | (data == 0x5D))] = -1
        level = self.level + np.cumsum(step)
        opens = (level == self.depth) & (step == 1)
        commas = plain & (data == 0x2C) & (level == self.depth)
        content = (level >= self.depth) & ~opens & ~commas
        ends = data == 10
        self._begin(data, content & ~_SPACE[data], opens | commas, ends)
        out = data.copy()
        out[ends | (data == 13) | ~content] = 0x20
        out[commas] = 10
        self.level = int(level[-1])
        self.line += int(ends.sum())
        return out.tobytes()

    def _quoted(self, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which bytes stand inside a string (its closing mark not counted)."""
        places = np.arange(len(data))
        slash = data == 0x5C
        other = np.maximum.accumulate(np.where(slash, -1 - self.slashes, places))
        run = np.where(slash, places - other, 0)
        before = np.concatenate([[self.slashes], run[:-1]])
        marks = (data == 0x22) & (before % 2 == 0)
        parity: npt.NDArray[np.bool_] = (np.cumsum(marks) + self.inside) % 2 == 1
        self.slashes = int(run[-1])
        self.inside = bool(parity[-1])
        return parity

    def _begin(
        self,
        data: npt.NDArray[np.uint8],
        content: npt.NDArray[np.bool_],
        separators: npt.NDArray[np.bool_],
        ends: npt.NDArray[np.bool_],
    ) -> None:
        here = np.flatnonzero(content)
        after = np.flatnonzero(separators)
        if self.waiting and self.level >= self.depth:
            after = np.concatenate([[-1], after])
        found = np.searchsorted(here, after, side="right")
        begun = here[found[found < len(here)]]
        self.starts.append(self.line + np.searchsorted(np.flatnonzero(ends), begun))
        if len(after):
            self.waiting = bool(found[-1] == len(here))


def _first(plain: Plain) -> bytes:
    with plain.path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _ends_its_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"
