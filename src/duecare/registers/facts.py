"""A fact's versions, for whoever asks of one key alone.

The rule of this module: of the versions of a fact, the one that began to be shown last is the newest; one without a
value says that the fact is shown no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from duecare.registers.tables import Tables


@dataclass(frozen=True)
class Version:
    """What was shown of a fact (a JSON object; none: it was shown no more), since when, and in which snapshot first."""

    value: str | None
    first_observed: datetime
    snapshot: str


def newest_version(tables: Tables, section: str, entity: str, key: str, *, shown: bool = False) -> Version | None:
    """The newest version of a fact in ``tables``; with ``shown``, the newest that has a value."""
    row = (
        tables.home.lake.connection.cursor()
        .execute(
            f"""SELECT value, first_observed, snapshot FROM {tables.scan("facts")}
            WHERE section = ? AND entity = ? AND key = ? {"AND value IS NOT NULL" if shown else ""}
            ORDER BY first_observed DESC LIMIT 1""",
            [section, entity, key],
        )
        .fetchone()
    )
    return Version(row[0], row[1], str(row[2] or "")) if row else None
