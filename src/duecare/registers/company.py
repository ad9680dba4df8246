"""What is known of one company, for any past moment on either time axis.

The rule of this module: no bare fact. Each stands with its source, the register's own date, and when we saw it; two
sources that disagree are both shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.clock import end_of_day
from duecare.errors import UnknownName
from duecare.registers.adapter import Coverage
from duecare.registers.catalogue import all_adapters
from duecare.registers.models import Batch, Dispute
from duecare.registers.tables import READABLE, WHOLE, WITHOUT_HOLES, Tables, known_sources
from duecare.store.home import Home


@dataclass(frozen=True)
class Fact:
    """One thing that a source says of an entity.

    ``effective_on`` is the register's own date or none. ``first_observed`` is the first snapshot that shows it,
    ``not_before`` the last read without it (none: never read before), ``last_observed`` the last read that shows it.
    ``gone_since`` is the first read that no longer shows it, ``replaced`` whether that read shows another in its place.
    ``recorded_at`` is when we wrote it down.
    """

    source: str
    entity: str
    section: str
    key: str
    value: dict[str, str]
    effective_on: date | None
    first_observed: datetime
    not_before: datetime | None
    last_observed: datetime | None
    gone_since: datetime | None
    replaced: bool
    snapshot: str
    batch: str
    recorded_at: datetime | None
    disputed: bool

    def as_json(self) -> dict[str, Any]:
        """For ``--json``; times in ISO 8601."""
        return {name: _text(value) for name, value in self.__dict__.items()}


def company(home: Home, entity: str, *, as_of: date | None = None, known_at: datetime | None = None) -> dict[str, Any]:
    """All that is known of ``entity``: by source and section, with its reads, facts and disagreements.

    ``known_at`` shows what the snapshots received up to then say; ``as_of`` what was true on that day as far as the
    register's own dates, or else our observations, tell. Whether a source was stale is judged as of ``known_at``.
    Raises ``UnknownName``.
    """
    with home.readers.reading(), home.database.session() as session:
        names = known_sources(session)
        tables = {name: Tables(home, name, session, leased=True) for name in names}
        now = home.clock.now()
        until, then = known_at or now + timedelta(days=1), min(known_at or now, now)
        notices = session.scalars(select(Dispute).where(Dispute.entity == entity).order_by(Dispute.id)).all()
        disputes = {(row.source, row.section, row.key) for row in notices if row.closed_at is None}
        decided = [row for row in notices if row.closed_at is not None and row.closed_at <= until]
        found = {}
        for name, table in tables.items():
            facts = _facts(home, session, table, entity, until, disputes)
            if facts:
                found[name] = (facts, _reads(home, table, entity, until))
    if not found:
        hint = "`duecare search TEXT` finds companies by name or code; `duecare sources` lists what was read."
        raise UnknownName("company", entity, [], hint=hint)
    adapters = all_adapters(home)
    sources = []
    shown = {name: _divide(facts, as_of) for name, (facts, _) in found.items()}
    for name, (facts, reads) in found.items():
        adapter = adapters.get(name)
        declared = [section.name for section in adapter.sections] if adapter else []
        sections = _sections(shown[name], reads, [row for row in decided if row.source == name], declared, as_of)
        checked = [read["last_read"] for read in reads.values()] + [fact.last_observed for fact in facts]
        last = max(filter(None, checked), default=None)
        stale = bool(adapter and last and then - last > adapter.source.fresh_for)
        sources.append(
            {
                "source": name,
                "title": adapter.source.title_zh if adapter else name,
                "title_en": adapter.source.title_en if adapter else name,
                "last_read": _text(last),
                "stale": stale,
                "sections": sections,
            }
        )
    return {
        "entity": entity,
        "name": _name(shown.values()),
        "as_of": _text(as_of),
        "known_at": _text(known_at),
        "sources": sources,
        "disagreements": _disagreements(shown.values()),
    }


def known(home: Home, entity: str, source: str | None = None) -> bool:
    """Whether anything was ever held of ``entity``, in ``source`` or in any."""
    with home.database.session() as session:
        tables = [Tables(home, name, session) for name in known_sources(session) if source in (None, name)]
    cursor = home.lake.connection.cursor()
    return any(
        cursor.execute(f"SELECT 1 FROM {table.scan('facts')} WHERE entity = ? LIMIT 1", [entity]).fetchone()
        for table in tables
    )


def names(home: Home, source: str, entities: Iterable[str]) -> dict[str, str]:
    """The present name of each of ``entities`` in ``source``; those without one are left out."""
    import pyarrow as pa

    wanted = pa.table({"entity": pa.array(list(entities), pa.string())})
    cursor = home.lake.connection.cursor()
    cursor.register("wanted_names", wanted)
    with home.readers.reading():
        rows = cursor.execute(
            f"""SELECT entity, arg_max(json_extract_string(value, '$.name'), first_observed)
            FROM {Tables(home, source, leased=True).scan("facts")} SEMI JOIN wanted_names USING (entity)
            WHERE section = 'basic' AND value IS NOT NULL GROUP BY ALL"""
        ).fetchall()
    return {entity: name for entity, name in rows if name}


def _facts(
    home: Home, session: Session, tables: Tables, entity: str, until: datetime, disputes: set[tuple[str, str, str]]
) -> list[Fact]:
    rows = (
        home.lake.connection.cursor()
        .execute(
            f"""WITH versions AS (
            SELECT *, lead(first_observed) OVER one AS ended, lead(value) OVER one IS NOT NULL AS replaced
            FROM {tables.scan("facts")} WHERE entity = ? AND first_observed <= ?
            WINDOW one AS (PARTITION BY section, key ORDER BY first_observed)),
        reads AS (SELECT section, observed_at FROM {tables.scan("reads")}
                  WHERE entity IN (?, '{WHOLE}') AND observed_at <= ? AND {WITHOUT_HOLES})
        SELECT v.section, v.key, v.value, v.effective_on, v.first_observed, v.not_before, v.ended, v.replaced,
               v.snapshot, v.batch,
               (SELECT coalesce(max(r.observed_at), v.first_observed) FROM reads r WHERE r.section = v.section
                AND r.observed_at >= v.first_observed AND (v.ended IS NULL OR r.observed_at < v.ended))
        FROM versions v WHERE v.value IS NOT NULL ORDER BY v.section, v.key, v.first_observed""",
            [entity, until, entity, until],
        )
        .fetchall()
    )
    recorded: dict[str, datetime] = {}
    batches = {row[9] for row in rows}
    if batches:
        found = session.execute(select(Batch.id, Batch.recorded_at).where(Batch.id.in_(batches)))
        recorded = {row.id: row.recorded_at for row in found}
    return [
        Fact(
            tables.source, entity, section, key, json.loads(value), effective_on, first, before, last, ended,
            replaced, snapshot, batch, recorded.get(batch),
            bool({(tables.source, section, key), (tables.source, section, "")} & disputes),
        )
        for section, key, value, effective_on, first, before, ended, replaced, snapshot, batch, last in rows
    ]  # fmt: skip


def _reads(home: Home, tables: Tables, entity: str, until: datetime) -> dict[str, dict[str, Any]]:
    """Section → how it was read last; a list with holes may have missed this entity, and does not count."""
    rows = (
        home.lake.connection.cursor()
        .execute(
            f"""SELECT section, arg_max(state, (observed_at, seq)), arg_max(note, (observed_at, seq)),
               max(observed_at) FILTER ({READABLE}), max(observed_at), min(observed_at) FILTER ({READABLE})
        FROM {tables.scan("reads")}
        WHERE entity IN (?, '{WHOLE}') AND observed_at <= ? AND coverage <> '{Coverage.PARTIAL}' GROUP BY ALL""",
            [entity, until],
        )
        .fetchall()
    )
    return {
        section: {"state": state, "note": note, "last_read": readable, "last_tried": tried, "first_read": first}
        for section, state, note, readable, tried, first in rows
    }


@dataclass(frozen=True)
class _Shown:
    """What one source says: what holds now or held on the day that was asked for, and what had ended by then."""

    current: list[Fact]
    former: list[Fact]


def _divide(facts: list[Fact], day: date | None) -> _Shown:
    """``facts`` as they stood on ``day``, or stand now. What began later is left out.

    On a day stands, of each key, the last version that began by then: by the register's date where it gives one, else
    by ours. One in whose place another came stands until that one begins.
    """
    if day is None:
        standing = [fact for fact in facts if fact.gone_since is None]
    else:
        end = end_of_day(day)
        facts = [
            fact for fact in facts if (fact.effective_on <= day if fact.effective_on else fact.first_observed <= end)
        ]
        last = {(fact.section, fact.key): fact for fact in facts}
        standing = [fact for fact in last.values() if fact.gone_since is None or fact.replaced or fact.gone_since > end]
    chosen = {(fact.section, fact.key, fact.first_observed) for fact in standing}
    return _Shown(standing, [fact for fact in facts if (fact.section, fact.key, fact.first_observed) not in chosen])


def _sections(
    shown: _Shown, reads: dict[str, dict[str, Any]], decided: list[Dispute], declared: list[str], day: date | None
) -> dict[str, dict[str, Any]]:
    """Section → its state (read, empty, unreadable, not_read), when it was last read, its facts and former facts, and
    the notices of error against them that were decided: a correction stays in the company's history (case 1).

    Of a ``day`` before the first read, nobody knows that there was nothing: it had not been read."""
    present = {fact.section for fact in (*shown.current, *shown.former)} | {row.section for row in decided}
    ordered = [*declared, *sorted((present | set(reads)) - set(declared))]
    made: dict[str, dict[str, Any]] = {}
    for name in ordered:
        read = reads.get(name)
        current = [fact.as_json() for fact in shown.current if fact.section == name]
        state = read["state"] if read else "read" if current else "not_read"
        if state == "read" and not current:
            state = "empty"
        if state == "empty" and day and read and read["first_read"] > end_of_day(day):
            state = "not_read"
        made[name] = {
            "state": state,
            "note": read["note"] if read else None,
            "last_read": _text(read["last_read"]) if read else None,
            "facts": current,
            "former": [fact.as_json() for fact in shown.former if fact.section == name],
            "notices": [
                {
                    "key": row.key,
                    "outcome": row.outcome,
                    "opened_at": _text(row.opened_at),
                    "decided_at": _text(row.closed_at),
                    "reason": row.note,
                }
                for row in decided
                if row.section == name
            ],
        }
    return made


def _name(sources: Iterable[_Shown]) -> str | None:
    for shown in sources:
        for facts in (shown.current, shown.former):
            basics = [fact for fact in facts if fact.section == "basic" and fact.value.get("name")]
            if basics:
                return max(basics, key=lambda fact: fact.first_observed).value["name"]
    return None


def _disagreements(sources: Iterable[_Shown]) -> list[dict[str, Any]]:
    """Fields of ``basic`` on which the standing facts of two sources differ; both are kept, neither wins here."""
    said: dict[str, dict[str, str]] = {}
    for shown in sources:
        for fact in shown.current:
            if fact.section == "basic":
                for field, value in fact.value.items():
                    said.setdefault(field, {})[fact.source] = value
    return [
        {"section": "basic", "field": field, "values": values}
        for field, values in said.items()
        if len(set(values.values())) > 1
    ]


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, (date, datetime)) else value
