"""Consent among a million people: one person's acts, and what concerns everyone, beside the bare SQL of the same rows.

The floor ends the same grants in a table of the same columns and indexes, without triggers, foreign keys and evidence:
one UPDATE, and one INSERT of as many ends.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import func, select, text

from bench.postgres import postgres
from duecare.consent import notices
from duecare.consent.grants import end_all, give, standing, standing_sql, withdraw
from duecare.consent.notices import Controller, Notice
from duecare.consent.purposes import Activity, Basis, PersonalField, Purpose, Retention, declare
from duecare.rules.engine import Engine
from duecare.store.database import Database

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)
_WORDS = {"methods": ("方式", "ways"), "card": ("卡", "card"), "phone": ("电话", "phone")}
_NOTICE = Notice("notice", "告知书", "Notice", "正文", "Body", {"methods": ["card"]}, _WORDS)
_CONTROLLER = Controller("某公司", "91330100000000000X", "某地", "privacy@example.com")
_COLUMNS = (
    "record, act, subject, purpose, purpose_version, notice, notice_version, separate, language, how, screen, given_at"
)


def run(scale: float = 1.0) -> None:
    """Print times for one person and ratios for everyone, on both databases."""
    people = max(1000, int(1_000_000 * scale))
    print(f"consent: {people:,} people with a grant each, two thirds of whom have answered a new notice")
    with tempfile.TemporaryDirectory(prefix="duecare-bench-") as folder:
        _measure("SQLite", f"sqlite:///{Path(folder) / 'bench.db'}", people)
    try:
        with postgres() as url:
            _measure("PostgreSQL", url, people)
    except psycopg.OperationalError:
        print("  PostgreSQL: none here (DUECARE_TEST_POSTGRES)")


def _measure(name: str, url: str, people: int) -> None:
    database, engine = Database(url), Engine.load()
    _declare(database, engine)
    _fill(database, people)
    asked = [_name(people // 2 + at) for at in range(100)]

    def agree(who: str) -> None:
        with database.session() as session:
            give(
                session, engine, who, ["other"], notice="notice", version=2, how="ticked", screen="page", at=_AT + _DAY
            )

    def back(who: str) -> None:
        with database.session() as session:
            withdraw(session, who, "other", how="button", screen="page", at=_AT + _DAY)

    def look(who: str) -> None:
        with database.session() as session:
            standing(session, who, "main")

    print(f"  {name}")
    for what, act in (("give", agree), ("withdraw", back), ("what stands", look)):
        times = sorted(_seconds(lambda act=act, who=who: act(who)) for who in asked)  # type: ignore[misc]
        print(f"    {what:<12} p50 {1000 * statistics.median(times):6.2f} ms, p95 {1000 * times[94]:6.2f} ms")
    for what, statement in (
        ("unanswered", notices.unanswered_sql("notice", 2)),
        ("declined", notices.declined_sql("notice", 2)),
        ("standing", standing_sql("main")),
    ):
        with database.session() as session:
            counted = select(func.count()).select_from(statement.subquery())
            spent, found = _timed(lambda counted=counted: session.scalar(counted))  # type: ignore[misc]
        print(f"    {what:<12} {spent:6.2f} s for {found:,}")
    floor = _seconds(lambda: _bare(database))
    spent, ended = _timed(lambda: _end(database))
    print(f"    end all      {spent:6.2f} s for {ended:,}; bare {floor:.2f} s, ratio {spent / floor:.2f}")
    database.close()


def _declare(database: Database, engine: Engine) -> None:
    used, kept = (Activity.USE,), Retention("closed", years=1, zh="账户注销", en="the account is closed")
    purposes = [
        Purpose(each, "目的", "Purpose", ("phone",), used, Basis.CONSENT, kept, "notice") for each in ("main", "other")
    ]
    with database.session() as session:
        declare(session, engine, [PersonalField("phone", "手机号", "phone")], purposes, _AT)
        notices.publish(session, _NOTICE, _CONTROLLER, _AT)


def _fill(database: Database, people: int) -> None:
    numbers = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {people}) "
        if database.embedded
        else f"WITH n AS (SELECT generate_series(1, {people}) AS i) "
    )
    name = "printf('%032x', i)" if database.embedded else "lpad(to_hex(i), 32, '0')"
    true, moment = ("1", "'2026-01-01 00:00:00.000000'") if database.embedded else ("true", "timestamptz '2026-01-01Z'")
    with database.session() as session:
        session.execute(
            text(f"INSERT INTO subjects (id, salt, created_at) {numbers}SELECT {name}, '{'0' * 64}', {moment} FROM n")
        )
        session.execute(
            text(
                f"INSERT INTO grants ({_COLUMNS}) {numbers}SELECT '', '', {name}, 'main', 1, 'notice', 1, {true}, "
                f"'zh', 'ticked', 'page', {moment} FROM n"
            )
        )
        notices.publish(session, replace(_NOTICE, terms={"methods": ["card", "phone"]}), _CONTROLLER, _AT + _DAY)
        session.execute(
            text(
                "INSERT INTO notice_answers (subject, notice, number, accepted, how, screen, answered_at) "
                f"{numbers}SELECT {name}, 'notice', 2, i % 2 = 0, 'reply', 'sms', {moment} FROM n WHERE i % 3 <> 0"
            )
        )
        session.execute(text("CREATE TABLE bare AS SELECT * FROM grants"))
        session.execute(text("CREATE TABLE bare_ends AS SELECT * FROM grant_ends"))
        for statement in (
            "CREATE UNIQUE INDEX bare_id ON bare (id)",
            "CREATE UNIQUE INDEX bare_standing ON bare (purpose, subject) WHERE ended_at IS NULL",
            "CREATE INDEX bare_subject ON bare (subject, purpose)",
            "CREATE UNIQUE INDEX bare_ends_id ON bare_ends (grant_id)",
            "ANALYZE",
        ):
            session.execute(text(statement))


def _bare(database: Database) -> None:
    with database.session() as session:
        session.execute(
            text(
                "INSERT INTO bare_ends SELECT id, 'purpose_ended', 'system', '', 'gone', given_at FROM bare "
                "WHERE purpose = 'main' AND ended_at IS NULL"
            )
        )
        session.execute(text("UPDATE bare SET ended_at = given_at WHERE purpose = 'main' AND ended_at IS NULL"))


def _end(database: Database) -> int:
    with database.session() as session:
        return end_all(session, "main", "purpose_ended", reason="gone", at=_AT + 2 * _DAY)


def _name(number: int) -> str:
    return f"{number:032x}"


def _seconds(work: Callable[[], object]) -> float:
    return _timed(work)[0]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
