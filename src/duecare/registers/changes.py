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
    with home.readers.reading():
        yield from _found(home, source, since, kind, entity)


def _found(
    home: Home, source: str | None, since: datetime | None, kind: str | None, entity: str | None
) -> Iterator[dict[str, Any]]:
    with home.database.session() as session:
        names = [source] if source else known_sources(session)
        scans = [Tables(home, name, session, leased=True).scan("changes") for name in names]
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
