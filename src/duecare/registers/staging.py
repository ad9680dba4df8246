"""A file on its way in: its records in a table, bad ones set aside with line and reason, the rest as sections.

Every file adapter goes through here, so that all of them mean the same by "rejected", "duplicate" and "cut short".

The rule of this module: a record is either in the sections or in the rejects, and the same records in another order
give the same sections.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
from duckdb import DuckDBPyConnection, DuckDBPyRelation

from duecare.errors import BadInput
from duecare.registers.adapter import Coverage, Staged
from duecare.registers.files import Lines, Plain, holds, text_at
from duecare.registers.sections import Section
from duecare.registers.sources import LONGEST_CODE

TAKEN = ("entity", "key", "effective_on", "correction", "_record", "_said", "_place", "_variant")
"""Names that no field of a section may have."""

_SERIAL = itertools.count()
_BLANKS = " \t\r\n\u3000\u00a0\ufeff"
_BLANK_END = r"^[\s\x{3000}\x{a0}\x{feff}]|[\s\x{3000}\x{a0}\x{feff}]$"
LONGEST_TEXT = 500  # characters kept of a record that was set aside
_NUL = "CASE WHEN {} THEN 'a NUL character in its text' END"


def literal(text: str) -> str:
    """``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def clean_sql(expression: str, missing: Collection[str] = ()) -> str:
    """``expression`` without blanks around it; null where nothing is left or what is left means *missing*."""
    # Trimming sets of characters is slow, and hardly any value needs it; looking for blanks at the ends is not.
    cleaned = (
        f"nullif(CASE WHEN regexp_matches({expression}, {literal(_BLANK_END)}) "
        f"THEN trim({expression}, {literal(_BLANKS)}) ELSE {expression} END, '')"
    )
    if missing:
        words = ", ".join(literal(word) for word in sorted(missing))
        return f"CASE WHEN {cleaned} NOT IN ({words}) THEN {cleaned} END"
    return cleaned


def date_sql(expression: str, *formats: str) -> str:
    """A DuckDB expression: the date ``expression`` gives in the first of ``formats`` (strptime) it fits, or null."""
    tried = [f"try_strptime({expression}, {literal(each)})::DATE" for each in formats]
    return f"coalesce({', '.join(tried)}, NULL)"


def iso_sql(expression: str, *formats: str) -> str:
    """A DuckDB expression: a date as ``2019-05-05``, so that another way of writing it is no change; text that is no
    date stays as it is."""
    return f"coalesce(strftime({date_sql(expression, *formats)}, '%Y-%m-%d'), {expression})"


def scratch(what: str) -> str:
    """A name for a temporary table that no other stage on the connection uses."""
    return f"stage_{what}_{next(_SERIAL)}"


class Records:
    """The records of one file in a temporary table ``table``; ``rowid`` is a record's place among them.

    Made by ``csv_records`` or ``json_records``. An adapter calls ``set_aside`` once, ``section`` for each section and
    ``staged`` last.
    """

    _nul = b"\0"

    def __init__(self, connection: DuckDBPyConnection, plain: Plain, table: str, columns: Collection[str]) -> None:
        self.connection = connection
        self.plain = plain
        self.table = table
        self.columns = tuple(columns)
        self._bad = scratch("bad")
        self._relations: dict[str, DuckDBPyRelation] = {}
        connection.execute(f"CREATE TEMP TABLE {self._bad} (record BIGINT, reason VARCHAR, whole BOOLEAN)")

    def set_aside(self, *faults: str) -> None:
        """Reject the records for which one of the SQL expressions ``faults`` gives a reason; the first one counts.
        A NUL is such a reason always: PostgreSQL takes no text with one."""
        if holds(self.plain.path, self._nul):
            found = " OR ".join(f"coalesce({self._nul_sql(identifier(column))}, false)" for column in self.columns)
            faults = (_NUL.format(found), *faults)
        reason = f"coalesce({', '.join(faults)}, NULL)"
        self.connection.execute(
            f"INSERT INTO {self._bad} SELECT rowid, {reason}, true FROM {self.table} "
            f"WHERE {reason} IS NOT NULL AND rowid NOT IN (SELECT record FROM {self._bad})"
        )

    def good(self) -> str:
        """SQL of the records that were not set aside: their columns and ``record``."""
        columns = ", ".join(identifier(column) for column in self.columns)
        kept = f"SELECT rowid AS record, {columns} FROM {self.table}"
        if not self._count(f"SELECT count(*) FROM {self._bad} WHERE whole"):
            return kept
        return f"{kept} WHERE rowid NOT IN (SELECT record FROM {self._bad} WHERE whole)"

    def section(
        self,
        section: Section,
        *,
        entity: str,
        fields: Mapping[str, str],
        key: str = "''",
        effective: str = "NULL::DATE",
        correction: str | None = None,
        source: str | None = None,
        where: str = "true",
    ) -> None:
        """Give ``section``: SQL expressions over ``source`` (SQL with a column ``record``; the good records unless
        given) for entity, key, the register's date and each field.

        Rows that say the same collapse. Where rows of one key differ, what most of them say is kept (and what comes
        first in the order of the fields where they are even), so that a list in another order gives the same; the
        others are rejected as duplicates. A record whose code is longer than any is rejected.
        """
        missing = set(section.fields) ^ set(fields)
        if missing:
            raise ValueError(f"section {section.name}: fields {sorted(missing)} do not match its declaration")
        taken = set(TAKEN) & set(fields)
        if taken:
            raise ValueError(f"section {section.name}: the names {sorted(taken)} are those of columns of every section")
        names = [identifier(name) for name in section.fields]
        given = ", ".join(f"{fields[name]} AS {quoted}" for name, quoted in zip(section.fields, names, strict=True))
        flag = "" if correction is None else f", coalesce({correction}, false) AS correction"
        source = source or self.good()
        if self._set_aside_long(entity, f"({source}) WHERE ({where})"):
            where = f"({where}) AND length({entity}) <= {LONGEST_CODE}"
        rows = (
            f"SELECT record AS _record, {entity} AS entity, {key} AS key, {effective} AS effective_on, {given}{flag} "
            f"FROM ({source}) WHERE {where}"
        )
        columns = ["entity", "key", "effective_on", *names, *(["correction"] if flag else [])]
        self._relations[section.name] = self.connection.sql(self._without_duplicates(section, rows, columns))

    def staged(
        self,
        coverage: Mapping[str, Coverage],
        *,
        reads: DuckDBPyRelation | None = None,
        scattered: Collection[str] = (),
        may_be_empty: bool = False,
    ) -> Staged:
        """What was read. Raises ``BadInput`` where no record can be read; ``may_be_empty``: unless there is none.

        A whole list of which records were set aside has holes: what they would have said, and of whom, is not known.
        So have ``scattered`` sections, of which the rows of one entity stand in several records, whatever they cover.
        """
        if set(coverage) != set(self._relations):
            raise ValueError(f"coverage of {sorted(coverage)} for sections {sorted(self._relations)}")
        rejects = self._rejects()
        read = self._count(f"SELECT count(*) FROM ({self.good()})")
        refused = self._count(f"SELECT count(*) FROM {rejects}")
        if not read and refused:
            line, reason = self._one(f"SELECT line, reason FROM {rejects} ORDER BY line LIMIT 1")
            raise BadInput(
                f"None of the {refused} records of {self.plain.title} can be read.",
                hint=f"The first one (line {line}): {reason}.",
            )
        if not read and not may_be_empty:
            raise BadInput(f"{self.plain.title} holds no records.", hint="A list of none is not taken for a list.")
        return Staged(
            rows=dict(self._relations),
            coverage=self._with_holes(coverage, scattered) if refused else dict(coverage),
            reads=reads,
            rejects=self.connection.sql(f"SELECT line, reason, text FROM {rejects} ORDER BY line, reason"),
        )

    def _set_aside_long(self, entity: str, rows: str) -> bool:
        """Reject the records of ``rows`` whose code in ``entity`` is too long; returns whether there are any."""
        # Bytes are counted at once, characters one by one: codes of that many bytes are looked at closely, if any.
        if not self._count(f"SELECT count(*) FROM {rows} AND strlen({entity}) > {LONGEST_CODE}"):
            return False
        self.connection.execute(
            f"INSERT INTO {self._bad} SELECT DISTINCT record, 'a code of more than {LONGEST_CODE} characters', true "
            f"FROM {rows} AND length({entity}) > {LONGEST_CODE}"
        )
        return True

    def _with_holes(self, coverage: Mapping[str, Coverage], scattered: Collection[str]) -> dict[str, Coverage]:
        aside = self._count(f"SELECT count(*) FROM {self._bad} WHERE whole AND reason IS NOT NULL")
        if not aside and not self._malformed_lines():
            return dict(coverage)  # a duplicate says nothing of its own
        return {
            name: Coverage.PARTIAL if each is Coverage.WHOLE or name in scattered else each
            for name, each in coverage.items()
        }

    def _malformed_lines(self) -> int:
        """How many records could not even be split into columns."""
        return 0

    def _without_duplicates(self, section: Section, rows: str, columns: list[str]) -> str:
        twice = scratch("twice")
        self.connection.execute(
            f"CREATE TEMP TABLE {twice} AS SELECT mark FROM (SELECT hash(entity, key) AS mark FROM ({rows})) "
            "GROUP BY mark HAVING count(*) > 1"
        )
        chosen = ", ".join(columns)
        if not self._count(f"SELECT count(*) FROM {twice}"):
            return f"SELECT {chosen} FROM ({rows})"
        ranked = scratch("ranked")
        same = ", ".join(columns[2:])
        order = "_said DESC, " + ", ".join(f"{column} NULLS LAST" for column in columns[2:])
        self.connection.execute(
            f"CREATE TEMP TABLE {ranked} AS SELECT *, "
            f"row_number() OVER (PARTITION BY entity, key ORDER BY {order}, _record) AS _place, "
            f"dense_rank() OVER (PARTITION BY entity, key ORDER BY {order}) AS _variant "
            f"FROM (SELECT *, count(*) OVER (PARTITION BY entity, key, {same}) AS _said FROM ({rows}) "
            f"WHERE hash(entity, key) IN (SELECT mark FROM {twice}))"
        )
        self.connection.execute(
            f"INSERT INTO {self._bad} SELECT DISTINCT _record, 'duplicate key: another record already says otherwise "
            f"of ' || entity || CASE key WHEN '' THEN '' ELSE ' ' || key END || ' in {section.name}', false "
            f"FROM {ranked} WHERE _variant > 1"
        )
        return (
            f"SELECT {chosen} FROM ({rows}) WHERE hash(entity, key) NOT IN (SELECT mark FROM {twice}) "
            f"UNION ALL SELECT {chosen} FROM {ranked} WHERE _place = 1"
        )

    def _rejects(self) -> str:
        rejects = scratch("rejects")
        self.connection.execute(f"CREATE TEMP TABLE {rejects} (line BIGINT, reason VARCHAR, text VARCHAR)")
        self._add_malformed(rejects)
        # A blank line of a JSON file is bad without a reason: it is neither a record nor a reject.
        refused = f"FROM {self._bad} WHERE reason IS NOT NULL"
        records = self.connection.execute(f"SELECT DISTINCT record {refused} ORDER BY record").fetchnumpy()
        places = np.asarray(records["record"], dtype=np.int64)
        if len(places):
            lines = self._lines_of(places)
            written = self._kept(record=places, line=lines, text=self._texts_of(places, lines))
            reasons = f"SELECT record, string_agg(reason, '; ' ORDER BY reason) AS reasons {refused} GROUP BY record"
            self.connection.execute(
                f"INSERT INTO {rejects} SELECT line, reasons, replace(text, chr(0), '\ufffd') FROM ({reasons}) "
                f"JOIN {written} USING (record)"
            )
        return rejects

    def _kept(self, **columns: Lines | list[str]) -> str:
        """A table of ``columns``."""
        table = scratch("kept")
        self.connection.register(f"{table}_found", pa.table(columns))
        self.connection.execute(f"CREATE TEMP TABLE {table} AS SELECT * FROM {table}_found")
        self.connection.unregister(f"{table}_found")
        return table

    def _add_malformed(self, rejects: str) -> None:
        """Add what could not even be split into columns."""

    def _lines_of(self, places: Lines) -> Lines:
        """The line of the file on which each of the sorted record ``places`` begins."""
        return places + 1

    def _texts_of(self, places: Lines, lines: Lines) -> list[str]:
        """What is written of each of the sorted record ``places``, which begin on ``lines``."""
        return text_at(self.plain.path, lines, np.ones_like(lines), LONGEST_TEXT)

    def _nul_sql(self, column: str) -> str:
        """Whether the text in ``column`` holds a NUL."""
        return f"contains({column}, chr(0))"

    def _count(self, query: str) -> int:
        return int(self._one(query)[0])

    def _one(self, query: str) -> tuple[int, str]:
        # DuckDB 2 refuses other work on a connection until a result has been fetched to its end.
        rows: list[tuple[int, str]] = self.connection.execute(query).fetchall()
        return rows[0]
