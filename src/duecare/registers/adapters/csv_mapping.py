"""Any delimited file as a register, through a small TOML file that says which column is what.

The rule of this module: a mapping that says something we do not understand is refused before a record is read.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import duckdb
from duckdb import DuckDBPyConnection

from duecare.errors import BadInput
from duecare.identifiers import Kind, compact_sql, fault_sql
from duecare.registers.adapter import COMPOSITE_SQL, Coverage, Staged
from duecare.registers.delimited import CsvRecords, Dialect, csv_records
from duecare.registers.sections import Category, RiskLevel, Section
from duecare.registers.sources import LONGEST_SECTION, LONGEST_SOURCE, Source
from duecare.registers.staging import TAKEN, date_sql, iso_sql, literal

_T = TypeVar("_T")
_LONGEST_FRESH = 36_500  # days
_COVERAGES = (Coverage.WHOLE, Coverage.LISTED, Coverage.ADDITIONS)
"""What a file can be declared to be; whether a list has holes shows as it is read."""


@dataclass(frozen=True)
class _Part:
    """A section as mapped: its declaration, the columns of its key and fields, its date and what it was read for."""

    section: Section
    key: tuple[str, ...]
    fields: Mapping[str, str]
    date: str
    date_format: str
    coverage: Coverage


class CsvMapping:
    """An adapter made of a TOML file; ``docs/how-to/map-a-csv.md`` explains its keys.

    ``version`` changes with every change of the TOML file. Raises ``BadInput`` naming the key, what was given and
    what would be right.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path)
        try:
            text = path.read_bytes()
            table = _Table(path.name, "", tomllib.loads(text.decode("utf-8")))
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}.", hint="Give the path of a TOML file.") from None
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadInput(f"{path.name} is not TOML: {error}.") from None
        self.source = _source(table.table("source"))
        self._dialect = _dialect(table.table("file", required=False))
        self._entity, self._code = _entity(table.table("entity"))
        self._parts = [_part(each) for each in table.tables("section")]
        names = [part.section.name for part in self._parts]
        for name in names:
            if names.count(name) > 1:
                raise BadInput(f"{path.name}: section {name!r} is given twice.", hint="Give each its own name.")
        table.refuse_others()
        self.sections = tuple(part.section for part in self._parts)
        self.version = f"1-{hashlib.sha256(text).hexdigest()[:12]}"

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path``; see ``FileAdapter.stage``."""
        named = [*self._entity]
        for part in self._parts:
            named += [*part.key, *part.fields.values(), *([part.date] if part.date else [])]
        # Called by numbers here: what a publisher calls a column may be a word of the engine (rowid), or differ from
        # another's in case only.
        ours = {name: f"column{place}" for place, name in enumerate(dict.fromkeys(named))}
        columns = {alias: name for name, alias in ours.items()}
        derived = {}
        if self._code is not None:
            derived[ours[self._entity[0]]] = compact_sql(self._code, ours[self._entity[0]])
        with csv_records(path, connection, columns, derived=derived, dialect=self._dialect) as records:
            records.set_aside(*self._faults(ours))
            for part in self._parts:
                date = ours[part.date] if part.date else ""
                _refuse_other_dates(records, part, date)
                fields = {
                    field: iso_sql(date, part.date_format) if column == part.date else ours[column]
                    for field, column in part.fields.items()
                }
                records.section(
                    part.section, entity=_joined(self._entity, ours), key=_joined(part.key, ours) if part.key else "''",
                    fields=fields, effective=date_sql(date, part.date_format) if date else "NULL::DATE",
                )  # fmt: skip
            scattered = [part.section.name for part in self._parts if part.key and part.coverage is Coverage.LISTED]
            return records.staged({part.section.name: part.coverage for part in self._parts}, scattered=scattered)

    def _faults(self, ours: Mapping[str, str]) -> list[str]:
        faults = []
        if self._code is not None:
            faults.append(fault_sql(self._code, ours[self._entity[0]]))
        needed = list(self._entity)
        for part in self._parts:
            needed += part.key if len(part.key) == 1 else ()
        faults += [
            f"CASE WHEN {ours[column]} IS NULL THEN {literal(f'no {column}')} END" for column in dict.fromkeys(needed)
        ]
        return faults


def _refuse_other_dates(records: CsvRecords, part: _Part, date: str) -> None:
    """A date that is not whole (2009, 2001?) is a date unknown; if most are none, the mapping names another format."""
    if not date:
        return
    given, read, sample = records.connection.execute(
        f"SELECT count({date}), count({date_sql(date, part.date_format)}), min({date}) FROM {records.table}"
    ).fetchall()[0]
    if read * 2 < given:
        raise BadInput(
            f"{records.plain.title}: most values of {part.date} are no dates like {part.date_format}: {sample}.",
            hint=f"Set date_format of section {part.section.name} to how they are written.",
        )


def _joined(columns: tuple[str, ...], ours: Mapping[str, str]) -> str:
    listed = ", ".join(ours[column] for column in columns)
    return listed if len(columns) == 1 else COMPOSITE_SQL.format(listed)


def _source(table: _Table) -> Source:
    title = table.take("title", str, "")
    days = table.take("fresh_for_days", int)
    if not 0 < days <= _LONGEST_FRESH:
        table.refuse("fresh_for_days", days, f"a number of days above zero, and no more than {_LONGEST_FRESH}")
    source = Source(
        name=_name(table, LONGEST_SOURCE),
        title_zh=table.take("title_zh", str, title),
        title_en=table.take("title_en", str, title),
        operator=table.take("operator", str),
        address=table.take("address", str),
        legal_basis=table.take("legal_basis", str),
        licence=table.take("licence", str),
        fresh_for=timedelta(days=days),
        authoritative_for=tuple(table.texts("authoritative_for", required=False)),
    )
    if not (source.title_zh and source.title_en):
        table.refuse("title", title, "what the source is called, or title_zh and title_en")
    table.refuse_others()
    return source


def _name(table: _Table, longest: int) -> str:
    """What commands, files and SQL call a source or a section."""
    name = table.take("name", str)
    if len(name) > longest or not re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        table.refuse("name", name, f"lower-case letters, digits, - and _, a letter or digit first; {longest} at most")
    return name


def _dialect(table: _Table) -> Dialect:
    delimiter = table.take("delimiter", str, ",")
    quote = table.take("quote", str, '"')
    encoding = table.take("encoding", str, "utf-8")
    if len(delimiter) != 1 or delimiter in "\r\n":
        table.refuse("delimiter", delimiter, 'one character, such as "," or ";" or "\\t"')
    if len(quote) != 1 or not quote.isascii() or quote in "\r\n":
        table.refuse("quote", quote, "one character of ASCII, such as '\"'")
    if quote == delimiter:
        table.refuse("quote", quote, "another character than the delimiter")
    try:
        "".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, UnicodeError):
        table.refuse("encoding", encoding, "a name such as utf-8, gb18030 or latin-1")
    missing = frozenset(table.texts("missing", required=False))
    table.refuse_others()
    return Dialect(delimiter, quote, encoding, missing, (".csv", ".txt", ".tsv"))


def _entity(table: _Table) -> tuple[tuple[str, ...], Kind | None]:
    columns = tuple(table.texts("columns"))
    code = table.take("code", str, "")
    if code and code not in list(Kind):
        table.refuse("code", code, f"one of {', '.join(Kind)}")
    if code and len(columns) != 1:
        table.refuse("columns", list(columns), "one column, where code says what kind of code stands in it")
    table.refuse_others()
    return columns, Kind(code) if code else None


def _part(table: _Table) -> _Part:
    name = _name(table, LONGEST_SECTION)
    fields = table.table("fields")
    mapped = {field: fields.take(field, str) for field in fields.given}
    if not mapped:
        table.refuse("fields", {}, 'at least one field, such as name = "Company name"')
    # To SQL, names that differ in case only are one.
    if "" in mapped or len({field.lower() for field in mapped}) < len(mapped):
        table.refuse("fields", sorted(mapped), "names that are not empty, and differ in more than case")
    reserved = set(TAKEN) & {field.lower() for field in mapped}
    if reserved:
        table.refuse("fields", sorted(reserved), f"other names: {', '.join(TAKEN)} are taken")
    key = tuple(table.texts("key", required=False))
    date = table.take("date", str, "")
    date_format = table.take("date_format", str, "%Y-%m-%d")
    if not _reads_days(date_format):
        table.refuse("date_format", date_format, 'a strptime format, such as "%d/%m/%Y"')
    coverage = table.choice("coverage", _COVERAGES, Coverage.WHOLE)
    section = Section(
        name,
        table.take("zh", str, name),
        table.take("en", str, name),
        tuple(mapped),
        table.choice("category", Category, Category.REGISTRATION),
        table.choice("risk", RiskLevel, RiskLevel.NOTE),
        keyed=bool(key),
        date_field=next((field for field, column in mapped.items() if date and column == date), None),
        sensitive=table.take("sensitive", bool, False),
    )
    table.refuse_others()
    return _Part(section, key, mapped, date, date_format, coverage)


@cache
def _reads_days(date_format: str) -> bool:
    """Whether a day written in ``date_format`` can be read by it again, or at least its year."""
    if date_format == "%Y-%m-%d":
        return True
    day = f"strftime(DATE '2001-11-23', {literal(date_format)})"
    with duckdb.connect() as connection:
        try:
            found = connection.execute(f"SELECT year({date_sql(day, date_format)})").fetchall()
        except duckdb.Error:
            return False
    return bool(found[0][0] == 2001)


class _Table:
    """A table of the TOML file that knows where it stands, so that a message can name the key."""

    def __init__(self, file: str, place: str, given: Mapping[str, Any]) -> None:
        self.given = given
        self._file = file
        self._place = place
        self._taken: set[str] = set()

    def take(self, key: str, kind: type[_T], default: _T | None = None) -> _T:
        """The value of ``key``, which must be of ``kind``; ``default`` where it is absent."""
        self._taken.add(key)
        if key not in self.given:
            if default is None:
                shown = "7" if kind is int else '"…"'
                example = _EXAMPLES.get(key, f"{key} = {shown}")
                raise BadInput(
                    f"{self._file} has no {self._named(key)}.",
                    hint=f"Give it as a {_KINDS[kind]}, for example {example}.{self._hint(key)}",
                )
            return default
        value = self.given[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.refuse(key, value, f"a {_KINDS[kind]}")
        if isinstance(value, str) and default is None and not value.strip():
            self.refuse(key, value, "a text that is not empty")
        if isinstance(value, str) and "\0" in value:
            self.refuse(key, value, "a text without NUL")
        return value  # type: ignore[no-any-return]

    def texts(self, key: str, *, required: bool = True) -> list[str]:
        """A list of texts."""
        values = self.take(key, list, None if required else [])
        if not all(isinstance(value, str) and value and "\0" not in value for value in values) or (
            required and not values
        ):
            self.refuse(key, values, 'a list of texts, such as ["Company number"]')
        return values

    def choice(self, key: str, members: Iterable[_T], default: _T) -> _T:
        """One of the members of an enumeration, by its word."""
        word = self.take(key, str, str(default))
        words = {str(each): each for each in members}
        if word not in words:
            self.refuse(key, word, f"one of {', '.join(words)}")
        return words[word]

    def table(self, key: str, *, required: bool = True) -> _Table:
        """The table under ``key``."""
        return _Table(self._file, self._named(key), self.take(key, dict, None if required else {}))

    def tables(self, key: str) -> list[_Table]:
        """The tables of an array, at least one."""
        given = self.take(key, list)
        if not given or not all(isinstance(each, dict) for each in given):
            self.refuse(key, given, f"one or more [[{key}]] tables")
        return [_Table(self._file, f"{key}[{place}]", each) for place, each in enumerate(given)]

    def refuse_others(self) -> None:
        """Raise ``BadInput`` where there is a key that nobody took."""
        for key in self.given:
            if key not in self._taken:
                near = get_close_matches(key, self._taken, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(sorted(self._taken))}."
                raise BadInput(f"{self._file}: {self._named(key)} is not a key we know.", hint=hint)

    def refuse(self, key: str, given: object, right: str) -> None:
        """Raise ``BadInput``: ``key`` is ``given``, and should be ``right``."""
        raise BadInput(f"{self._file}: {self._named(key)} is {given!r}.", hint=f"It should be {right}.")

    def _named(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def _hint(self, key: str) -> str:
        near = get_close_matches(key, [other for other in self.given if other not in self._taken], n=1)
        return f" You wrote {near[0]}." if near else ""


_KINDS: dict[type, str] = {str: "text", int: "whole number", bool: "true or false", list: "list", dict: "table"}
_EXAMPLES = {
    "source": 'a line [source] with name = "my-register" and what else is known of it below',
    "entity": 'a line [entity] with columns = ["Company number"] below',
    "section": 'a line [[section]] with name = "basic" below',
    "fields": 'a line [section.fields] with name = "Company name" below',
    "columns": 'columns = ["Company number"]',
}
