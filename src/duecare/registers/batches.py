"""Batches: one file, crawl or re-reading, applied whole or not at all.

The rule of this module: the lake is written first and declared true in the database's one transaction; whatever a
killed process leaves in between does not exist, and doing the same again is harmless.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from duecare.errors import UnknownName
from duecare.evidence.outbox import record
from duecare.registers.models import Batch, BatchCount
from duecare.registers.reading import Unreadable
from duecare.store.home import Home


@dataclass(frozen=True)
class Arrival:
    """What came in. ``snapshot`` is the SHA-256 of the bytes, ``observed_at`` when they were received (UTC)."""

    source: str
    kind: str
    snapshot: str
    filename: str
    observed_at: datetime
    parser: str

    @property
    def id(self) -> str:
        """The batch's name: the same bytes of the same moment read by the same parser are the same batch."""
        parts = (self.source, self.kind, self.snapshot, self.observed_at.isoformat(), self.parser)
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Outcome:
    """What became of an arrival. ``state``: ``committed``, ``held``, ``known`` (it was here already). ``partial``: the
    sections of which records were set aside, so that nothing of them was closed. ``unreadable``: what a page had that
    could not be read, and so says nothing."""

    batch: str
    source: str
    state: str
    observed_at: datetime
    rows: int
    rejects: int
    rejects_file: str
    changes: dict[str, int]
    reason: str = ""
    late: bool = False
    partial: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def unread(self) -> tuple[Unreadable, ...]:
        """The pages of which nothing could be read."""
        return tuple(each for each in self.unreadable if not each.section)

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        unreadable = [each.as_json() for each in self.unreadable]
        return {**self.__dict__, "observed_at": self.observed_at.isoformat(), "unreadable": unreadable}


def find(session: Session, batch: str) -> Batch:
    """The batch whose name is or starts with ``batch``. Raises ``UnknownName``."""
    rows = list(session.execute(select(Batch).where(Batch.id.startswith(batch, autoescape=True))).scalars())
    if len(rows) != 1:
        recent = session.execute(select(Batch.id).order_by(Batch.seq.desc()).limit(12)).scalars()
        raise UnknownName("batch", batch, list(recent))
    return rows[0]


def next_seq(session: Session) -> int:
    """The number of the next batch, in the order of recording."""
    return (session.execute(select(func.max(Batch.seq))).scalar() or 0) + 1


def last_parser(session: Session, source: str) -> str | None:
    """The parser version of the newest batch of ``source``."""
    return session.execute(
        select(Batch.parser)
        .where(Batch.source == source, Batch.state == "committed")
        .order_by(Batch.seq.desc())
        .limit(1)
    ).scalar()


def record_batch(
    session: Session,
    arrival: Arrival,
    *,
    state: str,
    at: datetime,
    late: bool,
    sections: dict[str, Any],
    counts: dict[str, Any],
    reason: str = "",
    screened: bool = False,
) -> Batch:
    """Add the batch's row, or put it in the place of a held one of the same name, which is numbered anew: its rows in
    the lake are as new as its release."""
    existing, seq = session.get(Batch, arrival.id), next_seq(session)
    batch = existing or Batch(id=arrival.id)
    batch.seq = seq
    batch.source, batch.kind, batch.state, batch.late = arrival.source, arrival.kind, state, late
    batch.observed_at, batch.recorded_at, batch.parser = arrival.observed_at, at, arrival.parser
    batch.snapshot, batch.filename, batch.sections = arrival.snapshot, arrival.filename, sections
    batch.counts, batch.reason, batch.screened = counts, reason, screened
    if existing is None:
        session.add(batch)
        session.flush()
    if state == "held":
        body = {"batch": batch.id, "source": batch.source, "snapshot": batch.snapshot, "reason": reason}
        record(session, "batch:hold", batch.id, body, at)
    return batch


def count_changes(home: Home, session: Session, batch: str, source: str, table: str) -> dict[str, dict[str, int]]:
    """Count the changes in ``table`` for the radar's baseline; returns section → kind → changes."""
    run = home.lake.connection.execute
    counted: dict[str, dict[str, int]] = {}
    # A section at a time: to count the entities of all at once takes as much memory as all of them.
    for (section,) in run(f"SELECT DISTINCT section FROM {table} WHERE kind IS NOT NULL ORDER BY ALL").fetchall():
        rows = run(
            f"SELECT kind, count(*), count(DISTINCT entity) FROM {table} WHERE section = ? AND kind IS NOT NULL "
            "GROUP BY ALL ORDER BY ALL",
            [section],
        ).fetchall()
        counted[section] = {kind: changes for kind, changes, _ in rows}
        session.add_all(
            BatchCount(batch_id=batch, source=source, section=section, kind=kind, changes=changes, entities=entities)
            for kind, changes, entities in rows
        )
    return counted


def total(per_section: dict[str, dict[str, int]]) -> dict[str, int]:
    """Kind → changes, over all sections."""
    totals: dict[str, int] = {}
    for kinds in per_section.values():
        for kind, number in kinds.items():
            totals[kind] = totals.get(kind, 0) + number
    return totals
