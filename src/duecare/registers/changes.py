"""The changes that were found, for whoever asks.

The rule of this module: a change is given with its window, and by the first read that showed it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from duecare.registers.tables import Tables, known_sources
from duecare.store.home import Home

KINDS = ("event", "first_observation", "correction", "lapse")

_FIRST = 1000


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
    limit: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The changes, oldest window first. ``since`` counts by ``not_after``, the first read that showed the change.

    They come as they are found, the first at once, however many there are; at most ``limit``, where it is given.
    """
    with home.readers.reading():
        asked, values = _asked(home, source, since, kind, entity)
        if not asked:
            return
        ordered = f"SELECT * {asked} ORDER BY not_after, source, section, entity, key, batch, id"
        # The first few need no sorting of all the rest, for which a reader might have to wait.
        first = _FIRST if limit is None else min(limit, _FIRST)
        number = 0
        for change in _rows(home, f"{ordered} LIMIT {first}", values):
            number += 1
            yield change
        if number == _FIRST and limit != number:
            rest = "" if limit is None else f"LIMIT {limit - number}"
            yield from _rows(home, f"{ordered} {rest} OFFSET {number}", values)


def count(
    home: Home,
    *,
    source: str | None = None,
    since: datetime | None = None,
    kind: str | None = None,
    entity: str | None = None,
) -> int:
    """How many changes ``query`` gives."""
    with home.readers.reading():
        asked, values = _asked(home, source, since, kind, entity)
        row = home.lake.connection.cursor().execute(f"SELECT count(*) {asked}", values).fetchone() if asked else None
    return int(row[0]) if row else 0


def _asked(
    home: Home, source: str | None, since: datetime | None, kind: str | None, entity: str | None
) -> tuple[str, list[Any]]:
    """``FROM … WHERE …`` with its values; empty where nothing is held."""
    with home.database.session() as session:
        names = [source] if source else known_sources(session)
        scans = [Tables(home, name, session, leased=True).scan("changes") for name in names]
    if not scans:
        return "", []
    conditions, values = ["true"], []
    for column, operator, value in (("not_after", ">=", since), ("kind", "=", kind), ("entity", "=", entity)):
        if value is not None:
            conditions.append(f"{column} {operator} ?")
            values.append(value)
    union = " UNION ALL ".join(f"SELECT * FROM {scan}" for scan in scans)
    return f"FROM ({union}) WHERE {' AND '.join(conditions)}", values


def _rows(home: Home, statement: str, values: list[Any]) -> Iterator[dict[str, Any]]:
    cursor = home.lake.connection.cursor().execute(statement, values)
    columns = [column[0] for column in cursor.description or []]
    while rows := cursor.fetchmany(5000):
        for row in rows:
            yield dict(zip(columns, row, strict=True))
