"""Erasure: what is held of a subject for a purpose ends, everywhere, and leaves a certificate.

Four steps. (1) One transaction: the grant has ended, the keys are marked, wraps and look-ups are deleted, ciphertexts
that no purpose wraps any more are emptied, and evidence is left: from here on nothing opens. (2) The slots of the keys
are destroyed, and the places outside of the database are emptied. (3) One transaction: the keys are erased, and the
entry says what, why, when and where. (4) The log takes it, a witness cosigns, the certificate is made and kept.

The rule of this module: each step can be done again. Killed anywhere, an erasure has not begun or will be finished; no
copy that is put back revives what it took.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, exists, insert, literal, or_, select, true, update
from sqlalchemy.orm import Session, aliased

from duecare.clock import utc
from duecare.consent import grants
from duecare.consent import subjects as people
from duecare.consent.grants import EndKind
from duecare.consent.models import GrantRow, SubjectRow
from duecare.errors import UnknownName, UseError, WitnessUnavailable
from duecare.evidence import certificate as certificates
from duecare.evidence.certificate import KIND, REASONS, Opening
from duecare.evidence.commitment import SALT_SIZE, commit
from duecare.evidence.outbox import Act, EvidenceEntry, record, record_all, sequence
from duecare.store.database import Moment, alone
from duecare.vault.fields import Context, described
from duecare.vault.keys import Slot
from duecare.vault.models import (
    ErasureState,
    KeyState,
    LegalHold,
    ValueState,
    VaultErasure,
    VaultKey,
    VaultLookup,
    VaultMark,
    VaultValue,
    VaultWrap,
)
from duecare.vault.places import Erasing

if TYPE_CHECKING:
    from duecare.vault.records import Vault

LISTED = 1000
"""Keys that one entry of evidence names, at most."""

_AT_ONCE = 200  # certificates that are made without being asked for
_PART = 5000
END = {"withdrawal": EndKind.WITHDRAWAL, "purpose_ended": EndKind.PURPOSE_ENDED, "schedule": EndKind.EXPIRED,
        "request": EndKind.REQUEST}  # fmt: skip


@dataclass(frozen=True)
class Erasure:
    """What of one subject was erased for one purpose. ``certificate``: the file, none while a witness is waited for."""

    id: str
    subject: str
    purpose: str
    reason: str
    article: str
    note: str
    state: ErasureState
    begun_at: datetime
    erased_at: datetime | None
    entry: int | None
    places: Mapping[str, int]
    certificate: bytes | None


@dataclass(frozen=True)
class Outcome:
    """What an order to erase came to. ``held``: the purposes for which a legal hold keeps what is there; it is stored,
    and used for nothing."""

    erasures: tuple[Erasure, ...]
    held: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finished:
    """What was left to do. ``acts``: begun and now complete; ``certified``: certificates made; ``pending``: those that
    still wait for a witness, and ``witness`` why."""

    acts: int
    certified: int
    pending: int
    witness: str = ""


def withdraw(vault: Vault, subject: str, purpose: str, *, how: str, screen: str) -> Outcome:
    """The person takes their grant back, and what is held for it is erased. Call it outside of any transaction.

    The end of the grant and the beginning of the erasure are one transaction. Raises ``UseError`` where they never
    agreed to it. Withdrawn already, what is left is erased.
    """
    at = vault.clock.now()
    with vault.database.session() as session:
        stood = grants.standing(session, subject, purpose)
        ended = grants.withdraw(session, subject, purpose, how=how, screen=screen, at=at)
        kind = ended.end.kind if ended.end else EndKind.WITHDRAWAL
        act, held = begin(vault, session, purpose, [subject], reason_of(kind), at=at, always=bool(stood))
    return _finished(vault, [act], [purpose] if held else [])


def erase(
    vault: Vault, subject: str, purposes: Sequence[str] | None = None, reason: str = "request", *, note: str = ""
) -> Outcome:
    """Erase what is held of a subject for ``purposes`` (none: for all), because of ``reason``, one of ``REASONS``.

    Grants that stand are ended. Call it outside of any transaction. Raises ``UnknownName``, ``UseError``.
    """
    if reason not in REASONS:
        raise UnknownName("reason to erase", reason, list(REASONS))
    at, acts, kept = vault.clock.now(), list[str | None](), list[str]()
    with vault.database.session() as session:
        names = _purposes_of(session, subject) if purposes is None else list(purposes)
        for name in names:
            stood = grants.standing(session, subject, name)
            grants.end(session, subject, name, END[reason], reason=note, at=at)
            act, held = begin(vault, session, name, [subject], reason, note=note, at=at, always=bool(stood))
            acts.append(act)
            kept += [name] if held else []
    return _finished(vault, acts, kept)


def end_purpose(vault: Vault, purpose: str, *, note: str) -> int:
    """The purpose is gone, for everyone: end its grants and erase what is held for it, as one set.

    Returns of how many subjects something was erased. Their certificates are made when they are asked for. Call it
    outside of any transaction. Raises ``UnknownName``, ``BadInput`` without a ``note``.
    """
    at = vault.clock.now()
    with vault.database.session() as session:
        grants.end_all(session, purpose, EndKind.PURPOSE_ENDED, reason=note, at=at)
        act, _ = begin(vault, session, purpose, None, "purpose_ended", note=note, at=at)
    if act is None:
        return 0
    complete(vault, act)
    sequence(vault.database, vault.log)
    with vault.database.session() as session:
        return len(session.scalars(select(VaultErasure.id).where(VaultErasure.act == act)).all())


def begin(
    vault: Vault,
    session: Session,
    purpose: str,
    subjects: Sequence[str] | None,
    reason: str,
    *,
    at: datetime,
    note: str = "",
    always: bool = False,
    despite_holds: bool = False,
) -> tuple[str | None, int]:
    """Step 1, in the caller's transaction, in which their grants have ended: of ``subjects``, or of all with a key.

    Returns the act to ``complete`` after the commit, none where nothing is erased; and how many a legal hold keeps.
    ``always``: also of those of whom nothing was sealed, who are to have it certified that nothing is left.
    ``despite_holds``: the keys are gone already. Raises ``UseError`` where the rules do not have it erased.
    """
    declared = vault.purpose(session, purpose)
    due = reason == "schedule"
    free = vault.decisions.keep(declared, due=due, ended=not due, held=False)
    if free.allowed:
        raise UseError(f"The rules keep what is held for {purpose}.", hint="duecare policies check shows which.")
    article = "; ".join(dict.fromkeys(each.article for each in free.reasons if each.article)) or "PIPL art. 47"
    spared = not despite_holds and vault.decisions.keep(declared, due=due, ended=not due, held=True).allowed
    act = secrets.token_hex(16)
    held = _mark(session, act, purpose, subjects, spared=spared)
    row = {"act": act, "purpose": purpose, "reason": reason, "article": article, "note": note, "begun_at": utc(at)}
    without = list(subjects or ()) if always else []
    if without and spared:
        without = _not_held(session, purpose, without)
    if not take(vault, session, row, without, at):
        return None, held
    _record_begin(session, row, at)
    return act, held


def take(
    vault: Vault,
    session: Session,
    row: Mapping[str, Any],
    without: Sequence[str],
    at: datetime,
    name: str = "",
) -> tuple[str, ...]:
    """Take out of the database what goes with the marked keys of an act, and with subjects ``without`` one.

    ``row``: what the rows of the act's erasures have in common; ``name``: the id of the one without a key. Returns of
    whom something is erased.
    """
    _list(session, row, without, name)
    erasing = _erasing(vault, session, row["act"], row["purpose"])
    if erasing.subjects:
        _count(vault, session, row["act"], erasing)
        _empty(session, row["act"], at)
        for place in vault.places:
            if place.in_database:
                place.erase(erasing, session)
    return erasing.subjects


def complete(vault: Vault, act: str) -> None:
    """Steps 2 and 3: destroy the keys, empty the places, and say so. Complete already, nothing happens."""
    with vault.database.session() as session:
        row = session.execute(
            select(VaultErasure.purpose).where(VaultErasure.act == act, VaultErasure.state == ErasureState.BEGUN)
        ).first()
        if row is None:
            return
        erasing = _erasing(vault, session, act, row.purpose)
        slots = [
            Slot(each.slot, each.id)
            for each in session.execute(select(VaultKey.slot, VaultKey.id).where(VaultKey.act == act))
        ]
        blobs = session.scalars(select(VaultValue.id).where(VaultValue.act == act, VaultValue.blob)).all()
    vault.slots.erase(slots)
    vault.blobs.remove(blobs)
    for place in vault.places:
        if not place.in_database:
            place.erase(erasing, None)
    scrub(vault)
    at = vault.clock.now()
    with vault.database.session() as session:
        alone(session, "vault:erasures")
        still = exists().where(VaultErasure.act == act, VaultErasure.state == ErasureState.BEGUN)
        if not session.scalar(select(still)):
            return
        session.execute(_quietly(update(VaultKey).where(VaultKey.act == act).values(state="erased", erased_at=at)))
        session.execute(_quietly(update(VaultValue).where(VaultValue.act == act).values(blob=False)))
        _record_complete(session, act, at)
        total = mark_done(session)
    vault.slots.count_erasures(total)


def finish(vault: Vault, *, certify: bool = True) -> Finished:
    """Do what was left undone: acts that a kill interrupted, files of values that are gone, certificates that waited.

    ``certify`` false: leave the witness alone.
    """
    with vault.database.session() as session:
        acts = session.scalars(
            select(VaultErasure.act).where(VaultErasure.state == ErasureState.BEGUN).distinct()
        ).all()
    for act in acts:
        complete(vault, act)
    _remove_left(vault)
    made, pending, why = _certify(vault) if certify else (0, _waiting(vault), "")
    return Finished(len(acts), made, pending, why)


def sweep(vault: Vault) -> int:
    """Remove sealed files that no value names: a process was killed before it committed them. Returns how many.

    Those of the last day are left alone: somebody may be about to commit.
    """
    before = vault.clock.now().timestamp() - 24 * 3600
    old = [value for value, at in vault.blobs.values() if at < before]
    with vault.database.session() as session:
        known = {each for part in _parts(old) for each in session.scalars(_NAMED.where(VaultValue.id.in_(part)))}
    return vault.blobs.remove(each for each in old if each not in known)


def certificate(vault: Vault, erasure: str) -> bytes:
    """The certificate of an erasure, made now where it is not there yet. Call it outside of any transaction.

    Raises ``UnknownName``, ``BadInput`` where there is no witness, ``WitnessUnavailable``, ``EvidenceBroken``.
    """
    found = get(vault, erasure)
    if found.state is ErasureState.BEGUN:
        finish(vault, certify=False)
        found = get(vault, erasure)
    if found.certificate is not None:
        return found.certificate
    sequence(vault.database, vault.log)
    return _make(vault, erasure)


def get(vault: Vault, erasure: str) -> Erasure:
    """One erasure. Raises ``UnknownName``."""
    with vault.database.session() as session:
        row = session.get(VaultErasure, erasure)
    if row is None:
        raise UnknownName("erasure", erasure, [])
    return _read(row)


def erasures(session: Session, subject: str) -> list[Erasure]:
    """What was erased of a subject, oldest first."""
    asked = select(VaultErasure).where(VaultErasure.subject == subject)
    return [_read(row) for row in session.scalars(asked.order_by(VaultErasure.begun_at, VaultErasure.purpose))]


def forget(session: Session, subject: str, at: datetime) -> None:
    """Forget the salts of a subject of whom everything is erased, in the caller's transaction.

    From then on nobody, we included, can tie an entry of the log to them. What we keep of their certificates loses the
    holder's part, which only they have then. Raises ``UnknownName``, ``UseError`` while something is held or a
    certificate waits for its witness. Forgotten already, nothing happens.
    """
    if people.subject(session, subject).salt is None:
        return
    live = exists().where(VaultKey.subject == subject, VaultKey.state != KeyState.ERASED)
    waiting = exists().where(VaultErasure.subject == subject, VaultErasure.state != ErasureState.CERTIFIED)
    for stands, what, hint in (
        (live, "something is held of them", "Erase it first: duecare erase SUBJECT."),
        (waiting, "a certificate of theirs waits for its witness", "duecare erase --finish asks again."),
    ):
        if session.scalar(select(stands)):
            raise UseError(f"The subject {subject} cannot be forgotten: {what}.", hint=hint)
    record(session, "subject:forget", "subjects", {"subject": people.commitment(session, subject)}, at)
    for row in session.scalars(select(VaultErasure).where(VaultErasure.subject == subject)):
        document = json.loads(row.certificate or "{}")
        document.pop("holder", None)
        row.certificate = certificates.certificate_bytes(document).decode()
    session.execute(_quietly(update(VaultValue).where(VaultValue.subject == subject).values(salt="")))
    people.forget_salt(session, subject)


def reason_of(kind: EndKind) -> str:
    """Why something is erased whose grant ended so."""
    return next((reason for reason, end in END.items() if end is kind), "withdrawal")


def held_sql(purpose: Any, subject: Any) -> ColumnElement[bool]:
    """SQL: a legal hold on ``subject`` for ``purpose`` (columns or values) stands."""
    return exists().where(
        LegalHold.lifted_at.is_(None),
        or_(LegalHold.subject.is_(None), LegalHold.subject == subject),
        or_(LegalHold.purpose.is_(None), LegalHold.purpose == purpose),
    )


def scrub(vault: Vault) -> bool:
    """Have the embedded database write over what was deleted, in its file and its journal; whether it could now.

    Its pages are zeroed as they are freed (secure_delete); older images of them stand in the write-ahead log until it
    is emptied, which a reader may hold up: then it is done next time. PostgreSQL does this in its own time (VACUUM).
    """
    if not vault.database.embedded:
        return True
    connection = vault.database.engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (busy, _, _) = cursor.fetchone() or (1, 0, 0)
        cursor.close()
    finally:
        connection.close()
    return not busy


def _finished(vault: Vault, acts: Sequence[str | None], held: Sequence[str]) -> Outcome:
    done = [act for act in acts if act is not None]
    for act in done:
        complete(vault, act)
    sequence(vault.database, vault.log)
    with vault.database.session() as session:
        asked = select(VaultErasure.id).where(VaultErasure.act.in_(done)).order_by(VaultErasure.purpose)
        ids = list(session.scalars(asked))
    if vault.witnesses:
        try:
            for each in ids:
                _make(vault, each)
        except WitnessUnavailable:
            pass  # pending: ``finish`` makes them
    return Outcome(tuple(get(vault, each) for each in ids), tuple(held))


def _remove_left(vault: Vault) -> None:
    """Remove the files of values that were superseded, or erased before a kill."""
    with vault.database.session() as session:
        left = session.scalars(_NAMED.where(VaultValue.blob, VaultValue.state != ValueState.HELD)).all()
    vault.blobs.remove(left)
    for part in _parts(left):
        with vault.database.session() as session:
            session.execute(_quietly(update(VaultValue).where(VaultValue.id.in_(part)).values(blob=False)))


def _purposes_of(session: Session, subject: str) -> list[str]:
    keys = select(VaultKey.purpose).where(VaultKey.subject == subject, VaultKey.state == KeyState.LIVE)
    standing = select(GrantRow.purpose).where(GrantRow.subject == subject, GrantRow.ended_at.is_(None))
    return sorted({*session.scalars(keys), *session.scalars(standing)})


def _mark(session: Session, act: str, purpose: str, subjects: Sequence[str] | None, *, spared: bool) -> int:
    """Mark the live keys that go; returns how many a legal hold keeps."""
    live = (VaultKey.purpose == purpose) & (VaultKey.state == KeyState.LIVE)
    held = held_sql(purpose, VaultKey.subject) if spared else ~true()
    kept = 0
    for part in [None] if subjects is None else _parts(subjects):
        whose = live if part is None else live & VaultKey.subject.in_(part)
        if spared:
            kept += len(session.scalars(select(VaultKey.id).where(whose, held)).all())
        marking = update(VaultKey).where(whose, ~held).values(state=KeyState.ERASING.value, act=act)
        session.execute(_quietly(marking))
    return kept


def _not_held(session: Session, purpose: str, subjects: Sequence[str]) -> list[str]:
    kept = [
        each
        for part in _parts(subjects)
        for each in session.scalars(
            select(SubjectRow.id).where(SubjectRow.id.in_(part), ~held_sql(purpose, SubjectRow.id))
        )
    ]
    return kept


def _list(session: Session, row: Mapping[str, Any], without: Sequence[str], name: str) -> None:
    """A row for each subject: under the id of the key, or where they had none, under ``name`` or an id of its own."""
    other, stood = aliased(VaultKey), aliased(GrantRow)
    last = ~or_(
        exists().where(other.subject == VaultKey.subject, other.state == KeyState.LIVE),
        exists().where(stood.subject == VaultKey.subject, stood.ended_at.is_(None)),
    )
    fixed = {**row, "places": "{}", "state": ErasureState.BEGUN.value}
    columns = ["id", "subject", "last", *fixed]
    values = [literal(each, Moment()) if name == "begun_at" else literal(each) for name, each in fixed.items()]
    asked = select(VaultKey.id, VaultKey.subject, last, *values).where(VaultKey.act == row["act"])
    session.execute(insert(VaultErasure).from_select(columns, asked))
    if not without:
        return
    listed = set(session.scalars(select(VaultErasure.subject).where(VaultErasure.act == row["act"])))
    for subject in without:
        if subject not in listed:
            live = exists().where(VaultKey.subject == subject, VaultKey.state == KeyState.LIVE)
            standing = exists().where(GrantRow.subject == subject, GrantRow.ended_at.is_(None))
            nothing = not session.scalar(select(or_(live, standing)))
            session.execute(
                insert(VaultErasure),
                [{**fixed, "id": name or secrets.token_hex(16), "subject": subject, "last": nothing}],
            )


def _erasing(vault: Vault, session: Session, act: str, purpose: str) -> Erasing:
    asked = select(VaultErasure.subject, VaultErasure.last).where(VaultErasure.act == act)
    rows = session.execute(asked.order_by(VaultErasure.subject)).all()
    last = frozenset(row.subject for row in rows if row.last)
    return Erasing(vault.home, purpose, tuple(row.subject for row in rows), last)


def _count(vault: Vault, session: Session, act: str, erasing: Erasing) -> None:
    """Note how much each place holds of each subject before it is emptied."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for place in vault.places:
        for subject, count in place.count(erasing, session).items():
            found[subject][place.name] = count
    for subject, places in found.items():
        mine = (VaultErasure.act == act) & (VaultErasure.subject == subject)
        session.execute(_quietly(update(VaultErasure).where(mine).values(places=json.dumps(places, sort_keys=True))))


def _empty(session: Session, act: str, at: datetime) -> None:
    """Delete the wraps of the marked keys, and empty the values that no other key wraps."""
    mine, other, key = aliased(VaultWrap), aliased(VaultWrap), aliased(VaultKey)
    marked = select(VaultKey.id).where(VaultKey.act == act)
    wrapped = select(mine.value_id).where(mine.key_id.in_(marked))
    elsewhere = (
        exists()
        .where(other.value_id == VaultValue.id, key.id == other.key_id)
        .where(or_(key.act.is_(None), key.act != act))
    )
    emptied = update(VaultValue).where(VaultValue.id.in_(wrapped), ~elsewhere)
    session.execute(_quietly(emptied.values(state=ValueState.ERASED.value, ciphertext=None, act=act, gone_at=utc(at))))
    gone = select(VaultValue.id).where(VaultValue.act == act)
    session.execute(_quietly(delete(VaultLookup).where(VaultLookup.value_id.in_(gone))))
    session.execute(_quietly(delete(VaultWrap).where(VaultWrap.key_id.in_(marked))))


def _record_begin(session: Session, row: Mapping[str, Any], at: datetime) -> None:
    keys = session.execute(
        select(VaultKey.id, VaultKey.slot).where(VaultKey.act == row["act"]).order_by(VaultKey.slot)
    ).all()
    body = {name: row[name] for name in ("act", "purpose", "reason", "article")}
    acts = []
    for first in range(0, max(1, len(keys)), LISTED):
        listed = [{"key": each.id, "slot": each.slot} for each in keys[first : first + LISTED]]
        acts.append(Act("erasure:begin", f"erasure:{row['act']}", {**body, "keys": listed}, at))
    record_all(session, acts)


def _record_complete(session: Session, act: str, at: datetime) -> None:
    """Leave the entry of each erasure of the act, and note which it is."""
    asked = select(VaultErasure, SubjectRow.salt).join(SubjectRow, SubjectRow.id == VaultErasure.subject)
    rows = session.execute(asked.where(VaultErasure.act == act)).all()
    values: dict[str, list[VaultValue]] = defaultdict(list)
    for value in session.scalars(select(VaultValue).where(VaultValue.act == act).order_by(VaultValue.field)):
        values[value.subject].append(value)
    keys: dict[str, list[str]] = defaultdict(list)
    for key in session.execute(select(VaultKey.id, VaultKey.subject).where(VaultKey.act == act)):
        keys[key.subject].append(key.id)
    acts = [
        Act(KIND, f"erasure:{row.id}", _body(row, salt, values[row.subject], keys[row.subject], at), at)
        for row, salt in rows
        if row.entry is None
    ]
    record_all(session, acts)
    entry = select(EvidenceEntry.id).where(
        EvidenceEntry.subject == literal("erasure:").concat(VaultErasure.id), EvidenceEntry.kind == KIND
    )
    fresh = (VaultErasure.act == act) & VaultErasure.entry.is_(None)
    session.execute(
        _quietly(update(VaultErasure).where(fresh).values(entry=entry.scalar_subquery(), erased_at=utc(at)))
    )
    session.execute(
        _quietly(update(VaultErasure).where(VaultErasure.act == act).values(state=ErasureState.COMPLETE.value))
    )


def _body(row: VaultErasure, salt: str | None, values: Sequence[VaultValue], keys: list[str], at: datetime) -> Any:
    return {
        "certificate": row.id,
        "reason": row.reason,
        "article": row.article,
        "purpose": row.purpose,
        "subject": _committed(row.subject, salt).text,
        "fields": [{"field": value.field, "commitment": _value_committed(value).text} for value in values],
        "keys": keys,
        "places": [{"place": place, "removed": count} for place, count in sorted(json.loads(row.places).items())],
        "erased_at": utc(at).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
    }


def _committed(subject: str, salt: str | None) -> Any:
    # A salt that was forgotten cannot be had again: then the entry is of nobody that can be named.
    return commit(subject, bytes.fromhex(salt) if salt else secrets.token_bytes(SALT_SIZE))


def _value_committed(value: VaultValue) -> Any:
    context = Context(value.id, value.subject, value.field, value.form)
    return commit(described(context, value.digest), bytes.fromhex(value.salt))


def mark_done(session: Session) -> int:
    """Count one more act of erasure; the slots file is to count as many after the commit."""
    mark = session.get_one(VaultMark, 1)
    mark.erasures += 1
    session.flush()
    return mark.erasures


def _waiting(vault: Vault) -> int:
    with vault.database.session() as session:
        return len(session.scalars(select(VaultErasure.id).where(_OPEN)).all())


def _certify(vault: Vault) -> tuple[int, int, str]:
    sequence(vault.database, vault.log)
    if not vault.witnesses:
        return 0, _waiting(vault), "no witness is configured"
    with vault.database.session() as session:
        ids = session.scalars(select(VaultErasure.id).where(_OPEN).order_by(VaultErasure.entry).limit(_AT_ONCE)).all()
    made = 0
    try:
        for each in ids:
            _make(vault, each)
            made += 1
    except WitnessUnavailable as error:
        return made, _waiting(vault), str(error)
    return made, _waiting(vault), ""


def _make(vault: Vault, erasure: str) -> bytes:
    """Step 4, for one erasure whose entry is in the log."""
    with vault.database.session() as session:
        row = session.get_one(VaultErasure, erasure)
        salt = session.scalar(select(SubjectRow.salt).where(SubjectRow.id == row.subject))
        mine = (VaultValue.act == row.act) & (VaultValue.subject == row.subject)
        values = session.scalars(select(VaultValue).where(mine).order_by(VaultValue.field)).all()
    assert row.entry is not None
    openings = [_opening(_value_committed(each), described(_context(each), each.digest)) for each in values]
    if salt is not None:
        openings.insert(0, _opening(commit(row.subject, bytes.fromhex(salt)), row.subject))
    document = certificates.build(vault.database, vault.log, row.entry, vault.witnesses, openings if salt else ())
    data = certificates.certificate_bytes(document)
    with vault.database.session() as session:
        mine = (VaultErasure.id == erasure) & VaultErasure.certificate.is_(None)
        certified = {"certificate": data.decode(), "state": ErasureState.CERTIFIED.value}
        session.execute(_quietly(update(VaultErasure).where(mine).values(certified)))
    return data


def _context(value: VaultValue) -> Context:
    return Context(value.id, value.subject, value.field, value.form)


def _opening(commitment: Any, value: str) -> Opening:
    return Opening(commitment.text, commitment.salt, value)


def _read(row: VaultErasure) -> Erasure:
    return Erasure(
        id=row.id,
        subject=row.subject,
        purpose=row.purpose,
        reason=row.reason,
        article=row.article,
        note=row.note,
        state=ErasureState(row.state),
        begun_at=row.begun_at,
        erased_at=row.erased_at,
        entry=row.entry,
        places=json.loads(row.places),
        certificate=row.certificate.encode() if row.certificate is not None else None,
    )


_NAMED = select(VaultValue.id)
_OPEN = VaultErasure.state == ErasureState.COMPLETE


def _parts(subjects: Sequence[str]) -> list[Sequence[str]]:
    return [subjects[at : at + _PART] for at in range(0, len(subjects), _PART)]


def _quietly(statement: Any) -> Any:
    """A statement over many rows; nothing of them is held in the session."""
    return statement.execution_options(synchronize_session=False)
