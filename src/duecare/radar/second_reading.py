"""Second reading: how a fact is verified where the source publishes lists and no page can be fetched.

A newer list of the same source that still says it, or another source that says the same, verifies it. Until one of them
has come in, nothing can be said. A feed tells each thing once: that it tells other things later confirms nothing.

The rule of this module: a list does not confirm itself; only something read from other bytes does.
"""

from __future__ import annotations

import json

from sqlalchemy import select

from duecare.radar.contradictions import Finding, Point, also_said
from duecare.radar.models import Screening
from duecare.registers.catalogue import title_of
from duecare.registers.facts import newest_version
from duecare.registers.models import Batch
from duecare.registers.tables import COULD_DENY, WHOLE, Tables, known_sources
from duecare.store.home import Home


def second_reading(home: Home, row: Screening) -> tuple[Finding, str, str]:
    """What later lists of the source, and other sources, say of the change: the finding, the name of the list's file or
    of the other source, and the snapshot."""
    with home.database.session() as session:
        batch = session.get_one(Batch, row.batch_id)
        own = Tables(home, row.source, session)
        others = [Tables(home, name, session) for name in known_sources(session) if name != row.source]
    later = _later_read(home, own, row, batch.seq)
    if later is not None:
        filename, snapshot = later
        if _says_so(own, row):
            point = Point("newer_list", "此后读取的名单仍如此显示。", "A list read since then still says it.")
            return Finding("verified", (), (point,)), filename, snapshot
        against = Point(
            "newer_list_differs", "此后读取的名单不再如此显示。", "A list read since then no longer says it."
        )
        return Finding("contradicted", (against,)), filename, snapshot
    for tables in others:
        if row.after is not None and _says_so(tables, row):
            return Finding("verified", (), (also_said(*title_of(home, tables.source)),)), tables.source, ""
    point = Point("no_second_reading", "尚无第二次读取。", "No newer list and no other source says it yet.")
    return Finding("unavailable", (), (point,)), "", ""


def _later_read(home: Home, tables: Tables, row: Screening, seq: int) -> tuple[str, str] | None:
    """The newest read of the section from other bytes, observed after the change was first seen: file and snapshot."""
    found = (
        home.lake.connection.cursor()
        .execute(
            f"""SELECT snapshot FROM {tables.scan("reads")}
            WHERE section = ? AND entity IN (?, '{WHOLE}') AND {COULD_DENY} AND seq > ?
              AND observed_at > ? AND snapshot IS DISTINCT FROM ?
            ORDER BY observed_at DESC, seq DESC LIMIT 1""",
            [row.section, row.entity, seq, row.not_after, row.snapshot],
        )
        .fetchone()
    )
    if found is None:
        return None
    snapshot = str(found[0] or "")
    # The read may be that of a re-reading, which has no file of its own.
    with home.database.session() as session:
        named = select(Batch.filename).where(Batch.source == tables.source, Batch.snapshot == snapshot)
        filename = session.scalars(named.order_by(Batch.observed_at.desc()).limit(1)).first()
    return filename or "", snapshot


def _says_so(tables: Tables, row: Screening) -> bool:
    """Whether the newest version of the fact in ``tables`` is what the change says (for a lapse: that it is gone)."""
    newest = newest_version(tables, row.section, row.entity, row.key)
    value = newest.value if newest else None
    if row.after is None or value is None:
        return row.after is None and value is None
    return _filled(value) == _filled(row.after)


def _filled(text: str) -> dict[str, str]:
    return {name: value for name, value in json.loads(text).items() if value}
