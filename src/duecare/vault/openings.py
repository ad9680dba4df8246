"""Opening: the only way to a plaintext. It asks the rules, opens, and leaves evidence, in one transaction.

What was opened is handed over only after the evidence of it has committed; so is a refusal told. One person's field is
decided for their situation; a set is decided once, and a join says for whom.

The rule of this module: without a grant that stands for the purpose, and a key that was made for it, nothing opens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, and_, bindparam, exists, insert, or_, select
from sqlalchemy.orm import Session

from duecare.consent.fields import field as declared_field
from duecare.consent.models import GrantRow, SubjectRow
from duecare.consent.purposes import Activity
from duecare.errors import BadInput, DuecareError, Erased, NeverHeld, NotGranted, UnknownName
from duecare.evidence.outbox import Act, record_act
from duecare.store.database import parts
from duecare.vault import fields as sealing
from duecare.vault.decisions import situation_of, standing
from duecare.vault.entries import about, committed, not_granted, one_line, reasons
from duecare.vault.fields import Context
from duecare.vault.index import look_up
from duecare.vault.keys import purpose_key, unwrap_data_key
from duecare.vault.models import (
    KeyState,
    OpeningSubject,
    ValueState,
    VaultErasure,
    VaultKey,
    VaultLookup,
    VaultOpening,
    VaultValue,
    VaultWrap,
    in_state,
)
from duecare.vault.slots import Slot
from duecare.vault.succession import follow

if TYPE_CHECKING:
    from duecare.vault.records import Vault

Value = str | bytes
_Row = Row[*tuple[Any, ...]]


@dataclass(frozen=True)
class Opened:
    """What a bulk opening gave: ``rows`` of subject, field and value, by subject; ``entry`` of evidence.

    ``unopened``: the subjects that were asked for and of whom nothing was opened, each once.
    """

    rows: list[tuple[str, str, Value]]
    entry: int
    unopened: tuple[str, ...]


@dataclass(frozen=True)
class Opening:
    """That something of a person was opened: ``kind`` is ``open``, ``bulk``, ``find`` or ``export``; ``subjects``: of
    how many people at once; ``entry`` of evidence."""

    at: datetime
    kind: str
    fields: tuple[str, ...]
    purpose: str
    by: str
    why: str
    subjects: int
    entry: int


@dataclass(frozen=True)
class _Asked:
    """Who asks for what, when and why."""

    kind: str
    fields: tuple[str, ...]
    purpose: str
    actor: str
    why: str
    at: datetime


def open_one(vault: Vault, field: str, subject: str, purpose: str, actor: str, why: str) -> Value:
    """``Vault.open``."""
    asked = _ask(vault, "open", [field], purpose, actor, why)
    with vault.database.engine.begin() as connection:
        row = _one(connection, field, subject, purpose)
        failed, named = _allows(vault, connection, row, asked, subject)
        value: Value = b""
        if failed is None:
            try:
                key = purpose_key(vault.slots.key(Slot(row.slot, row.key_id)), row.key_id, subject, purpose)
                value = unseal(vault, row, subject, key)
            except Erased as error:
                failed = error
        if failed is None:
            _note(connection, asked, named, [subject], [row.salt])
        else:
            _refuse(connection, asked, named, failed, subject, row.salt)
    if failed is not None:
        raise failed
    return value


def open_many(
    vault: Vault, fields: Sequence[str], subjects: Sequence[str] | None, purpose: str, actor: str, why: str, kind: str
) -> Opened:
    """``Vault.open_many``."""
    if not fields or len(set(fields)) < len(fields):
        raise BadInput(f"The fields are {list(fields)}.", hint="Name at least one, and each once.")
    asked = _ask(vault, kind, sorted(fields), purpose, actor, why)
    with vault.database.session() as session:
        connection = session.connection()
        for name in fields:
            declared_field(session, name)
        condition, decided = vault.decisions.allowed(vault.versions(session, purpose), Activity.USE, fields, actor)
        if not any(each.allowed for each in decided):
            refused = not_granted(purpose, decided[0], vault.home.settings.language)
            _refuse(connection, asked, [reason.id for reason in decided[0].reasons], refused, "", None)
        else:
            refused = None
            found = _set(connection, asked, subjects, condition)
            if stale := [row.subject for row in found if row.key_grant != row.grant_id]:
                follow(session, purpose, stale)
                again = _set(connection, asked, subjects, condition)
                found = [row for row in again if row.key_grant == row.grant_id]
            rows, who = _unseal_all(vault, found, purpose)
            entry = _note(connection, asked, reasons(decided), list(who), list(who.values()))
    if refused is not None:
        raise refused
    return Opened(rows, entry, tuple(each for each in dict.fromkeys(subjects or ()) if each not in who))


def find_all(vault: Vault, field: str, value: str, purpose: str, actor: str) -> list[str]:
    """``Vault.find_all``."""
    asked = _ask(vault, "find", [field], purpose, actor, "")
    found: dict[str, str] = {}
    refused: DuecareError | None = None
    with vault.database.session() as session:
        connection = session.connection()
        if not declared_field(session, field).lookup:
            raise BadInput(
                f"Nobody is found by {field}: the field was declared without lookup.",
                hint="Declare it with lookup, and seal it anew.",
            )
        condition, decided = vault.decisions.allowed(vault.versions(session, purpose), Activity.USE, [field], actor)
        if not any(each.allowed for each in decided):
            refused = not_granted(purpose, decided[0], vault.home.settings.language)
            _refuse(connection, asked, [reason.id for reason in decided[0].reasons], refused, "", None)
        else:
            values = _looked_up(vault, session, field, value)
            matching = _matching(connection, asked, values, condition)
            if stale := [subject for subject, (_, serves) in matching.items() if not serves]:
                follow(session, purpose, stale)
                matching = _matching(connection, asked, values, condition)
            found = {subject: salt for subject, (salt, serves) in matching.items() if serves}
            _note(connection, asked, reasons(decided), list(found), list(found.values()))
    if refused is not None:
        raise refused
    return sorted(found)


def openings(session: Session, subject: str) -> list[Opening]:
    """Who opened what of this person, for which purpose, when and why; oldest first. Finding them counts too."""
    of_many = select(OpeningSubject.entry).where(OpeningSubject.subject == subject)
    mine = or_(VaultOpening.subject == subject, VaultOpening.entry.in_(of_many))
    return [
        Opening(
            row.opened_at, row.kind, (*row.fields.split(","),), row.purpose, row.by, row.why, row.subjects, row.entry
        )
        for row in session.scalars(select(VaultOpening).where(mine).order_by(VaultOpening.entry))
    ]


def missing(session: Session, field: str, subject: str, purpose: str) -> DuecareError:
    """Why there is nothing to open for a purpose that stands."""
    rows = session.execute(
        select(VaultValue.state, VaultValue.act, VaultKey.purpose)
        .join(VaultWrap, VaultWrap.value_id == VaultValue.id, isouter=True)
        .join(VaultKey, VaultKey.id == VaultWrap.key_id, isouter=True)
        .where(VaultValue.subject == subject, VaultValue.field == field)
        .order_by(VaultValue.sealed_at.desc())
    ).all()
    held = {row.purpose for row in rows if row.state == ValueState.HELD and row.purpose is not None}
    others = sorted(held - {purpose})
    if others:
        return NotGranted(
            f"{field} is held for {', '.join(others)}, not for {purpose}.",
            hint=f"What was collected for one purpose serves no other: seal it for {purpose}, or allow it.",
        )
    if purpose in held:
        return NotGranted(
            f"{field} is held for {purpose} under a grant that has ended; the one that stands came later.",
            hint="What was withdrawn is not taken up again: the next retention run erases it; collect it anew.",
        )
    act = next((row.act for row in rows if row.state == ValueState.ERASED), None)
    if act is not None:
        return _erased(session, field, subject, act)
    return NeverHeld(
        f"No {field} of the subject {subject} was ever sealed for {purpose}.",
        hint="duecare held SUBJECT lists what is held.",
    )


def _ask(vault: Vault, kind: str, fields: Sequence[str], purpose: str, actor: str, why: str) -> _Asked:
    one_line(actor=actor)
    vault.newest.require()
    return _Asked(kind, tuple(fields), purpose, actor, why, vault.clock.now())


def _one(connection: Connection, field: str, subject: str, purpose: str) -> _Row:
    given = {"subject": subject, "purpose": purpose, "field": field}
    row = connection.execute(_ONE, given).first()
    if row is None:
        raise UnknownName("subject", subject, [])
    if row.grant_id is not None and row.key_id is not None and row.key_grant != row.grant_id:
        with Session(connection) as session:
            follow(session, purpose, [subject])
        row = connection.execute(_ONE, given).one()
    return row


def _allows(
    vault: Vault, connection: Connection, row: _Row, asked: _Asked, subject: str
) -> tuple[DuecareError | None, list[str]]:
    """Why the field is not opened, none where it is; and the ids of the policies that decided."""
    (field,) = asked.fields
    with Session(connection) as session:
        version = row.version
        situation = standing(separate=row.separate)
        if row.grant_id is None:
            situation, version = situation_of(session, subject, asked.purpose)
        purpose = vault.purpose(session, asked.purpose, version)
        decision = vault.decisions.process(purpose, Activity.USE, asked.fields, situation, asked.actor)
        named = [each.id for each in decision.reasons]
        if not decision.allowed:
            gone = _gone(session, field, subject, asked.purpose)
            declared_field(session, field)
            return gone or not_granted(asked.purpose, decision, vault.home.settings.language), named
        if row.value_id is None or row.key_grant != row.grant_id:
            return missing(session, field, subject, asked.purpose), named
    return None, named


def _gone(session: Session, field: str, subject: str, purpose: str) -> Erased | None:
    """The error that says when ``field`` was erased, where it had been held for ``purpose``."""
    key = session.execute(
        select(VaultKey.act, VaultKey.state)
        .where(VaultKey.subject == subject, VaultKey.purpose == purpose)
        .order_by(VaultKey.grant_id.desc())
        .limit(1)
    ).first()
    if key is None or key.state == KeyState.LIVE:
        return None
    held = exists().where(VaultValue.subject == subject, VaultValue.field == field)
    return _erased(session, field, subject, key.act) if session.scalar(select(held)) else None


def _erased(session: Session, field: str, subject: str, act: str | None) -> Erased:
    row = session.scalar(select(VaultErasure).where(VaultErasure.act == act, VaultErasure.subject == subject))
    when = f" on {row.begun_at:%Y-%m-%d} ({row.reason}, certificate {row.id})" if row else ""
    return Erased(
        f"{field} of the subject {subject} was erased{when}.",
        hint="Nothing brings it back; if the person agrees anew, it is collected anew.",
        erasure=row.id if row else "",
        at=row.begun_at if row else None,
    )


def _looked_up(vault: Vault, session: Session, field: str, value: str) -> list[str]:
    """The ids of the values that look like ``value``."""
    live: list[tuple[int, bytes]] = []
    found: list[str] = []
    # A rotation moves look-ups forward, and may have begun another generation while the earlier ones were asked.
    while live != (now := vault.index.live(session)):
        live, found = now, []
        for _, key in live:
            found += (
                session.connection()
                .execute(_LOOKED_UP, {"field": field, "digest": look_up(key, field, value)})
                .scalars()
            )
    return found


def _matching(
    connection: Connection, asked: _Asked, values: Sequence[str], condition: Any
) -> dict[str, tuple[str, bool]]:
    """Subject → salt, and whether the key serves the grant that stands; of ``values`` held for the purpose.

    A step at a time, from the few values to their wraps, keys and grants, and each step by one index: asked as one
    join, a database that has not counted its rows may begin with all the keys of the purpose.
    """
    wraps = [row.key_id for part in parts(values) for row in connection.execute(_WRAPPING, {"values": part})]
    keys = {
        row.subject: row.grant_id
        for part in parts(wraps)
        for row in connection.execute(_NAMED_KEYS, {"keys": part})
        if row.purpose == asked.purpose and row.state == KeyState.LIVE
    }
    standing = (
        select(GrantRow.subject, GrantRow.id, SubjectRow.salt)
        .join(SubjectRow, SubjectRow.id == GrantRow.subject)
        .where(GrantRow.purpose == asked.purpose, GrantRow.ended_at.is_(None), condition)
    )
    found = (connection.execute(standing.where(GrantRow.subject.in_(part))) for part in parts(list(keys)))
    return {row.subject: (row.salt, row.id == keys[row.subject]) for rows in found for row in rows}


def _set(connection: Connection, asked: _Asked, subjects: Sequence[str] | None, condition: Any) -> list[_Row]:
    """What is held for the purpose by those whose grants stand and fulfil ``condition``."""
    rows = (
        select(*_SEALED, SubjectRow.salt, GrantRow.subject, GrantRow.id.label("grant_id"))
        .select_from(GrantRow)
        .join(
            VaultKey,
            and_(
                VaultKey.subject == GrantRow.subject,
                VaultKey.purpose == GrantRow.purpose,
                in_state(VaultKey, KeyState.LIVE),
            ),
        )
        .join(VaultWrap, and_(VaultWrap.key_id == VaultKey.id, VaultWrap.field.in_(asked.fields)))
        .join(VaultValue, VaultValue.id == VaultWrap.value_id)
        .join(SubjectRow, SubjectRow.id == GrantRow.subject)
        .where(GrantRow.purpose == asked.purpose, GrantRow.ended_at.is_(None), condition)
        .order_by(GrantRow.subject, VaultWrap.field)
    )
    if subjects is None:
        return list(connection.execute(rows).all())
    named = (rows.where(GrantRow.subject.in_(part)) for part in parts(sorted(set(subjects))))
    return [row for each in named for row in connection.execute(each).all()]


def _unseal_all(
    vault: Vault, found: Sequence[_Row], purpose: str
) -> tuple[list[tuple[str, str, Value]], dict[str, str]]:
    """The plaintexts, and the salts of the subjects; one whose key is being erased is passed over."""
    slots = {row.key_id: row for row in found}
    held = vault.slots.keys([Slot(row.slot, name) for name, row in slots.items()])
    keys = {
        name: purpose_key(key, name, row.subject, purpose)
        for (name, row), key in zip(slots.items(), held, strict=True)
        if key is not None
    }
    rows = [
        (row.subject, row.field, unseal(vault, row, row.subject, keys[row.key_id]))
        for row in found
        if row.key_id in keys
    ]
    return rows, {row.subject: row.salt for name, row in slots.items() if name in keys}


def unseal(vault: Vault, row: _Row, subject: str, wrapping: bytes) -> Value:
    """The plaintext of one row, which has the columns of ``_SEALED``, by its ``purpose_key``. It comes to be here and
    nowhere else."""
    data_key = unwrap_data_key(wrapping, row.wrapped)
    ciphertext = vault.blobs.get(row.value_id) if row.blob else row.ciphertext
    return sealing.unseal(Context(row.value_id, subject, row.field, row.form), ciphertext, data_key)


def _note(
    connection: Connection, asked: _Asked, named: list[str], subjects: Sequence[str], salts: Sequence[str]
) -> int:
    """Leave evidence of an opening, and let its subjects know of it; the id of the entry."""
    commitments = [committed(subject, salt) for subject, salt in zip(subjects, salts, strict=True)]
    one = asked.kind == "open"
    body = {"by": asked.actor, "fields": list(asked.fields), "purpose": asked.purpose, "reasons": named}
    body |= {"subject": commitments[0]} if one else about(commitments)
    entry = record_act(connection, Act(f"field:{asked.kind}", f"purpose:{asked.purpose}", body, asked.at))
    opening = {
        "entry": entry,
        "kind": asked.kind,
        "purpose": asked.purpose,
        "fields": ",".join(asked.fields),
        "by": asked.actor,
        "why": asked.why,
        "subject": subjects[0] if one else None,
        "subjects": len(subjects),
        "opened_at": asked.at,
    }
    connection.execute(_OPENING, opening)
    if subjects and not one:
        connection.execute(_OPENED, [{"subject": subject, "entry": entry} for subject in subjects])
    return entry


def _refuse(
    connection: Connection, asked: _Asked, named: list[str], error: DuecareError, subject: str, salt: str | None
) -> None:
    """Leave evidence that an opening was refused; of a subject who is forgotten nothing new is recorded."""
    if subject and salt is None:
        return
    body = {"by": asked.actor, "fields": list(asked.fields), "purpose": asked.purpose, "reasons": named}
    body |= {"error": type(error).__name__}
    body |= {"subject": committed(subject, salt)} if salt is not None else {}
    record_act(connection, Act("field:refuse", f"purpose:{asked.purpose}", body, asked.at))


_OPENING = insert(VaultOpening.__table__)  # type: ignore[arg-type]
_OPENED = insert(OpeningSubject.__table__)  # type: ignore[arg-type]

# The generation of a look-up is not asked for: its digest could be made under the key of that generation alone.
_LOOKED_UP = select(VaultLookup.value_id).where(
    VaultLookup.field == bindparam("field"), VaultLookup.digest == bindparam("digest")
)
_WRAPPING = select(VaultWrap.key_id).where(VaultWrap.value_id.in_(bindparam("values", expanding=True)))
_NAMED_KEYS = select(VaultKey.subject, VaultKey.grant_id, VaultKey.purpose, VaultKey.state).where(
    VaultKey.id.in_(bindparam("keys", expanding=True))
)

_SEALED = (
    VaultKey.id.label("key_id"),
    VaultKey.slot,
    VaultKey.grant_id.label("key_grant"),
    VaultWrap.field,
    VaultWrap.wrapped,
    VaultValue.id.label("value_id"),
    VaultValue.form,
    VaultValue.blob,
    VaultValue.ciphertext,
)

_MINE = (GrantRow.subject == SubjectRow.id) & (GrantRow.purpose == bindparam("purpose"))
_ONE = (
    select(
        *_SEALED,
        SubjectRow.salt,
        GrantRow.id.label("grant_id"),
        GrantRow.separate,
        GrantRow.purpose_version.label("version"),
    )
    .select_from(SubjectRow)
    .join(GrantRow, and_(_MINE, GrantRow.ended_at.is_(None)), isouter=True)
    .join(
        VaultKey,
        and_(
            VaultKey.subject == SubjectRow.id,
            VaultKey.purpose == bindparam("purpose"),
            in_state(VaultKey, KeyState.LIVE),
        ),
        isouter=True,
    )
    .join(VaultWrap, and_(VaultWrap.key_id == VaultKey.id, VaultWrap.field == bindparam("field")), isouter=True)
    .join(VaultValue, VaultValue.id == VaultWrap.value_id, isouter=True)
    .where(SubjectRow.id == bindparam("subject"))
)
