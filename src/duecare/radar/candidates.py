"""Candidates: the changes of a batch that may come to be told, found and stored as set work.

A batch may hold five million first observations of which none is told; they are counted in the lake and never become
rows. What may be told becomes one ``Screening`` row each.

The rule of this module: nothing is decided here. Changes are grouped, the groups are judged elsewhere, and every row of
a group gets the verdict of its group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, cast

import pyarrow as pa
from sqlalchemy import Table, insert, select
from sqlalchemy.orm import Session

from duecare.clock import BEIJING
from duecare.errors import UnknownName
from duecare.radar.judgement import Situation, Verdict
from duecare.radar.models import Screening
from duecare.registers.adapter import Coverage
from duecare.registers.catalogue import adapter_for
from duecare.registers.changes import batch_changes
from duecare.registers.company import names
from duecare.registers.models import Batch, Dispute
from duecare.registers.sections import CATALOGUE, RiskLevel, Section
from duecare.registers.tables import Tables
from duecare.store.home import Home

Progress = Callable[[int, int], None]
"""Called with the rows done and the rows in all."""

_CHUNK = 5_000
_SEVERITY = list(RiskLevel)
_INSERT = insert(cast("Table", Screening.__table__))
"""Past the unit of work, which costs more than the insert where rows come by the hundred thousand."""


@dataclass(frozen=True)
class Group:
    """Changes of one batch that differ in nothing that the holding asks for."""

    number: int
    section: str
    situation: Situation
    changes: int


@dataclass(frozen=True)
class Placed:
    """A group with what was decided of it, and the hold it belongs to, if any."""

    group: Group
    verdict: Verdict
    hold: int | None = None


def sections_of(home: Home, source: str) -> dict[str, Section]:
    """The sections that the adapter of ``source`` declares, over the catalogue of the mainland register."""
    try:
        declared = adapter_for(home, source).sections
    except UnknownName:
        # The adapter was removed; what it brought in is still here to be screened.
        declared = ()
    return {**CATALOGUE, **{section.name: section for section in declared}}


class Candidates:
    """The changes of one batch, looked at in the engine. Use it as a context: it closes its own view of the engine."""

    def __init__(self, home: Home, batch: Batch) -> None:
        self.home, self.batch = home, batch
        self.sections = sections_of(home, batch.source)
        self._engine = home.lake.connection.cursor()
        self._share_disputes()
        self._engine.execute(
            f"""CREATE TEMP VIEW candidates AS SELECT c.*, {sensitive_sql(self.sections)} AS sensitive,
                effective_on IS NOT NULL AS dated,
                EXISTS (SELECT 1 FROM open_disputes d WHERE d.source = c.source AND d.entity = c.entity
                        AND d.section = c.section AND (d.key = '' OR d.key = c.key)) AS disputed
                FROM {batch_changes(home, batch.id)} c"""
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def groups(self) -> list[Group]:
        """The changes, grouped by everything that the holding asks for."""
        rows = self._engine.execute(
            """SELECT section, kind, moved, sensitive, late, dated, disputed, count(*) FROM candidates
               GROUP BY ALL ORDER BY ALL"""
        ).fetchall()
        return [
            Group(number, section, Situation(kind, moved, sensitive, late, dated, disputed), changes)
            for number, (section, kind, moved, sensitive, late, dated, disputed, changes) in enumerate(rows)
        ]

    def feed(self, session: Session) -> bool:
        """Whether the batch is of a feed: it names companies because there is something new of them."""
        reads = Tables(self.home, self.batch.source, session).scan("reads")
        query = f"SELECT count(*) FROM {reads} WHERE batch = ? AND coverage = ?"
        ((count,),) = self._engine.execute(query, [self.batch.id, Coverage.ADDITIONS.value]).fetchall()
        return bool(count)

    def names(self, placed: Sequence[Placed]) -> dict[str, str]:
        """The names of the companies whose changes are in ``placed``."""
        if not placed:
            return {}
        self._share_placed(placed)
        rows = self._engine.execute(
            """SELECT DISTINCT entity FROM candidates
               JOIN placed USING (section, kind, moved, sensitive, late, dated, disputed)"""
        ).fetchall()
        return names(self.home, self.batch.source, [entity for (entity,) in rows])

    def store(
        self,
        session: Session,
        placed: Sequence[Placed],
        called: Mapping[str, str],
        *,
        dated_by_observation: bool = False,
        progress: Progress = lambda done, total: None,
    ) -> int:
        """Insert a ``Screening`` row for each change of ``placed``; returns how many. Part of the caller's transaction.

        ``called``: the names. ``dated_by_observation`` is the old system's fault, kept for the counter-proof of the
        replay: every row is news, of the day (in Beijing) on which it was seen.
        """
        total = sum(item.group.changes for item in placed)
        if not total:
            return 0
        self._share_placed(placed)
        reader = self._engine.execute(
            """SELECT p.number, c.id, c.batch, c.source, c.entity, c.section, c.key, c.kind, c.moved, c.late, c.before,
                      c.after, c.effective_on, c.not_before, c.not_after, c.snapshot
               FROM candidates c JOIN placed p USING (section, kind, moved, sensitive, late, dated, disputed)
               ORDER BY c.entity, c.section, c.key"""
        )
        by_number = {item.group.number: item for item in placed}
        now, done = self.home.clock.now(), 0
        while chunk := reader.fetchmany(_CHUNK):
            rows = [_row(by_number[row[0]], row, self.sections, called, now) for row in chunk]
            if dated_by_observation:
                for row in rows:
                    row.update(kind="event", effective_on=row["not_after"].astimezone(BEIJING).date())
            session.execute(_INSERT, rows)
            done += len(rows)
            progress(done, total)
        return done

    def _share_disputes(self) -> None:
        """The open disputes, few as they are, where the engine can join them."""
        with self.home.database.session() as session:
            rows = session.execute(
                select(Dispute.source, Dispute.entity, Dispute.section, Dispute.key).where(Dispute.closed_at.is_(None))
            ).all()
        columns = ("source", "entity", "section", "key")
        data = {column: pa.array([row[at] for row in rows], pa.string()) for at, column in enumerate(columns)}
        self._share("open_disputes", pa.table(data))

    def _share_placed(self, placed: Sequence[Placed]) -> None:
        groups = [(item.group, item.group.situation) for item in placed]
        data = {
            "number": pa.array([group.number for group, _ in groups], pa.int64()),
            "section": pa.array([group.section for group, _ in groups], pa.string()),
            "kind": pa.array([situation.kind for _, situation in groups], pa.string()),
            "moved": pa.array([situation.moved for _, situation in groups], pa.string()),
            **{
                name: pa.array([getattr(situation, name) for _, situation in groups], pa.bool_())
                for name in ("sensitive", "late", "dated", "disputed")
            },
        }
        self._share("placed", pa.table(data))

    def _share(self, name: str, data: pa.Table) -> None:
        self._engine.register("incoming", data)
        self._engine.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM incoming")
        self._engine.unregister("incoming")


def sensitive_sql(sections: Mapping[str, Section]) -> str:
    """SQL that says of a change (``section, kind, before, after``) whether it is sensitive, as ``sections`` declare."""
    cases = []
    for section in sections.values():
        if section.sensitive:
            cases.append(f"WHEN {_text(section.name)} THEN true")
        elif section.sensitive_words:
            fields, words = section.sensitive_words
            takes = " OR ".join(_takes_sql(field, words) for field in fields)
            cases.append(f"WHEN {_text(section.name)} THEN coalesce({takes}, false)")
    return f"CASE section {' '.join(cases)} ELSE false END" if cases else "false"


def _takes_sql(field: str, words: Sequence[str]) -> str:
    """SQL: whether ``field`` takes a value containing one of ``words``. An address that changes while the status stays
    注销 says nothing new of the status."""
    path = _text(f'$."{field}"')
    becomes, was = f"json_extract_string(after, {path})", f"json_extract_string(before, {path})"
    found = " OR ".join(f"contains({becomes}, {_text(word)})" for word in words)
    return f"(({found}) AND {becomes} IS DISTINCT FROM {was})"


def _row(
    item: Placed, row: tuple[Any, ...], sections: Mapping[str, Section], called: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    (
        _,
        change,
        batch,
        source,
        entity,
        section,
        key,
        kind,
        moved,
        late,
        before,
        after,
        effective_on,
        since,
        until,
        snap,
    ) = row
    declared, situation = sections.get(section), item.group.situation
    return {
        "change_id": change,
        "batch_id": batch,
        "source": source,
        "entity": entity,
        "name": called.get(entity, entity),
        "section": section,
        "fact_key": key,
        "kind": kind,
        "moved": moved,
        "late": late,
        "sensitive": situation.sensitive,
        "category": declared.category.value if declared else "registration",
        "risk": _risk(declared, situation),
        "before": before,
        "after": after,
        "effective_on": effective_on,
        "not_before": since,
        "not_after": until,
        "snapshot": snap or "",
        "state": item.verdict.state,
        "baseline": situation.baseline,
        "verification": situation.verification,
        "reasons": item.verdict.reasons,
        "hold_id": item.hold,
        "decided_at": now,
        "decided_by": "screen",
        "note": "",
    }


def _risk(section: Section | None, situation: Situation) -> str:
    """The section's own level; a sensitive word raises it to a warning, and what is only no longer shown is a note."""
    if section is None or situation.kind == "lapse":
        return RiskLevel.NOTE.value
    least = RiskLevel.WARNING if situation.sensitive else RiskLevel.GOOD
    return max(section.risk, least, key=_SEVERITY.index).value


def _text(value: str) -> str:
    """``value`` as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"
