"""What differs between two reads, and of what kind the difference is.

    event              the section had been read before: it happened in the window (not_before, not_after]
    first observation  we could not have seen it before: nothing is known to have happened
    correction         the source, or we, had it wrong
    lapse              it is gone from a section that was read

The rule of this module: a change whose section had not been read before is never an event (case 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

import ibis
from ibis.expr import types as ir

from duecare.registers.adapter import Coverage
from duecare.registers.reading import Stage, StagedSection, held_where_read
from duecare.registers.tables import WHOLE, Tables, known_sources
from duecare.store.home import Home

KINDS = ("event", "first_observation", "correction", "lapse")


def differences(new: ir.Table, held: ir.Table, *, absence_counts: bool) -> ir.Table:
    """Where ``new`` and ``held`` (both ``entity, key, hash``) differ: ``entity, key, was, becomes`` (null: not there).

    Keys are compared column by column. With ``absence_counts`` false, a row that is only held is no difference.
    """
    old = held.select(held_entity=held.entity, held_key=held.key, was=held.hash)
    joined = new.join(
        old,
        [new.entity == old.held_entity, new.key == old.held_key],
        how="outer" if absence_counts else "left",
    )
    return joined.filter(~joined.hash.identical_to(joined.was)).select(
        entity=ibis.coalesce(joined.entity, joined.held_entity),
        key=ibis.coalesce(joined.key, joined.held_key),
        was=joined.was,
        becomes=joined.hash,
    )


@lru_cache(maxsize=4096)
def _differences_sql(hashes: str, absence_counts: bool) -> str:
    """SQL of ``differences`` between a table of the workshop and ``held_section``, compiled once."""
    columns = {"entity": "string", "key": "string", "hash": "int64"}
    new, held = ibis.table(columns, name=hashes, database="work"), ibis.table(columns, name="held_section")
    return str(ibis.to_sql(differences(new, held, absence_counts=absence_counts), dialect="duckdb"))


class Detection:
    """Compares a stage with what is held and leaves two tables in the workshop: ``work.detected`` (a row for each
    change, with hashes and values) for every staged section."""

    def __init__(self, home: Home, tables: Tables, stage: Stage, batch: str) -> None:
        self.home, self.tables, self.stage, self.batch = home, tables, stage, batch
        self.connection = home.lake.connection

    def run(self) -> None:
        """Fill ``work.detected``."""
        self._prepare()
        for item in self.stage.sections:
            self._detect(item)
        self._assign_kinds()

    def _prepare(self) -> None:
        run = self.connection.execute
        run(
            """CREATE TABLE work.differing (section VARCHAR, entity VARCHAR, key VARCHAR, was BIGINT, becomes BIGINT,
            before VARCHAR, before_on DATE, after VARCHAR, after_on DATE, correction BOOLEAN)"""
        )
        # The last time that each section was read of each entity, or of the whole list.
        run(
            f"""CREATE TABLE work.prior AS SELECT r.entity, r.section, max(r.observed_at) AS observed_at
            FROM {self.tables.scan("reads")} r
            WHERE r.state IN ('read', 'empty') AND (r.entity = '{WHOLE}' OR r.entity IN
                (SELECT entity FROM {self.stage.reads})) GROUP BY ALL"""
        )

    def _detect(self, item: StagedSection) -> None:
        run, name = self.connection.execute, item.section.name
        run(f"CREATE OR REPLACE TEMP VIEW held_section AS {held_where_read(self.tables, self.stage, item)}")
        query = _differences_sql(item.hashes.removeprefix("work."), item.coverage is not Coverage.ADDITIONS)
        run(f"CREATE OR REPLACE TABLE work.difference AS {query}")
        run(
            f"""INSERT INTO work.differing
            SELECT '{name}', d.entity, d.key, d.was, d.becomes, b.value, b.effective_on,
                   a.value, a.effective_on, coalesce(a.correction, false)
            FROM work.difference d
            LEFT JOIN (SELECT entity, key, effective_on, correction, {item.value} AS value FROM {item.view}
                       SEMI JOIN (FROM work.difference WHERE becomes IS NOT NULL) USING (entity, key)) a
              ON a.entity = d.entity AND a.key = d.key
            LEFT JOIN (SELECT entity, key, arg_max(value, first_observed) AS value,
                              arg_max_null(effective_on, first_observed) AS effective_on
                       FROM {self.tables.scan("facts")}
                       SEMI JOIN (FROM work.difference WHERE was IS NOT NULL) USING (entity, key)
                       WHERE section = '{name}' GROUP BY ALL) b
              ON b.entity = d.entity AND b.key = d.key"""
        )

    def _assign_kinds(self) -> None:
        """An engine that hashes differently after an upgrade makes rows differ that do not: values decide."""
        run = self.connection.execute
        run(
            f"""CREATE TABLE work.known AS SELECT DISTINCT entity FROM {self.tables.scan("facts")}
            WHERE entity IN (SELECT entity FROM work.differing WHERE was IS NULL)"""
        )
        # A notice that the feed repeats is no second notice.
        feeds = ", ".join(f"'{i.section.name}'" for i in self.stage.sections if i.coverage is Coverage.ADDITIONS)
        run(
            f"""CREATE TABLE work.former_notices AS SELECT section, entity, key, value, effective_on
            FROM {self.tables.scan("facts")}
            SEMI JOIN (FROM work.differing WHERE was IS NOT NULL) USING (section, entity, key)
            WHERE section IN ({feeds or "NULL"})"""
        )
        run(
            f"""CREATE TABLE work.detected AS
            WITH times AS (
                SELECT d.*, s.coverage, s.observed_at, s.snapshot,
                       CASE s.coverage WHEN 'listed' THEN e.observed_at ELSE w.observed_at END AS not_before,
                       k.entity IS NOT NULL AS known_entity
                FROM work.differing d
                JOIN {self.stage.reads} s ON s.section = d.section
                    AND s.entity = CASE s.coverage WHEN 'listed' THEN d.entity ELSE '{WHOLE}' END
                    AND s.state IN ('read', 'empty')
                LEFT JOIN work.prior e ON e.section = d.section AND e.entity = d.entity
                LEFT JOIN work.prior w ON w.section = d.section AND w.entity = '{WHOLE}'
                LEFT JOIN work.known k ON k.entity = d.entity
                WHERE (d.before, d.before_on) IS DISTINCT FROM (d.after, d.after_on)
                  AND NOT (s.coverage = 'additions' AND EXISTS (
                      SELECT 1 FROM work.former_notices n WHERE n.section = d.section AND n.entity = d.entity
                      AND n.key = d.key AND n.value = d.after AND n.effective_on IS NOT DISTINCT FROM d.after_on)))
            SELECT md5(concat_ws(chr(31), '{self.batch}', section, entity, key)) AS id, *,
                   CASE WHEN correction THEN 'correction'
                        WHEN becomes IS NULL THEN 'lapse'
                        WHEN coverage = 'additions' OR was IS NOT NULL THEN 'event'
                        WHEN not_before IS NULL THEN 'first_observation'
                        WHEN coverage = 'whole' AND NOT known_entity THEN 'first_observation'
                        ELSE 'event' END AS kind
            FROM times"""
        )


def batch_changes(home: Home, batch: str) -> str:
    """SQL of the changes of one batch, with the columns of ``tables.COLUMNS['changes']``."""
    from duecare.registers.models import Batch

    with home.database.session() as session:
        row = session.get(Batch, batch)
        source = row.source if row else ""
        tables = Tables(home, source, session)
    escaped = batch.replace("'", "''")
    return f"(SELECT * FROM {tables.scan('changes')} WHERE batch = '{escaped}')"


def query(
    home: Home,
    *,
    source: str | None = None,
    since: datetime | None = None,
    kind: str | None = None,
    entity: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The changes, oldest window first. ``since`` counts by ``not_after``, the first read that showed the change."""
    with home.database.session() as session:
        names = [source] if source else known_sources(session)
        scans = [Tables(home, name, session).scan("changes") for name in names]
    if not scans:
        return
    conditions, values = ["true"], []
    for column, operator, value in (("not_after", ">=", since), ("kind", "=", kind), ("entity", "=", entity)):
        if value is not None:
            conditions.append(f"{column} {operator} ?")
            values.append(value)
    union = " UNION ALL ".join(f"SELECT * FROM {scan}" for scan in scans)
    cursor = home.lake.connection.cursor().execute(
        f"SELECT * FROM ({union}) WHERE {' AND '.join(conditions)} ORDER BY not_after, source, section, entity, key",
        values,
    )
    columns = [column[0] for column in cursor.description or []]
    while rows := cursor.fetchmany(5000):
        for row in rows:
            yield dict(zip(columns, row, strict=True))
