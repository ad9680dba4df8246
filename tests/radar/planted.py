"""Batches of changes planted in a real home, as an ingest leaves them, without the files they would come from."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from duecare.clock import SetClock
from duecare.registers.batches import Arrival
from duecare.registers.models import Batch, BatchCount
from duecare.registers.tables import COLUMNS, Tables
from duecare.settings import load
from duecare.store.home import Home

SOURCE = "cn-national-register"
START = datetime(2026, 10, 1, 8, tzinfo=UTC)

Change = dict[str, Any]


def open_home(tmp_path: Path, database_url: str, **settings: Any) -> Home:
    """A home of its own with a clock that stands at ``START``."""
    return Home(load(home=tmp_path / "home", database_url=database_url, **settings), SetClock(START))


def change(
    entity: str,
    section: str,
    *,
    key: str = "",
    kind: str = "event",
    moved: str = "source",
    before: Mapping[str, str] | None = None,
    after: Mapping[str, str] | None = None,
    effective_on: date | None = None,
    late: bool = False,
) -> Change:
    """One change, to be planted."""
    return {
        "entity": entity, "section": section, "key": key, "kind": kind, "moved": moved, "effective_on": effective_on,
        "late": late, "before": json.dumps(before, ensure_ascii=False) if before else None,
        "after": json.dumps(after, ensure_ascii=False) if after else None,
    }  # fmt: skip


def wave(number: int, *, kind: str = "event", moved: str = "source", per_company: int = 3) -> list[Change]:
    """``number`` undated liquidation members."""
    return [
        change(
            f"C{index // per_company:06}", "liquidation", key=f"member {index % per_company}", kind=kind, moved=moved,
            after={"name": f"成员{index % per_company}", "role": "成员"},
        )
        for index in range(number)
    ]  # fmt: skip


def plant(
    home: Home,
    changes: Iterable[Change],
    *,
    day: int,
    source: str = SOURCE,
    reads: Mapping[str, int] | None = None,
    kind: str = "crawl",
    late: bool = False,
) -> str:
    """Commit ``changes`` as the batch of ``day`` days after ``START``; returns its name."""
    until = START + timedelta(days=day)
    batch = Arrival(source, kind, "", f"day-{day}.pack", until, "3").id
    rows = []
    for each in changes:
        name = "\x1f".join((batch, each["section"], each["entity"], each["key"]))
        first = each["kind"] == "first_observation"
        rows.append(
            {
                **each,
                "id": hashlib.md5(name.encode()).hexdigest(),
                "batch": batch,
                "source": source,
                "not_before": None if first else until - timedelta(days=1),
                "not_after": until,
                "snapshot": hashlib.sha256(f"snapshot {day}".encode()).hexdigest(),
            }
        )
    tables = Tables(home, source)
    if rows:
        tables.write("changes", [_query(home, "changes", rows)])
    counts = Counter((row["section"], row["kind"]) for row in rows)
    with home.database.session() as session:
        session.add(
            Batch(
                id=batch,
                seq=day + 1000 * (kind != "crawl"),
                source=source,
                kind=kind,
                state="committed",
                late=late,
                observed_at=until,
                recorded_at=until,
                parser="3",
                snapshot="",
                filename=f"day-{day}.pack",
                sections={},
                counts={"reads": dict(reads or {"basic": 20_000, "liquidation": 20_000})},
                reason="",
                screened=False,
            )
        )
        session.flush()
        for (section, made), number in counts.items():
            session.add(
                BatchCount(batch_id=batch, source=source, section=section, kind=made, changes=number, entities=number)
            )
        tables.declare(session)
    return batch


def show(
    home: Home, entity: str, section: str, value: Mapping[str, str] | None, *, key: str = "", source: str = SOURCE,
    at: datetime = START, seq: int = 1, effective_on: date | None = None, read_as: str | None = None,
) -> None:  # fmt: skip
    """Let the lake say that ``source`` showed this fact (or, without a value, that it was gone) at ``at``."""
    batch, snapshot = f"batch {seq}", hashlib.sha256(f"list {seq}".encode()).hexdigest()
    text = json.dumps(value, ensure_ascii=False) if value is not None else None
    fact = {
        "section": section, "entity": entity, "key": key, "hash": 1, "value": text, "effective_on": effective_on,
        "first_observed": at, "not_before": None, "snapshot": snapshot, "batch": batch,
    }  # fmt: skip
    read = {
        "batch": batch, "seq": seq, "entity": read_as or entity, "section": section, "coverage": "listed",
        "state": "read", "note": None, "observed_at": at, "parser": "3", "snapshot": snapshot,
    }  # fmt: skip
    tables = Tables(home, source)
    tables.write("facts", [_query(home, "facts", [fact])])
    tables.write("reads", [_query(home, "reads", [read])])
    with home.database.session() as session:
        tables.declare(session)


def _query(home: Home, table: str, rows: list[dict[str, Any]]) -> str:
    kinds = dict(part.split(" ", 1) for part in COLUMNS[table].split(", "))
    arrow = {
        "VARCHAR": pa.string(), "DATE": pa.date32(), "TIMESTAMPTZ": pa.timestamp("us", "UTC"), "BOOLEAN": pa.bool_(),
        "BIGINT": pa.int64(),
    }  # fmt: skip
    data = {name: pa.array([row[name] for row in rows], arrow[kind]) for name, kind in kinds.items()}
    home.lake.connection.register(f"planted_{table}", pa.table(data))
    return f"SELECT * FROM planted_{table}"
