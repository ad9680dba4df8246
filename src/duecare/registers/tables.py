"""The lake tables of a source, and which version of each is true.

``facts`` is a log of versions: one row each time a value began to be shown, and a row without a value (a tombstone)
when it ceased to be. ``held`` is what is shown now, as hashes (see ``held.py``). ``reads`` says what was read, empty
sections included. ``changes`` only grows. ``snapshots`` says where the bytes are.

The rule of this module: ``facts`` is a function of the reads alone, whatever order they arrived in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.registers.models import LakeVersion
from duecare.store.home import Home
from duecare.store.lake import NEW
from duecare.store.upkeep import to_merge

COLUMNS: dict[str, str] = {
    "facts": "section VARCHAR, entity VARCHAR, key VARCHAR, hash BIGINT, value VARCHAR, effective_on DATE, "
    "first_observed TIMESTAMPTZ, not_before TIMESTAMPTZ, snapshot VARCHAR, batch VARCHAR",
    "held": "section VARCHAR, entity VARCHAR, key VARCHAR, hash BIGINT, seq BIGINT",
    "reads": "batch VARCHAR, seq BIGINT, entity VARCHAR, section VARCHAR, coverage VARCHAR, state VARCHAR, "
    "note VARCHAR, observed_at TIMESTAMPTZ, parser VARCHAR, snapshot VARCHAR",
    "changes": "id VARCHAR, batch VARCHAR, source VARCHAR, entity VARCHAR, section VARCHAR, key VARCHAR, kind VARCHAR, "
    "moved VARCHAR, before VARCHAR, after VARCHAR, effective_on DATE, not_before TIMESTAMPTZ, "
    "not_after TIMESTAMPTZ, late BOOLEAN, snapshot VARCHAR",
    "snapshots": "batch VARCHAR, entity VARCHAR, address VARCHAR, sha256 VARCHAR, fetched_at TIMESTAMPTZ, "
    "pack VARCHAR, frame_offset BIGINT, frame_length BIGINT",
}
"""Columns of each table as DuckDB definitions, in order. Times are in UTC."""

ORDERS: dict[str, str] = {
    "facts": "section, entity, key, first_observed",
    "reads": "section, entity, observed_at, seq",
    "changes": "section, entity, key, not_after",
    "snapshots": "sha256, fetched_at",
}
"""The order of rows in a file that was put together, so that what is asked for stands close; ``held`` does its own."""

WHOLE = "*"
"""The entity of a read that covered the whole list."""

READABLE = "state IN ('read', 'empty')"
"""SQL: a read that found out what the section says, were it nothing; an unreadable one did not."""

WITHOUT_HOLES = f"{READABLE} AND coverage <> 'partial'"
"""SQL: a read that would have shown what there was. A list with holes need not."""

COULD_DENY = f"{WITHOUT_HOLES} AND coverage <> 'additions'"
"""SQL: a read whose silence says something. A feed tells a thing once: that it goes on confirms and denies nothing."""


class Tables:
    """The tables of one source at the versions that were true when this was made.

    ``leased``: whoever makes it reads within ``home.readers.reading()`` or has the right to write the lake. Otherwise
    the home counts as a reader until it is closed, and no file that it may read is removed until then.
    """

    def __init__(self, home: Home, source: str, session: Session | None = None, *, leased: bool = False) -> None:
        if not leased:
            home.readers.keep()
        self.home = home
        self.source = source
        if session is None:
            with home.database.session() as own:
                self.versions = _versions(own, source)
        else:
            self.versions = _versions(session, source)

    def scan(self, table: str, section: str | None = None) -> str:
        """SQL that reads ``table``. ``section`` spares opening files that hold none of it; it filters no rows."""
        return self.home.lake.scan(self.source, table, self.versions.get(table, NEW), COLUMNS[table], section)

    def write(
        self,
        table: str,
        queries: Sequence[str] | Mapping[str, str],
        *,
        replace: bool = False,
        ordered: bool = False,
    ) -> None:
        """Add rows to ``table``, or replace it, or only the sections that ``queries`` are given by (see
        ``Lake.write``). Nobody sees them until ``declare``."""
        self.versions[table] = self.home.lake.write(
            self.source, table, self.versions.get(table, NEW), queries, replace=replace, ordered=ordered
        )

    def merge(self, table: str) -> None:
        """Put small files of ``table`` together where there are many. Nobody sees it until ``declare``."""
        version = self.versions.get(table, NEW)
        small = to_merge(self.home.lake.members(self.source, table, version)) if table in ORDERS else []
        if small:
            self.versions[table] = self.home.lake.merge(self.source, table, version, small, ORDERS[table])

    def declare(self, session: Session) -> None:
        """Make what was written true, together with whatever else ``session`` commits."""
        for table, version in self.versions.items():
            session.merge(LakeVersion(source=self.source, table=table, version=version))


def _versions(session: Session, source: str) -> dict[str, int]:
    rows = session.execute(select(LakeVersion).where(LakeVersion.source == source)).scalars()
    return {row.table: row.version for row in rows}


def known_sources(session: Session) -> list[str]:
    """The sources of which anything is held, in order of name."""
    return list(session.execute(select(LakeVersion.source).distinct().order_by(LakeVersion.source)).scalars())
