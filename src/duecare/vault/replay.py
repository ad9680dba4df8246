"""Older copies: what a restored database, log or ``keys/`` brought back is erased again before anything is opened.

The log says which erasures there were, the database and the slots file each count theirs, and a witness remembers how
long the log was. Whichever of them is older than the others is found out, and made to agree with the newest. What stops
or puts off an erasure (legal holds, the days from which retention runs) comes back from the log too, and what a person
answered to a notice; so does what the systems registered (``copies``).

The rule of this module: erased is erased. What one of them knows as erased opens nowhere, whatever the others say; and
nothing more is erased than was before, because something was forgotten.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from duecare.consent import grants, purposes
from duecare.consent.grants import EndKind
from duecare.consent.models import GrantRow, NoticeAnswer, NoticeVersion
from duecare.errors import KeyLost, UnknownName, UseError
from duecare.evidence.certificate import KIND
from duecare.evidence.outbox import EvidenceEntry, LoggedEntry, adopt, read_entries, record
from duecare.store.database import alone, parts
from duecare.vault import acts, copies, erasure, rotation
from duecare.vault.copies import Again, Copy, Missing
from duecare.vault.entries import committed
from duecare.vault.models import (
    KeyState,
    LegalHold,
    RetentionEvent,
    VaultErasure,
    VaultIndexKey,
    VaultKey,
    VaultMark,
    in_state,
)
from duecare.vault.slots import Slot, SlotState

if TYPE_CHECKING:
    from duecare.vault.records import Vault

ADOPT = "evidence:adopt"
_BEGIN = "erasure:begin"


@dataclass(frozen=True)
class Replayed:
    """What was done again: of how many ``erasures`` the database had lost, how many ``slots`` were destroyed, and how
    many acts of systems, by kind of evidence. ``missing``: what the log alone could not bring back."""

    erasures: int = 0
    slots: int = 0
    again: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()


def recover(vault: Vault) -> Replayed:
    """Bring database, slots and log together; finish what a kill left. Cheap where there is nothing to do.

    Raises ``EvidenceBroken`` where the log was put back to an older copy: by what the database knows of it, or a
    witness.
    """
    vault.newest.ask()
    adopt(vault.database, vault.log, vault.clock)
    done = _replay(vault)
    erasure.finish(vault, certify=False)
    slots = _compare(vault)
    try:
        rotation.finish(vault)
    except KeyLost as error:
        structlog.get_logger().warning("rotation not finished", why=str(error))
    return replace(done, slots=done.slots + slots)


def _replay(vault: Vault) -> Replayed:
    """Do again what the database had lost, and has adopted from the log since."""
    with vault.database.session() as session:
        if not _unseen(vault, session):
            return Replayed()
    with vault.database.session() as session:
        alone(session, "vault:replay")
        adopted = _unseen(vault, session)
        if not adopted:
            return Replayed()
        first = min(_body(each)["from_leaf"] for each in adopted)
        begun = read_entries(vault.log, first, [_BEGIN])
        slots = vault.slots.erase([slot for entry in begun for slot in _slots(entry)])
        work = _Again(vault, session)
        done = work.all(read_entries(vault.log, first, work.kinds))
        session.get_one(VaultMark, 1).adopted = max(each.id for each in adopted)
        return _say(vault, session, first, Replayed(done, slots, dict(work.copy.done), work.copy.missing))


def _say(vault: Vault, session: Session, first: int, done: Replayed) -> Replayed:
    """Leave evidence of what was done again, and of what is missing."""
    log, at = vault.log.key.name, vault.clock.now()
    missing = Counter[str]()
    for each in done.missing:
        missing[each.what] += each.count
    body = {"from_leaf": first, "erasures": done.erasures, "slots": done.slots, "again": done.again}
    record(session, "erasure:replay", f"log:{log}", {**body, "missing": dict(missing)}, at)
    copies.record_missing(session, log, done.missing, at)
    if missing:
        structlog.get_logger().warning("not in this copy of the database, and not in the log", **missing)
    return done


def _unseen(vault: Vault, session: Session) -> list[EvidenceEntry]:
    mark = session.get_one(VaultMark, 1)
    about = (EvidenceEntry.subject == f"log:{vault.log.key.name}") & (EvidenceEntry.kind == ADOPT)
    return list(session.scalars(select(EvidenceEntry).where(about, EvidenceEntry.id > mark.adopted)))


def _body(row: EvidenceEntry) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(row.body)
    return body


def _slots(entry: LoggedEntry) -> Iterator[Slot]:
    for each in entry.body["keys"]:
        yield Slot(each["slot"], each["key"])


class _Again:
    """The acts of the log, done again on a database that had lost them. Done already, nothing happens."""

    def __init__(self, vault: Vault, session: Session) -> None:
        self._vault, self._session, self._at = vault, session, vault.clock.now()
        self.copy = Copy(session, self._at)
        self._does: dict[str, list[Again]] = defaultdict(list)
        ours: dict[str, Again] = {
            "grant:end": self._end,
            "purpose:end": self._end_purpose,
            _BEGIN: self._begin,
            "subject:forget": self._forget,
            "legal_hold:place": self._hold,
            "legal_hold:lift": self._lift,
            "retention:event": self._event,
            "notice:answer": self._answer,
            KIND: self._complete,
        }
        for each in (ours, *vault.replays):
            for kind, does in each.items():
                self._does[kind].append(does)

    @property
    def kinds(self) -> list[str]:
        """The kinds of evidence that anything is done again from."""
        return list(self._does)

    def all(self, entries: Iterable[LoggedEntry]) -> int:
        """Do the acts of ``entries`` again, in the order of the log; returns how many erasures were."""
        before = self._session.scalar(select(func.count()).select_from(VaultErasure)) or 0
        for entry in entries:
            for does in self._does[entry.kind]:
                does(self.copy, entry)
        _move_holds(self._session)
        return (self._session.scalar(select(func.count()).select_from(VaultErasure)) or 0) - before

    def _end(self, copy: Copy, entry: LoggedEntry) -> None:
        body = entry.body
        if body["kind"] == EndKind.SUPERSEDED:
            return  # the newer grant is lost; the one that the person gave before stands
        which = GrantRow.ended_at.is_(None) & (GrantRow.purpose == body["purpose"])
        if "up_to" in body:
            which &= GrantRow.id <= body["up_to"]
        else:
            which &= GrantRow.id.in_(body.get("grants") or [body["grant"]])
        subjects = list(self._session.scalars(select(GrantRow.subject).where(which)))
        if "subject" in body:
            subjects = [each for each in subjects if copy.subject(body["subject"]) == each]
        if subjects:
            grants.end_all(
                self._session, body["purpose"], body["kind"], reason=body["reason"], at=entry.at, how=body["how"],
                screen=body["screen"], subjects=subjects, recorded_at=self._at,
            )  # fmt: skip

    def _end_purpose(self, copy: Copy, entry: LoggedEntry) -> None:
        with suppress(UnknownName):
            purposes.end(
                self._session,
                entry.body["purpose"],
                reason=entry.body["reason"],
                at=entry.at,
                recorded_at=self._at,
            )

    def _begin(self, copy: Copy, entry: LoggedEntry) -> None:
        body = entry.body
        for part in parts([each["key"] for each in body["keys"]]):
            live = VaultKey.id.in_(part) & (in_state(VaultKey, KeyState.LIVE))
            marked = {"state": KeyState.ERASING.value, "act": body["act"]}
            self._session.execute(
                update(VaultKey).where(live).values(marked).execution_options(synchronize_session=False)
            )
        marked_now = (VaultKey.act == body["act"]) & (in_state(VaultKey, KeyState.ERASING))
        listed = select(VaultErasure.subject).where(VaultErasure.act == body["act"])
        fresh = self._session.scalars(select(VaultKey.subject).where(marked_now, VaultKey.subject.not_in(listed))).all()
        if fresh:
            self._end_standing(body["purpose"], body["reason"], fresh, entry.at)
            row = {name: body[name] for name in ("act", "purpose", "reason", "article")}
            acts.take(self._vault, self._session, {**row, "note": "", "begun_at": entry.at}, (), entry.at)

    def _complete(self, copy: Copy, entry: LoggedEntry) -> None:
        body = entry.body
        noted = {"entry": entry.id, "erased_at": entry.at}
        row = self._session.get(VaultErasure, body["certificate"])
        if row is None:
            # There was no key in this copy, but there may be more of the person than what was sealed.
            subject = copy.subject(body["subject"])
            if subject is None:
                return
            self._end_standing(body["purpose"], body["reason"], [subject], entry.at)
            fixed = {name: body[name] for name in ("purpose", "reason", "article")}
            act = secrets.token_hex(16)
            whole = {**fixed, "act": act, "note": "", "begun_at": entry.at}
            acts.take(self._vault, self._session, whole, [subject], entry.at, body["certificate"])
        fresh = (VaultErasure.id == body["certificate"]) & VaultErasure.entry.is_(None)
        self._session.execute(
            update(VaultErasure).where(fresh).values(noted).execution_options(synchronize_session=False)
        )

    def _forget(self, copy: Copy, entry: LoggedEntry) -> None:
        subject = copy.subject(entry.body["subject"])
        if subject is not None:
            with suppress(UseError):
                erasure.forget(self._session, subject, self._at)

    def _hold(self, copy: Copy, entry: LoggedEntry) -> None:
        """The hold as it was placed, under its own number, which a later entry may lift."""
        body, number = entry.body, int(entry.subject.removeprefix("legal_hold:"))
        if self._session.get(LegalHold, number) is not None:
            return
        subject = None
        if "subject" in body:
            # Of one who came after this copy nothing is here to be kept; the hold stays on record, on nobody else.
            subject = copy.subject(body["subject"]) or _stand_in(body["subject"])
        row = {name: body[name] for name in ("purpose", "article", "reason")}
        self._session.add(LegalHold(id=number, subject=subject, placed_by=body["by"], placed_at=entry.at, **row))
        self._session.flush()

    def _lift(self, copy: Copy, entry: LoggedEntry) -> None:
        row = self._session.get(LegalHold, int(entry.subject.removeprefix("legal_hold:")))
        if row is not None and row.lifted_at is None:
            row.lifted_by, row.lift_reason, row.lifted_at = entry.body["by"], entry.body["reason"], entry.at
            self._session.flush()

    def _event(self, copy: Copy, entry: LoggedEntry) -> None:
        """The event as it was recorded: on the ``ref`` of this copy that the log's commitment is of."""
        body = entry.body
        subject = copy.subject(body["subject"])
        if subject is None:
            return
        theirs = (RetentionEvent.subject == subject) & (RetentionEvent.name == body["event"])
        known = set(self._session.scalars(select(RetentionEvent.ref).where(theirs)))
        if "ref" in body:
            salt = copy.salt(subject)
            same = (each for each in known if each and committed(each, salt) == body["ref"])
            refs = {next(same, _stand_in(body["ref"]) if body["ref"] else "")}
        else:
            # Which one it was of is not known: a day is added to the others, and what was called off, for all of them;
            # so that nothing falls due too early.
            refs = {f"entry:{entry.id}"} if body["on"] else known
        on = date.fromisoformat(body["on"]) if body["on"] else None
        same_day = RetentionEvent.on.is_(None) if on is None else RetentionEvent.on == on
        recorded = theirs & same_day & (RetentionEvent.recorded_at == entry.at)
        refs -= set(self._session.scalars(select(RetentionEvent.ref).where(recorded)))
        self._session.add_all(
            RetentionEvent(subject=subject, name=body["event"], ref=ref, on=on, recorded_at=entry.at)
            for ref in sorted(refs)
        )
        self._session.flush()

    def _answer(self, copy: Copy, entry: LoggedEntry) -> None:
        """What a person answered to a version of a notice that this copy has."""
        body = entry.body
        subject = copy.subject(body["subject"])
        shown = self._session.get(NoticeVersion, (body["notice"], body["version"]))
        if subject is None or shown is None or shown.digest != body["sha256"]:
            return
        said = {name: body[name] for name in ("notice", "accepted", "how", "screen")}
        row = {**said, "subject": subject, "number": body["version"], "answered_at": entry.at}
        if self._session.scalar(select(NoticeAnswer.id).filter_by(**row).limit(1)) is None:
            self._session.add(NoticeAnswer(**row))
            self._session.flush()
            copy.done[entry.kind] += 1

    def _end_standing(self, purpose: str, reason: str, subjects: Sequence[str], at: datetime) -> None:
        grants.end_all(
            self._session, purpose, erasure.END[reason], reason="replayed from the log", at=at, subjects=subjects,
            recorded_at=self._at,
        )  # fmt: skip


def _stand_in(commitment: str) -> str:
    """What stands for something that the copy does not have: 32 digits of its commitment."""
    return commitment.removeprefix("sha256:")[:32]


def _move_holds(session: Session) -> None:
    """Let the next hold have a number that no hold had. SQLite moves on by itself with each row."""
    if session.connection().dialect.name == "postgresql":
        session.execute(
            text(
                "SELECT setval(pg_get_serial_sequence('legal_holds', 'id'), "
                "GREATEST((SELECT coalesce(max(id), 1) FROM legal_holds), "
                "nextval(pg_get_serial_sequence('legal_holds', 'id'))))"
            )
        )


def _compare(vault: Vault) -> int:
    """Bring the slots file and the database together where one of them has missed erasures; slots destroyed again."""
    with vault.database.session() as session:
        known = session.get_one(VaultMark, 1).erasures
    counted = vault.slots.erasures
    if counted == known:
        return 0
    destroyed = 0
    if counted < known:
        with vault.database.session() as session:
            slots = [
                Slot(row.slot, row.id)
                for table in (VaultKey, VaultIndexKey)
                for row in session.execute(select(table.slot, table.id).where(in_state(table, KeyState.ERASED)))
            ]
        destroyed = vault.slots.erase(slots)
        vault.slots.count_erasures(known)
    else:
        _take_destroyed(vault, counted)
    return destroyed


def _take_destroyed(vault: Vault, counted: int) -> None:
    """Erase in the database what has lost its slot: erasures that neither it nor the log remember."""
    erased = {key for key, state in vault.slots.states() if state is SlotState.ERASED}
    at = vault.clock.now()
    with vault.database.session() as session:
        alone(session, "vault:replay")
        live = select(VaultKey.id, VaultKey.subject, VaultKey.purpose).where(in_state(VaultKey, KeyState.LIVE))
        found: dict[str, list[str]] = {}
        for row in session.execute(live):
            if row.id in erased:
                found.setdefault(row.purpose, []).append(row.subject)
        for purpose, subjects in found.items():
            grants.end_all(session, purpose, EndKind.REQUEST, reason=_FOUND, at=at, subjects=subjects)
            erasure.begin(vault, session, purpose, subjects, "request", note=_FOUND, at=at, despite_holds=True)
    erasure.finish(vault, certify=False)
    with vault.database.session() as session:
        mark = session.get_one(VaultMark, 1)
        mark.erasures = max(mark.erasures, counted)
        total = mark.erasures
    vault.slots.count_erasures(total)


_FOUND = "its key had been destroyed before this copy of the database was put back"
