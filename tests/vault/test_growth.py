"""What one person costs does not grow with how many there are: no statement about one looks at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from duecare.vault import erasure, retention
from duecare.vault.records import Vault

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


WORK: dict[str, Callable[[Vault, str], Any]] = {
    "seal": lambda vault, subject: seal(vault, subject),
    "open": lambda vault, subject: vault.open("name", subject, "pass_contract", "gate"),
    "open some": lambda vault, subject: vault.open_many(["name"], [subject], "pass_contract", "gate"),
    "find": lambda vault, subject: vault.find_all("phone", BASIC["phone"], "pass_contract", "gate"),
    "withdraw": lambda vault, subject: erasure.withdraw(vault, subject, "fingerprint_entry", how="a", screen="b"),
    "erase": lambda vault, subject: erasure.erase(vault, subject),
    "finish": lambda vault, subject: erasure.finish(vault),
    "account": lambda vault, subject: account(vault, subject),
    "event": lambda vault, subject: expires(vault, subject),
}


def seal(vault: Vault, subject: str) -> None:
    with vault.database.session() as session:
        vault.seal(session, subject, BASIC, ["pass_contract"], "counter")


def account(vault: Vault, subject: str) -> None:
    with vault.database.session() as session:
        vault.holds(session, subject)
        vault.openings(session, subject)


def expires(vault: Vault, subject: str) -> None:
    with vault.database.session() as session:
        retention.event(session, subject, "pass_expired", AT.date(), at=AT)


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
