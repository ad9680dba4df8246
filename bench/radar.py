"""Alert fan-out: 100,000 changes that passed, against 1 million watches, beside the raw SQL join of the two.

The floor joins the same tables in the same database and keeps (change, watch) pairs in a plain table. Ours writes
alerts and deliveries with their indexes and constraints, and leaves evidence. What follows on it, that the evidence
commits to the content of each alert, has no counterpart in the floor and a figure of its own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psycopg
from sqlalchemy import text

from bench.postgres import postgres
from duecare.radar.alerts import Raised, fan_out
from duecare.radar.raisings import commit_contents
from duecare.store.database import Database

_ROUNDS = 5
_AT = datetime(2026, 1, 1, tzinfo=UTC)


def run(scale: float = 1.0) -> None:
    """Print the ratio on both databases."""
    changes, watches = int(100_000 * scale), int(1_000_000 * scale)
    print(f"radar: {changes:,} changes against {watches:,} watches of as many companies, 100,000 members")
    with tempfile.TemporaryDirectory(prefix="duecare-bench-") as folder:
        _measure("SQLite", f"sqlite:///{Path(folder) / 'bench.db'}", changes, watches)
    try:
        with postgres() as url:
            _measure("PostgreSQL", url, changes, watches)
    except psycopg.OperationalError:
        print("  PostgreSQL: none here (DUECARE_TEST_POSTGRES)")


def _measure(name: str, url: str, changes: int, watches: int) -> None:
    database = Database(url)
    _fill(database, changes, watches)
    empty = ("DELETE FROM deliveries", "DELETE FROM alerts") if database.embedded else ("TRUNCATE alerts, deliveries",)

    def floor() -> None:
        with database.session() as session:
            session.execute(
                text(
                    "CREATE TABLE pairs AS SELECT s.change_id, s.section, s.before, s.after, w.member_id, c.channel "
                    "FROM screenings s JOIN watches w ON w.entity = s.entity "
                    "JOIN channel_addresses c ON c.member_id = w.member_id"
                )
            )

    def ours() -> None:
        raised = fan_out(database, ["b"], at=_AT)
        if raised != Raised(changes, changes):
            raise AssertionError(f"{raised} for {changes} changes")

    def contents() -> None:
        commit_contents(database, "b", at=_AT)

    ratios = []
    for _ in range(_ROUNDS):
        joined, raised, told = _seconds(floor), _seconds(ours), _seconds(contents)
        ratios.append(raised / joined)
        print(
            f"  {name}: join {joined:.2f} s, alerts and deliveries committed {raised:.2f} s, ratio {ratios[-1]:.2f}; "
            f"then what each says, in the evidence {told:.2f} s"
        )
        for statement in ("DROP TABLE pairs", *empty):
            with database.session() as session:
                session.execute(text(statement))
    print(f"  {name}: ratio {median(ratios):.2f}, the median of {_ROUNDS}")
    database.close()


def _fill(database: Database, changes: int, watches: int) -> None:
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {}) "
        if database.embedded
        else "WITH n AS (SELECT generate_series(0, {} - 1) AS i) "
    )
    moment = "'2026-01-01 00:00:00'"
    false = "0" if database.embedded else "false"
    members = min(100_000, watches)
    with database.session() as session:
        for count, statement in (
            (
                members,
                "INSERT INTO members (id, name, language, zone, digest_hour, created_at) "
                f"{numbers}SELECT i + 1, 'm' || i, 'zh', 'Asia/Shanghai', 8, {moment} FROM n",
            ),
            (
                members,
                "INSERT INTO channel_addresses (member_id, channel, commitment, state, created_at) "
                f"{numbers}SELECT i + 1, 'centre', 'sha256:aa', 'active', {moment} FROM n",
            ),
            (
                watches,
                "INSERT INTO watches (member_id, entity, categories, channels, realtime, created_at) "
                f"{numbers}SELECT i % {members} + 1, 'E' || i, '', '', {false}, {moment} FROM n",
            ),
            (
                changes,
                "INSERT INTO screenings (change_id, batch_id, source, entity, name, section, fact_key, kind, moved, "
                "late, sensitive, category, risk, before, after, not_after, snapshot, state, baseline, verification, "
                "reasons, decided_by, note) "
                f"{numbers}SELECT 'c' || i, 'b', 's', 'E' || (i * 7 % {watches}), 'n', 'basic', '', 'event', 'source', "
                f"{false}, {false}, 'registration', 'note', NULL, NULL, {moment}, 'x', 'passed', 'within', 'none', "
                "'[]', '', '' FROM n",
            ),
        ):
            session.execute(text(statement.format(count)))
    # As a database is that has been there for a while: what was written is on disk, and the planner knows of it.
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in ("ANALYZE",) if database.embedded else ("VACUUM ANALYZE", "CHECKPOINT"):
            connection.execute(text(statement))


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
