"""What one person costs does not grow with how many there are: no statement about one looks at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from duecare.consent import grants, notices, receipts
from duecare.errors import Erased, NeverHeld, NotGranted, UseError
from duecare.evidence.outbox import sequence
from duecare.vault import erasure, retention
from duecare.vault.exports import export
from duecare.vault.records import Vault

from ..consent import world
from .crowd import effort, gather, tidy
from .park import AT, BASIC, furnish, holder, opened

GROWING = (
    "vault_keys", "vault_values", "vault_wraps", "vault_lookups", "openings", "opening_subjects", "erasures",
    "retention_events", "grants", "grant_ends", "subjects", "evidence", "notice_answers",
)  # fmt: skip
"""Tables with rows for each person or act."""


@contextmanager
def statements(vault: Vault) -> Iterator[list[tuple[str, Any]]]:
    """The statements of the block, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        seen.append((statement, parameters[0] if many else parameters))

    event.listen(vault.database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(vault.database.engine, "before_cursor_execute", note)


def scans(vault: Vault, seen: list[tuple[str, Any]]) -> list[str]:
    """The statements for which SQLite would look at every row of a growing table, with its plan."""
    found = []
    with vault.database.engine.connect() as connection:
        for statement, parameters in seen:
            if not re.match(r"SELECT|UPDATE|DELETE|INSERT|WITH", statement):
                continue
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            for step in plan:
                table = re.match(r"SCAN (\w+)", step[3])
                left = "ix_vault_values_left" in step[3]  # holds only what is left to remove
                if table and not left and any(table[1].rstrip("_0123456789") == name for name in GROWING):
                    found.append(f"{step[3]}: {statement}")
    return found


def seal(vault: Vault, subject: str) -> None:
    with vault.database.session() as session:
        vault.seal(session, subject, BASIC, ["pass_contract"], "counter")


def find(vault: Vault, subject: str) -> None:
    """By a number that nobody else has."""
    with vault.database.session() as session:
        vault.seal(session, subject, {"phone": subject}, ["pass_contract"], "counter")
    assert vault.find("phone", subject, "pass_contract", "gate") == subject
    assert vault.find("phone", "nobody's", "pass_contract", "gate") is None


def refuse(vault: Vault, subject: str) -> None:
    """Nothing opens: not granted, held for another purpose, erased."""
    with pytest.raises(NotGranted):
        vault.open("face", subject, "face_entry", "gate")
    with pytest.raises((NeverHeld, NotGranted)):
        vault.open("photo", subject, "pass_contract", "gate")
    erasure.withdraw(vault, subject, "fingerprint_entry", how="a", screen="b")
    with pytest.raises(Erased):
        vault.open("fingerprint", subject, "fingerprint_entry", "gate")


def account(vault: Vault, subject: str) -> None:
    with vault.database.session() as session:
        vault.holds(session, subject)
        vault.openings(session, subject)
        erasure.erasures(session, subject)
        grants.history(session, subject)
        grants.standing(session, subject)
        notices.binding(session, subject, "annual-pass")
        notices.said(session, subject, "annual-pass", 1)


def expires(vault: Vault, subject: str) -> None:
    with vault.database.session() as session:
        retention.event(session, subject, "pass_expired", AT.date(), at=AT)


def agree(vault: Vault, subject: str) -> None:
    with vault.database.session() as session:
        world.agree(session, subject, "pass_photo")
        notices.answer(session, subject, "annual-pass", 1, True, "a", "b", AT)


def hand_out(vault: Vault, subject: str) -> None:
    """A receipt, also of a grant that has ended among others; and a copy of what is held."""
    with vault.database.session() as session:
        mine = {each.purpose: each.id for each in grants.standing(session, subject)}
        grants.end_all(session, "news", "request", reason="a", at=AT, subjects=[subject])
    sequence(vault.database, vault.log)
    for each in mine.values():
        receipts.build(vault.database, vault.log, each)
    export(vault, subject, "counter")


def forget(vault: Vault, subject: str) -> None:
    erasure.erase(vault, subject)
    with vault.database.session() as session, pytest.raises(UseError, match="waits for its witness"):
        erasure.forget(session, subject, AT)


WORK: dict[str, Callable[[Vault, str], Any]] = {
    "seal": seal,
    "open": lambda vault, subject: vault.open("name", subject, "pass_contract", "gate"),
    "open some": lambda vault, subject: vault.open_many(["name"], [subject], "pass_contract", "gate"),
    "find": find,
    "refuse": refuse,
    "withdraw": lambda vault, subject: erasure.withdraw(vault, subject, "news", how="a", screen="b"),
    "erase": lambda vault, subject: erasure.erase(vault, subject),
    "finish": lambda vault, subject: erasure.finish(vault),
    "account": account,
    "event": expires,
    "agree": agree,
    "hand out": hand_out,
    "forget": forget,
}


@pytest.mark.parametrize("work", WORK)
def test_nothing_about_one_person_looks_at_all(tmp_path: Path, work: str) -> None:
    """Each statement finds its rows by an index."""
    with opened(tmp_path / "home", witnessed_by=[]) as vault:
        furnish(vault)
        subject = holder(vault)
        with statements(vault) as seen:
            WORK[work](vault, subject)
        assert seen
        assert scans(vault, seen) == []


def test_opening_the_vault_looks_at_nobody(tmp_path: Path) -> None:
    """A vault with nothing to finish opens without a look at any row of a person."""
    with opened(tmp_path / "home", witnessed_by=[]) as vault:
        furnish(vault)
        holder(vault)
        with statements(vault) as seen:
            Vault(vault.home, vault.decisions._engine, witnessed_by=[]).close()
        assert scans(vault, [each for each in seen if "LIMIT" not in each[0]]) == []


LITTLE = 300
"""By how much an effort may differ: a page of an index more, and tables so small that they are read whole."""

ERASING = {"refuse", "withdraw", "erase", "forget"}


def efforts(vault: Vault) -> dict[str, int]:
    """What each piece of work costs now."""
    found = {}
    for name, work in WORK.items():
        subject = holder(vault)
        with effort(vault) as done:
            work(vault, subject)
        found[name] = sum(done)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("counted", [False, True], ids=["never analyzed", "analyzed"])
def test_what_one_person_costs_does_not_grow(database_url: str, tmp_path: Path, counted: bool) -> None:
    """The database does as much for one person among many as among few, whether it knows how many there are or not.

    PostgreSQL counts its rows by itself, a minute after they came: until then it takes any act of erasure for large.
    """
    with opened(tmp_path / "home", database_url, witnessed_by=[]) as vault:
        furnish(vault)
        gather(vault, 20)
        tidy(vault, count=counted)
        few = efforts(vault)
        gather(vault, 1500)
        tidy(vault, count=counted)
        many = efforts(vault)
        spared = set() if counted or vault.database.embedded else ERASING
    grown = {name: (few[name], many[name]) for name in few if many[name] > 1.2 * few[name] + LITTLE}
    assert {name: cost for name, cost in grown.items() if name not in spared} == {}
