"""Taking personal data in: sealed for the purposes that it is collected for, or allowed for one more.

The rule of this module: nothing is kept for a purpose that the person's grant does not stand for when it commits; all
that a call names is kept, or nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Insert, bindparam, delete, exists, insert, select, update
from sqlalchemy.orm import Session

from duecare.consent.fields import PersonalField, fields
from duecare.consent.models import GrantRow, SubjectRow
from duecare.consent.purposes import Activity
from duecare.consent.subjects import commitment
from duecare.errors import BadInput, DuecareError, Erased, UnknownName, UseError
from duecare.evidence.commitment import SALT_SIZE, commit
from duecare.evidence.outbox import record
from duecare.rules.decision import Decision
from duecare.store.database import alone, in_order, parts, together
from duecare.vault import fields as sealing
from duecare.vault.decisions import situation_of
from duecare.vault.entries import about, committed, digest, not_granted, one_line, reasons
from duecare.vault.fields import Context
from duecare.vault.index import look_up
from duecare.vault.keys import purpose_key, unwrap_data_key, wrap_data_key
from duecare.vault.models import KeyState, ValueState, VaultKey, VaultLookup, VaultValue, VaultWrap, in_state
from duecare.vault.openings import missing
from duecare.vault.slots import Slot
from duecare.vault.succession import follow

if TYPE_CHECKING:
    from duecare.vault.records import Vault

Value = str | bytes


def seal_many(
    vault: Vault, session: Session, rows: Mapping[str, Mapping[str, Value]], purposes: Sequence[str], actor: str
) -> int:
    """``Vault.seal_many``."""
    names = sorted({name for values in rows.values() for name in values})
    if not names or not purposes or len(set(purposes)) < len(purposes):
        raise BadInput(
            f"There is nothing to seal: fields {names}, purposes {list(purposes)}.",
            hint="Name at least one value, and each purpose once.",
        )
    one_line(actor=actor)
    at = vault.clock.now()
    known = _declared(session, names)
    _check(rows, known)
    keys, decided = dict[str, dict[str, tuple[str, bytes]]](), list[Decision]()
    for purpose in sorted(purposes):
        together(session, f"purpose:{purpose}")  # whoever ends grants of many to it, does so before or after
    for purpose in sorted(purposes):
        granted, decisions = _grants(vault, session, purpose, names, sorted(rows), actor, Activity.COLLECT)
        decided += decisions
        keys[purpose] = _keys(vault, session, purpose, granted, at)
    sealed = _seal(vault, session, rows, known, keys, at)
    who = _commitments(session, list(rows))
    body = {
        "by": actor,
        "fields": names,
        "purposes": sorted(purposes),
        "values": len(sealed),
        "values_sha256": digest(sealed),
        "reasons": reasons(decided),
        **({"subject": who[0]} if len(who) == 1 else about(who)),
    }
    record(session, "field:seal", f"purpose:{'+'.join(sorted(purposes))}", body, at)
    return len(sealed)


def allow(vault: Vault, session: Session, subject: str, names: Sequence[str], purpose: str, actor: str) -> None:
    """``Vault.allow``."""
    one_line(actor=actor)
    at = vault.clock.now()
    _declared(session, names)
    together(session, f"purpose:{purpose}")
    granted, decisions = _grants(vault, session, purpose, sorted(names), [subject], actor, Activity.USE)
    key_id, key = _keys(vault, session, purpose, granted, at)[subject]
    wraps = []
    for name in sorted(names):
        source = session.execute(
            select(VaultKey.id, VaultKey.slot, VaultKey.purpose, VaultWrap.wrapped, VaultWrap.value_id)
            .join(VaultWrap, VaultWrap.key_id == VaultKey.id)
            .join(VaultValue, VaultValue.id == VaultWrap.value_id)
            .where(VaultKey.subject == subject, VaultWrap.field == name, in_state(VaultKey, KeyState.LIVE))
            .where(in_state(VaultValue, ValueState.HELD))
            .order_by(VaultValue.sealed_at.desc())
            .limit(1)
            .with_for_update(read=True, of=VaultValue)  # an erasure for the other purpose empties it before, or not
        ).first()
        if source is None:
            raise missing(session, name, subject, purpose)
        other = purpose_key(vault.slots.key(Slot(source.slot, source.id)), source.id, subject, source.purpose)
        wrapped = wrap_data_key(key, unwrap_data_key(other, source.wrapped))
        wraps.append({"key_id": key_id, "field": name, "value_id": source.value_id, "wrapped": wrapped})
    _place(session, wraps, at)
    body = {
        "by": actor,
        "fields": sorted(names),
        "purpose": purpose,
        "subject": commitment(session, subject),
        "reasons": reasons(decisions),
    }
    record(session, "field:allow", f"purpose:{purpose}", body, at)


def _declared(session: Session, names: Sequence[str]) -> dict[str, PersonalField]:
    known = {each.name: each for each in fields(session)}
    for name in names:
        if name not in known:
            raise UnknownName("field", name, sorted(known))
    return known


def _check(rows: Mapping[str, Mapping[str, Value]], known: Mapping[str, PersonalField]) -> None:
    """Refuse a value that is not of its form before anything is written."""
    for values in rows.values():
        for name, value in values.items():
            sealing.encoded(name, known[name].form, value)


def _grants(
    vault: Vault,
    session: Session,
    purpose: str,
    names: Sequence[str],
    subjects: Sequence[str],
    actor: str,
    activity: Activity,
) -> tuple[dict[str, int], list[Decision]]:
    """The standing grants (subject → id) under which ``names`` are taken in. Raises ``NotGranted`` if one lacks.

    The grants are locked: one that is withdrawn meanwhile waits until the caller has committed, and then erases.
    """
    condition, decisions = vault.decisions.allowed(vault.versions(session, purpose), activity, names, actor)
    granted: dict[str, int] = {}
    for part in parts(subjects):
        standing = select(GrantRow.subject, GrantRow.id).where(
            GrantRow.purpose == purpose, GrantRow.ended_at.is_(None), GrantRow.subject.in_(part), condition
        )
        locked = session.execute(standing.with_for_update(read=True, of=GrantRow))
        granted.update((row.subject, row.id) for row in locked)
    lacking = [subject for subject in subjects if subject not in granted]
    if lacking:
        raise _denial(vault, session, purpose, names, lacking, actor, activity)
    return granted, decisions


def _denial(
    vault: Vault,
    session: Session,
    purpose: str,
    names: Sequence[str],
    lacking: Sequence[str],
    actor: str,
    activity: Activity,
) -> DuecareError:
    """What the rules say to the first of those for whom they do not allow it."""
    if session.get(SubjectRow, lacking[0]) is None:
        return UnknownName("subject", lacking[0], [])
    situation, version = situation_of(session, lacking[0], purpose)
    decision = vault.decisions.process(vault.purpose(session, purpose, version), activity, names, situation, actor)
    error = not_granted(purpose, decision, vault.home.settings.language)
    if len(lacking) > 1:
        error.message += f" So it is for {len(lacking)} subjects; nothing was sealed."
    return error


def _keys(
    vault: Vault, session: Session, purpose: str, granted: Mapping[str, int], at: datetime
) -> dict[str, tuple[str, bytes]]:
    """The id and purpose key of each subject; made where there is none yet."""
    if len(_live_keys(session, purpose, granted)) < len(granted):
        alone(session, f"vault:keys:{purpose}")
        _hold_keys(session, purpose, granted)
        follow(session, purpose, list(granted))
    else:
        _hold_keys(session, purpose, granted)
    found = _live_keys(session, purpose, granted)
    lacking = [subject for subject in granted if subject not in found]
    _refuse_what_is_left(session, purpose, lacking)
    slots = vault.slots.make([secrets.token_hex(16) for _ in lacking])
    rows = [
        {
            "id": slot.key,
            "subject": subject,
            "purpose": purpose,
            "grant_id": granted[subject],
            "slot": slot.number,
            "state": KeyState.LIVE.value,
            "made_at": at,
        }
        for subject, slot in zip(lacking, slots, strict=True)
    ]
    if rows:
        _insert(session, _KEYS, rows)
    found.update(zip(lacking, slots, strict=True))
    made = {}
    for (subject, slot), key in zip(found.items(), vault.slots.keys(list(found.values())), strict=True):
        if key is None:
            raise Erased(f"The key {slot.key} was erased.", hint="Open the vault again: it finishes the erasure.")
        made[subject] = (slot.key, purpose_key(key, slot.key, subject, purpose))
    return made


def _live_keys(session: Session, purpose: str, granted: Mapping[str, int]) -> dict[str, Slot]:
    found = dict[str, Slot]()
    for part in parts(sorted(granted)):
        rows = session.execute(
            select(VaultKey.subject, VaultKey.id, VaultKey.slot, VaultKey.grant_id).where(_live(purpose, part))
        )
        found.update((row.subject, Slot(row.slot, row.id)) for row in rows if row.grant_id == granted[row.subject])
    return found


def _hold_keys(session: Session, purpose: str, granted: Mapping[str, int]) -> None:
    """Let nobody else seal under these keys, or erase them, until the caller has committed."""
    for part in parts(sorted(granted)):
        in_order(session, select(VaultKey.id).where(_live(purpose, part)).order_by(VaultKey.subject))


def _refuse_what_is_left(session: Session, purpose: str, lacking: Sequence[str]) -> None:
    """Refuse to seal for a newer grant beside what an ended one left: it is erased first."""
    for part in parts(lacking):
        left = session.scalar(select(VaultKey.subject).where(_live(purpose, part)).limit(1))
        if left is not None:
            raise UseError(
                f"What was held of the subject {left} for {purpose} under a grant that has ended is still there.",
                hint="duecare retention run erases it; seal anew then. What a legal hold keeps, stays.",
            )


def _live(purpose: str, subjects: Sequence[str]) -> ColumnElement[bool]:
    return (VaultKey.purpose == purpose) & in_state(VaultKey, KeyState.LIVE) & VaultKey.subject.in_(subjects)


def _seal(
    vault: Vault,
    session: Session,
    rows: Mapping[str, Mapping[str, Value]],
    known: Mapping[str, PersonalField],
    keys: Mapping[str, Mapping[str, tuple[str, bytes]]],
    at: datetime,
) -> list[str]:
    """Seal and store; returns the commitments of the values."""
    values, wraps, lookups, blobs = list[Any](), list[Any](), list[Any](), dict[str, bytes]()
    commitments: list[str] = []
    index = (0, b"")
    if _finds(rows, known):
        together(session, "vault:index")  # a rotation waits for us, and then makes what we made again
        index = vault.index.newest(session, at)
    for subject, given in rows.items():
        for name, value in given.items():
            field = known[name]
            context = Context(secrets.token_hex(16), subject, name, field.form)
            sealed = sealing.seal(context, value)
            blob = field.form == "bytes" or len(sealed.ciphertext) > sealing.BLOB_FROM
            if blob:
                blobs[context.value] = sealed.ciphertext
            salt = secrets.token_bytes(SALT_SIZE)
            commitments.append(commit(sealing.described(context, sealed.digest), salt).text)
            row = {"id": context.value, "subject": subject, "field": name, "form": context.form, "blob": blob}
            row |= {"ciphertext": None if blob else sealed.ciphertext, "digest": sealed.digest, "salt": salt.hex()}
            values.append({**row, "state": ValueState.HELD.value, "sealed_at": at})
            for of_purpose in keys.values():
                key_id, key = of_purpose[subject]
                wrapped = wrap_data_key(key, sealed.data_key)
                wraps.append({"key_id": key_id, "field": name, "value_id": context.value, "wrapped": wrapped})
            if field.lookup and isinstance(value, str):
                found_by = look_up(index[1], name, value)
                lookups.append({"value_id": context.value, "field": name, "digest": found_by, "generation": index[0]})
    vault.blobs.put(blobs)
    _insert(session, _VALUES, values)
    _place(session, wraps, at)
    if lookups:
        _insert(session, _LOOKUPS, lookups)
    return commitments


def _finds(rows: Mapping[str, Mapping[str, Value]], known: Mapping[str, PersonalField]) -> bool:
    return any(known[name].lookup for values in rows.values() for name in values)


def _place(session: Session, wraps: list[dict[str, Any]], at: datetime) -> None:
    """Put ``wraps`` in the place of those of the same keys and fields; values that nothing wraps are superseded."""
    wanted = {(each["key_id"], each["field"]) for each in wraps}
    replaced: set[str] = set()
    names = sorted({name for _, name in wanted})
    for part in parts(sorted({key for key, _ in wanted})):
        theirs = select(VaultWrap.value_id).where(VaultWrap.key_id.in_(part), VaultWrap.field.in_(names))
        # Of two that take the last wraps of a value at once, the second is to see that it was the last.
        in_order(session, select(VaultValue.id).where(VaultValue.id.in_(theirs)).order_by(VaultValue.id))
        old = select(VaultWrap.key_id, VaultWrap.field, VaultWrap.value_id).where(
            VaultWrap.key_id.in_(part), VaultWrap.field.in_(names)
        )
        gone = [row for row in session.execute(old) if (row.key_id, row.field) in wanted]
        if gone:
            session.connection().execute(_DROP, [{"of_key": row.key_id, "of_field": row.field} for row in gone])
        replaced.update(row.value_id for row in gone)
    _insert(session, _WRAPS, wraps)
    for part in parts(sorted(replaced)):
        unwrapped = VaultValue.id.in_(part) & ~exists().where(VaultWrap.value_id == VaultValue.id)
        session.execute(delete(VaultLookup).where(VaultLookup.value_id.in_(select(VaultValue.id).where(unwrapped))))
        gone_with = {"state": ValueState.SUPERSEDED.value, "ciphertext": None, "gone_at": at}
        session.execute(
            update(VaultValue).where(unwrapped).values(gone_with).execution_options(synchronize_session=False)
        )


def _commitments(session: Session, subjects: Sequence[str]) -> list[str]:
    asked = (select(SubjectRow.id, SubjectRow.salt).where(SubjectRow.id.in_(part)) for part in parts(subjects))
    return [committed(row.id, row.salt or "") for each in asked for row in session.execute(each)]


def _insert(session: Session, into: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows as they are: nothing of them is held in the session, which for many costs more than the sealing."""
    session.flush()
    session.connection().execute(into, rows)


_KEYS = insert(VaultKey.__table__)  # type: ignore[arg-type]
_VALUES = insert(VaultValue.__table__)  # type: ignore[arg-type]
_WRAPS = insert(VaultWrap.__table__)  # type: ignore[arg-type]
_LOOKUPS = insert(VaultLookup.__table__)  # type: ignore[arg-type]
_DROP = delete(VaultWrap).where(VaultWrap.key_id == bindparam("of_key"), VaultWrap.field == bindparam("of_field"))
