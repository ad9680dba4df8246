"""A crowd in a vault, put there as rows and in bulk; and how much a database reads for a piece of work."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event, insert, update
from sqlalchemy.orm import Session

from duecare.consent import grants
from duecare.consent.models import GrantRow, NoticeAnswer, SubjectRow
from duecare.evidence.outbox import Act, record_all, sequence
from duecare.vault import erasure
from duecare.vault.models import RetentionEvent, VaultErasure
from duecare.vault.records import Vault

from .park import AT, PRINT

_FIXED = {
    "act": "crowd", "purpose_version": 1, "notice": "annual-pass", "notice_version": 1, "separate": True,
    "language": "zh", "how": "a", "screen": "b", "given_at": AT,
}  # fmt: skip
_OPENED = {"by": "gate", "fields": ["name"], "purpose": "pass_contract", "reasons": [], "subject": "sha256:00"}


def gather(vault: Vault, count: int) -> list[str]:
    """``count`` people with a pass, of whom everything is held that can be, and half of whose fingerprints are gone."""
    people = [secrets.token_hex(16) for _ in range(count)]
    with vault.database.session() as session:
        session.execute(
            insert(SubjectRow), [{"id": each, "salt": secrets.token_hex(32), "created_at": AT} for each in people]
        )
        for purpose in ("pass_contract", "fingerprint_entry"):
            given = [
                {**_FIXED, "record": str(uuid.uuid4()), "subject": each, "purpose": purpose, "how": "a"}
                for each in people
            ]
            session.execute(insert(GrantRow), given)
        _leave_traces(session, people)
    with vault.database.session() as session:
        basic = {each: {"name": each, "phone": each, "id_number": each} for each in people}
        vault.seal_many(session, basic, ["pass_contract"], "counter")
        vault.seal_many(session, {each: {"fingerprint": PRINT} for each in people}, ["fingerprint_entry"], "counter")
    vault.open_many(["name"], None, "pass_contract", "gate")
    half = people[::2]
    for first in range(0, len(half), 100):
        _erase(vault, half[first : first + 100])
    with vault.database.session() as session:  # what waits for its certificate is work that is left to do
        session.execute(update(VaultErasure).values(state="certified", certificate="{}"))
    sequence(vault.database, vault.log)
    return people


def tidy(vault: Vault, *, count: bool) -> None:
    """What PostgreSQL does by itself within a minute or two: let old versions of rows go, and ``count`` the rows."""
    vacuum = "" if vault.database.embedded else "VACUUM "
    if vacuum or count:
        with vault.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"{vacuum}{'ANALYZE' if count else ''}")


def _leave_traces(session: Session, people: list[str]) -> None:
    answered = {"notice": "annual-pass", "number": 1, "accepted": False, "how": "a", "screen": "b", "answered_at": AT}
    expired = {"name": "pass_expired", "ref": "", "on": AT.date().replace(year=2090), "recorded_at": AT}
    session.execute(insert(NoticeAnswer), [{**answered, "subject": each} for each in people])
    session.execute(insert(RetentionEvent), [{**expired, "subject": each} for each in people])
    record_all(session, [Act("field:open", "purpose:pass_contract", _OPENED, AT) for _ in people])


def _erase(vault: Vault, people: list[str]) -> None:
    with vault.database.session() as session:
        grants.end_all(session, "fingerprint_entry", "expired", reason="crowd", at=AT, subjects=people)
        act, _ = erasure.begin(vault, session, "fingerprint_entry", people, "schedule", at=AT)
    assert act is not None
    erasure.complete(vault, act)


@contextmanager
def effort(vault: Vault) -> Iterator[list[int]]:
    """What the database did in the block, one number for each transaction, free of the clock.

    SQLite: steps of its virtual machine. PostgreSQL: rows and entries of indexes that were read.
    """
    engine, done = vault.database.engine, list[int]()
    count = _steps(done) if vault.database.embedded else _rows_read(done)
    for name, listener in count.items():
        event.listen(engine, name, listener)
    yield done
    for name, listener in count.items():
        event.remove(engine, name, listener)


def _steps(done: list[int]) -> dict[str, Any]:
    def begin(connection: Any) -> None:
        done.append(0)
        connection.connection.dbapi_connection.set_progress_handler(step, 1)

    def step() -> None:
        done[-1] += 1

    def end(connection: Any) -> None:
        connection.connection.dbapi_connection.set_progress_handler(None, 1)

    return {"begin": begin, "commit": end, "rollback": end}


def _rows_read(done: list[int]) -> dict[str, Any]:
    def read(connection: Any) -> int:
        return int(connection.exec_driver_sql(_ROWS_READ).scalar())

    def begin(connection: Any) -> None:
        done.append(-read(connection))

    def end(connection: Any) -> None:
        done[-1] += read(connection)

    return {"begin": begin, "commit": end}


_ROWS_READ = """
    SELECT sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid))
    FROM pg_class WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace
"""
