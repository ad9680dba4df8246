"""The floor: how much of what is held a read must cover before it may close anything.

The rule of this module: what covers too little closes nothing, whenever it arrives; an operator decides.
"""

from __future__ import annotations

from duecare.registers import held
from duecare.registers.adapter import Coverage
from duecare.registers.reading import Stage, StagedSection
from duecare.registers.tables import COULD_DENY, READABLE, WHOLE, Tables
from duecare.store.home import Home

_FEW = 20
"""Rows of which more than half may well be gone on one day, where only they were read."""


def shortfall(home: Home, tables: Tables, stage: Stage, floor: float, *, late: bool) -> str:
    """Why ``stage`` covers too little to close anything, or ``""``.

    A list that suddenly holds less than ``floor`` of what is held is more likely cut short than true; the peers that
    took an empty read for "all gone" closed every record they had. One that is ``late`` is measured by what was held
    at its moment, and what the next list shows by it. A single row may go by itself, and so may some of few where only
    the entities that have them were read.
    """
    if floor <= 0:
        return ""
    for item in stage.sections:
        if item.coverage is Coverage.ADDITIONS:
            continue
        name = item.section.name
        if not late and item.rows >= floor * held.at_most(tables, name):
            continue
        listed = item.coverage is Coverage.LISTED
        count = _held_before(home, tables, stage, item) if late else _held_now(home, tables, stage, item)
        if _falls(count, item.rows, floor, listed=listed):
            return (
                f"Section {name} has {item.rows:,} rows where {count:,} are held: under the floor of {floor:.0%}. "
                "Nothing was closed."
            )
        if late and not listed:
            after = _held_after(home, tables, stage, item)
            if after is not None and _falls(item.rows, after, floor):
                return (
                    f"Section {name} has {item.rows:,} rows where the next list has {after:,}: one of the two is "
                    f"cut short, under the floor of {floor:.0%}. Nothing was closed."
                )
    return ""


def _falls(before: int, after: int, floor: float, *, listed: bool = False) -> bool:
    spared = before < _FEW if listed else before - after <= 1
    return after < floor * before and not spared


def _held_now(home: Home, tables: Tables, stage: Stage, item: StagedSection) -> int:
    """How many rows of the section are held of what was read of it."""
    query = f"SELECT count(*) FROM {held.shown(tables, item.section.name)}"
    if item.coverage is Coverage.LISTED:
        query += f" WHERE entity IN (SELECT entity FROM {_read(stage, item)})"
    ((count,),) = home.lake.connection.execute(query).fetchall()
    return int(count)


def _held_before(home: Home, tables: Tables, stage: Stage, item: StagedSection) -> int:
    """The same, just before it was read."""
    own = "f.entity = r.entity AND" if item.coverage is Coverage.LISTED else ""
    facts = f"""SELECT f.* FROM {tables.scan("facts", item.section.name)} f
        JOIN {_read(stage, item)} r ON {own} f.first_observed < r.observed_at"""
    return _standing(home, facts, item.section.name)


def _held_after(home: Home, tables: Tables, stage: Stage, item: StagedSection) -> int | None:
    """How many rows of the section were held once the next list had been read; none where there is no next one."""
    name = item.section.name
    ((moment,),) = home.lake.connection.execute(
        f"""SELECT min(l.observed_at) FROM {tables.scan("reads")} l
        JOIN {_read(stage, item)} r ON l.observed_at > r.observed_at
        WHERE l.section = '{name}' AND l.entity = '{WHOLE}' AND {COULD_DENY}"""
    ).fetchall()
    if moment is None:
        return None
    facts = f"SELECT * FROM {tables.scan('facts', name)} WHERE first_observed <= TIMESTAMPTZ '{moment.isoformat()}'"
    return _standing(home, facts, name)


def _standing(home: Home, facts: str, section: str) -> int:
    ((count,),) = home.lake.connection.execute(
        f"""SELECT count(*) FROM (SELECT entity, key FROM ({facts}) WHERE section = '{section}'
        GROUP BY ALL HAVING arg_max_null(hash, first_observed) IS NOT NULL)"""
    ).fetchall()
    return int(count)


def _read(stage: Stage, item: StagedSection) -> str:
    """SQL of what was read of the section, and when: ``entity, observed_at``."""
    return f"(SELECT entity, observed_at FROM {stage.reads} WHERE section = '{item.section.name}' AND {READABLE})"
