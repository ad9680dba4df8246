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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.consent import grants
from duecare.consent import subjects as people
from duecare.consent.grants import EndKind
from duecare.consent.models import GrantRow
from duecare.errors import UnknownName, UseError
from duecare.evidence import certificate as certificates
from duecare.evidence.certificate import REASONS
from duecare.evidence.outbox import record
from duecare.store.database import alone, parts, together
from duecare.vault import acts, certification
from duecare.vault.certification import Certified, Progress
from duecare.vault.models import (
    BLOB_LEFT,
    NOT_CERTIFIED,
    ErasureState,
    KeyState,
    VaultErasure,
    VaultKey,
    VaultValue,
    in_state,
)

if TYPE_CHECKING:
    from duecare.vault.records import Vault

END = {"withdrawal": EndKind.WITHDRAWAL, "purpose_ended": EndKind.PURPOSE_ENDED, "schedule": EndKind.EXPIRED,
        "request": EndKind.REQUEST}  # fmt: skip


STAY = frozenset({
    "subjects", "grants", "notice_answers", "vault_keys", "vault_values", "retention_events", "erasures", "openings",
    "opening_subjects", "legal_holds",
})  # fmt: skip
"""Tables whose rows keep the random name of a subject who was forgotten: they prove that the data was held with consent
and that it was erased. None has anything of what was held."""


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
    and used for nothing. ``pending``: why certificates wait. ``earlier``: where nothing was left, what had been erased
    before, by an earlier order or another process."""

    erasures: tuple[Erasure, ...]
    held: tuple[str, ...] = ()
    pending: str = ""
    earlier: tuple[Erasure, ...] = ()


@dataclass(frozen=True)
class Finished:
    """What was left to do. ``acts``: begun and now complete; ``certified``: certificates made; ``pending``: those that
    still wait for a witness, and ``witness`` why. ``ids``: the erasures whose certificates were made."""

    acts: int
    certified: int
    pending: int
    witness: str = ""
    ids: tuple[str, ...] = ()


def withdraw(
    vault: Vault, subject: str, purpose: str, *, how: str, screen: str, along: Callable[[Session], None] | None = None
) -> Outcome:
    """The person takes their grant back, and what is held for it is erased. Call it outside of any transaction.

    The end of the grant, the beginning of the erasure and what the caller does ``along`` with it are one transaction.
    Raises ``UseError`` where they never agreed to it. Withdrawn already, what is left is erased.
    """
    at = vault.clock.now()
    with vault.database.session() as session:
        if along is not None:
            along(session)
        people.lock(session, subject)
        stood = grants.standing(session, subject, purpose)
        ended = grants.withdraw(session, subject, purpose, how=how, screen=screen, at=at)
        kind = ended.end.kind if ended.end else EndKind.WITHDRAWAL
        act, held = begin(vault, session, purpose, [subject], reason_of(kind), at=at, always=bool(stood))
    return settle(vault, [act], [purpose] if held else [])


def erase(
    vault: Vault,
    subject: str,
    purposes: Sequence[str] | None = None,
    reason: str = "request",
    *,
    note: str = "",
    along: Callable[[Session], None] | None = None,
) -> Outcome:
    """Erase what is held of a subject for ``purposes`` (none: for all), because of ``reason``, one of ``REASONS``.

    Grants that stand are ended, in one transaction with the beginning of the erasure and what the caller does ``along``
    with it. Call it outside of any transaction. Raises ``UnknownName``, ``UseError``.
    """
    if reason not in REASONS:
        raise UnknownName("reason to erase", reason, list(REASONS))
    at, begun, kept = vault.clock.now(), list[str | None](), list[str]()
    with vault.database.session() as session:
        people.subject(session, subject)
        if along is not None:
            along(session)
        people.lock(session, subject)  # nothing is agreed to after it was listed what there is
        names = _purposes_of(session, subject) if purposes is None else list(purposes)
        for name in sorted(names):
            together(session, f"purpose:{name}")  # all before anything is locked that who ends one for all may want
        for name in names:
            stood = grants.standing(session, subject, name)
            grants.end(session, subject, name, END[reason], reason=note, at=at)
            act, held = begin(vault, session, name, [subject], reason, note=note, at=at, always=bool(stood))
            begun.append(act)
            kept += [name] if held else []
    outcome = settle(vault, begun, kept)
    if outcome.erasures or outcome.held:
        return outcome
    with vault.database.session() as session:
        earlier = [each for each in erasures(session, subject) if purposes is None or each.purpose in purposes]
    return replace(outcome, earlier=tuple(earlier))


def end_purpose(vault: Vault, purpose: str, *, note: str, along: Callable[[Session], None] | None = None) -> int:
    """The purpose is gone, for everyone: end its grants and erase what is held for it, as one set.

    What the caller does ``along`` with it is in the same transaction. Returns of how many subjects something was
    erased. Their certificates are made by ``finish``, or when they are asked for. Call it outside of any transaction.
    Raises ``UnknownName``, ``BadInput`` without a ``note``.
    """
    at = vault.clock.now()
    with vault.database.session() as session:
        if along is not None:
            along(session)
        grants.end_all(session, purpose, EndKind.PURPOSE_ENDED, reason=note, at=at)
        act, _ = begin(vault, session, purpose, None, "purpose_ended", note=note, at=at)
    if act is None:
        return 0
    complete(vault, act)
    certification.log_and_make(vault, [])
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
    held = acts.mark(session, act, purpose, subjects, spared=spared)
    row = {"act": act, "purpose": purpose, "reason": reason, "article": article, "note": note, "begun_at": utc(at)}
    without = list(subjects or ()) if always else []
    if without and spared:
        without = acts.not_held(session, purpose, without)
    if not acts.take(vault, session, row, without, at):
        return None, held
    acts.record_begin(session, row, at)
    return act, held


def kept_by_rules(vault: Vault, session: Session, purpose: str) -> bool:
    """Whether the rules have what is held for a purpose kept although the purpose ended, so that ``begin`` refuses."""
    return vault.decisions.keep(vault.purpose(session, purpose), due=False, ended=True, held=False).allowed


def complete(vault: Vault, act: str) -> None:
    """Steps 2 and 3: destroy the keys, empty the places, and say so. Complete already, nothing happens."""
    with vault.database.session() as session:
        purpose = acts.begun(session, act)
        if purpose is None:
            return
        gone = acts.erasing(vault, session, act, purpose)
        slots, blobs = acts.slots(session, act), acts.blobs(session, act)
    vault.slots.erase(slots)
    vault.blobs.remove(blobs)
    for place in vault.places:
        if not place.in_database:
            place.erase(gone, None)
    scrub(vault)
    with vault.database.session() as session:
        alone(session, "vault:erasures")
        if acts.begun(session, act) is None:
            return  # another process was faster
        total = acts.close(session, act, vault.clock.now())
    vault.slots.count_erasures(total)


def settle(vault: Vault, begun: Sequence[str | None], held: Sequence[str] = ()) -> Outcome:
    """Steps 2 to 4 of acts that were begun and committed; ``None`` among them began nothing. Killed before it is done,
    ``finish`` does it."""
    done = [act for act in begun if act is not None]
    for act in done:
        complete(vault, act)
    with vault.database.session() as session:
        asked = select(VaultErasure.id).where(VaultErasure.act.in_(done)).order_by(VaultErasure.purpose)
        ids = list(session.scalars(asked))
    _, why = certification.log_and_make(vault, ids)
    return Outcome(tuple(get(vault, each) for each in ids), tuple(held), why)


def finish(vault: Vault, *, certify: bool = True, progress: Progress | None = None) -> Finished:
    """Do what was left undone: acts that a kill interrupted, files of values that are gone, certificates that waited.

    ``certify`` false: leave the witness alone. ``progress`` is told how many certificates are made, and of how many.
    """
    with vault.database.session() as session:
        begun = session.scalars(_BEGUN).all()
    for act in begun:
        complete(vault, act)
    _remove_left(vault)
    done = certification.make_waiting(vault, progress) if certify else Certified(certification.waiting(vault))
    return Finished(len(begun), len(done.ids), done.pending, done.why, done.ids)


def sweep(vault: Vault) -> int:
    """Remove sealed files that no value names: a process was killed before it committed them. Returns how many.

    Those of the last day are left alone: somebody may be about to commit.
    """
    before = vault.clock.now().timestamp() - 24 * 3600
    old = [value for value, at in vault.blobs.values() if at < before]
    with vault.database.session() as session:
        known = {each for part in parts(old) for each in session.scalars(_NAMED.where(VaultValue.id.in_(part)))}
    return vault.blobs.remove(each for each in old if each not in known) + vault.blobs.drop_partials(before)


def certificate(vault: Vault, erasure: str) -> bytes:
    """The certificate of an erasure, made now where it is not there yet. Call it outside of any transaction.

    Raises ``UnknownName``, ``BadInput`` where there is no witness, ``WitnessUnavailable``, ``EvidenceBroken``.
    """
    if get(vault, erasure).state is ErasureState.BEGUN:
        finish(vault, certify=False)
    return certification.certificate(vault, erasure)


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

    From then on no commitment in the log can be made again, by us neither: the log alone names nobody. What we keep of
    their certificates loses the holder's part, which only they have then. What stays: the rows of ``STAY`` keep the
    random name, and the log names some of them by number (``grant:7``), so that whoever has the database and knows from
    elsewhere who had that name can still tie those entries to them. Raises ``UnknownName``, ``UseError`` while
    something is held or a certificate waits for its witness. Forgotten already, nothing happens.
    """
    if people.subject(session, subject).salt is None:
        return
    live = exists().where(VaultKey.subject == subject, ~in_state(VaultKey, KeyState.ERASED))
    waiting = exists().where(VaultErasure.subject == subject, NOT_CERTIFIED)
    for stands, what, hint in (
        (live, "something is held of them", "Erase it first: duecare erase SUBJECT --all."),
        (waiting, "a certificate of theirs waits for its witness", "duecare erase --finish asks again."),
    ):
        if session.scalar(select(stands)):
            raise UseError(f"The subject {subject} cannot be forgotten: {what}.", hint=hint)
    record(session, "subject:forget", "subjects", {"subject": people.commitment(session, subject)}, at)
    for row in session.scalars(select(VaultErasure).where(VaultErasure.subject == subject)):
        document = json.loads(row.certificate or "{}")
        document.pop("holder", None)
        row.certificate = certificates.certificate_bytes(document).decode()
    session.execute(
        update(VaultValue)
        .where(VaultValue.subject == subject)
        .values(salt="")
        .execution_options(synchronize_session=False)
    )
    people.forget_salt(session, subject)


def reason_of(kind: EndKind) -> str:
    """Why something is erased whose grant ended so."""
    return next((reason for reason, end in END.items() if end is kind), "withdrawal")


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


def _remove_left(vault: Vault) -> None:
    """Remove the files of values that were superseded, or erased before a kill."""
    with vault.database.session() as session:
        left = session.scalars(_NAMED.where(BLOB_LEFT)).all()
    vault.blobs.remove(left)
    for part in parts(left):
        with vault.database.session() as session:
            forgetting = update(VaultValue).where(VaultValue.id.in_(part)).values(blob=False)
            session.execute(forgetting.execution_options(synchronize_session=False))


def _purposes_of(session: Session, subject: str) -> list[str]:
    keys = select(VaultKey.purpose).where(VaultKey.subject == subject, in_state(VaultKey, KeyState.LIVE))
    standing = select(GrantRow.purpose).where(GrantRow.subject == subject, GrantRow.ended_at.is_(None))
    return sorted({*session.scalars(keys), *session.scalars(standing)})


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
_BEGUN = select(VaultErasure.act).where(NOT_CERTIFIED, in_state(VaultErasure, ErasureState.BEGUN)).distinct()
