"""Acts of erasure in the database: what is marked, listed, counted and emptied at once, for one purpose.

An act takes one subject or a million: each step is a few statements over sets. They are put together once, when this
module is loaded, because an erasure of one subject spends most of its time on that.

The rule of this module: what is emptied is what no key outside of the act wraps any more, and nothing else.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Text,
    bindparam,
    delete,
    exists,
    false,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session, aliased

from duecare.clock import utc
from duecare.consent.models import GrantRow, SubjectRow
from duecare.evidence.certificate import KIND
from duecare.evidence.commitment import SALT_SIZE, Commitment, commit
from duecare.evidence.outbox import Act, EvidenceEntry, record_all
from duecare.store.database import Moment, in_order, parts
from duecare.vault.fields import Context, described
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
    in_state,
)
from duecare.vault.places import Erasing
from duecare.vault.slots import Slot

if TYPE_CHECKING:
    from duecare.vault.records import Vault

LISTED = 1000
"""Keys that one entry of evidence names, at most."""


def held_sql(purpose: Any, subject: Any) -> ColumnElement[bool]:
    """SQL: a legal hold on ``subject`` for ``purpose`` (columns or values) stands."""
    return exists().where(
        LegalHold.lifted_at.is_(None),
        or_(LegalHold.subject.is_(None), LegalHold.subject == subject),
        or_(LegalHold.purpose.is_(None), LegalHold.purpose == purpose),
    )


def mark(session: Session, act: str, purpose: str, subjects: Sequence[str] | None, *, spared: bool) -> int:
    """Mark the live keys that go (of ``subjects``, or all); returns how many a legal hold keeps, where it may."""
    given = {"of_purpose": purpose, "marked": act, "despite": not spared}
    if subjects is None:
        in_order(session, _MINE_ALL, given)
        session.execute(_MARK_ALL, given)
        return len(session.scalars(_KEPT_ALL, given).all()) if spared else 0
    kept = 0
    for part in parts(sorted(subjects)):
        in_order(session, _MINE_NAMED, {**given, "subjects": part})
        session.execute(_MARK, {**given, "subjects": part})
        kept += len(session.scalars(_KEPT, {**given, "subjects": part}).all()) if spared else 0
    return kept


def not_held(session: Session, purpose: str, subjects: Sequence[str]) -> list[str]:
    """Those of ``subjects`` whom no legal hold keeps for ``purpose``."""
    return [
        each
        for part in parts(subjects)
        for each in session.scalars(_NOT_HELD, {"of_purpose": purpose, "subjects": part})
    ]


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
    gone = erasing(vault, session, row["act"], row["purpose"])
    if gone.subjects:
        _count(vault, session, row["act"], gone)
        of_act = {"the_act": row["act"]}
        in_order(session, _WRAPPED, of_act)
        session.execute(_EMPTY, {**of_act, "at": utc(at)})
        session.execute(_DROP_LOOKUPS, of_act)
        session.execute(_DROP_WRAPS, of_act)
        for place in vault.places:
            if place.in_database:
                place.erase(gone, session)
    return gone.subjects


def record_begin(session: Session, row: Mapping[str, Any], at: datetime) -> None:
    """Leave evidence of what begins: the keys and their slots, so that it can be done again from the log alone."""
    keys = session.execute(_SLOTS, {"the_act": row["act"]}).all()
    body = {name: row[name] for name in ("act", "purpose", "reason", "article")}
    lists = [keys[first : first + LISTED] for first in range(0, max(1, len(keys)), LISTED)]
    said = [{**body, "keys": [{"key": each.id, "slot": each.slot} for each in part]} for part in lists]
    record_all(session, [Act("erasure:begin", f"erasure:{row['act']}", each, at) for each in said])


def begun(session: Session, act: str) -> str | None:
    """The purpose of an act that is not complete, none where it is."""
    return session.scalar(_BEGUN, {"the_act": act})


def erasing(vault: Vault, session: Session, act: str, purpose: str) -> Erasing:
    """What an act erases, as places are told."""
    rows = session.execute(_SUBJECTS, {"the_act": act}).all()
    last = frozenset(row.subject for row in rows if row.last)
    return Erasing(vault.home, purpose, tuple(row.subject for row in rows), last)


def slots(session: Session, act: str) -> list[Slot]:
    """The slots of the keys of an act."""
    return [Slot(row.slot, row.id) for row in session.execute(_SLOTS, {"the_act": act})]


def blobs(session: Session, act: str) -> list[str]:
    """The values of an act whose files are there."""
    return list(session.scalars(_BLOBS, {"the_act": act}))


def close(session: Session, act: str, at: datetime) -> int:
    """Say that the act is complete, with the entry of each erasure; returns how many acts are now."""
    of_act = {"the_act": act, "at": utc(at)}
    session.execute(_ERASE_KEYS, of_act)
    session.execute(_FORGET_BLOBS, of_act)
    _record_complete(session, act, at)
    session.execute(_NOTE_ENTRIES, {**of_act, "kind": KIND})
    session.execute(_COMPLETE, of_act)
    return mark_done(session)


def mark_done(session: Session) -> int:
    """Count one more act of erasure; the slots file is to count as many after the commit."""
    return int(session.execute(_DONE).scalar_one())


def committed(subject: str, salt: str | None) -> Commitment:
    """The commitment of a subject."""
    # A salt that was forgotten cannot be had again: then the entry is of nobody that can be named.
    return commit(subject, bytes.fromhex(salt) if salt else secrets.token_bytes(SALT_SIZE))


def value_committed(value: VaultValue) -> tuple[Commitment, str]:
    """The commitment of a value in a certificate, and what it is made to."""
    words = described(Context(value.id, value.subject, value.field, value.form), value.digest)
    return commit(words, bytes.fromhex(value.salt)), words


def _list(session: Session, row: Mapping[str, Any], without: Sequence[str], name: str) -> None:
    """A row for each subject: under the id of the key, or where they had none, under ``name`` or an id of its own."""
    session.execute(_LIST, {f"row_{part}": row[part] for part in _COMMON})
    if not without:
        return
    listed = set(session.scalars(select(VaultErasure.subject).where(VaultErasure.act == row["act"])))
    fixed = {**row, "places": "{}", "state": ErasureState.BEGUN.value}
    for subject in without:
        if subject not in listed:
            more = session.scalar(_HAS_MORE, {"subject": subject})
            one = {**fixed, "id": name or secrets.token_hex(16), "subject": subject, "last": not more}
            session.execute(insert(VaultErasure), [one])


def _count(vault: Vault, session: Session, act: str, gone: Erasing) -> None:
    """Note how much each place holds of each subject before it is emptied."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for place in vault.places:
        for subject, count in place.count(gone, session).items():
            found[subject][place.name] = count
    for subject, places in found.items():
        session.execute(_PLACES, {"the_act": act, "of": subject, "counts": json.dumps(places, sort_keys=True)})


def _record_complete(session: Session, act: str, at: datetime) -> None:
    rows = session.execute(_ERASURES, {"the_act": act}).all()
    values: dict[str, list[VaultValue]] = defaultdict(list)
    for value in session.scalars(_VALUES, {"the_act": act}):
        values[value.subject].append(value)
    keys: dict[str, list[str]] = defaultdict(list)
    for key in session.execute(_SLOTS, {"the_act": act}):
        keys[key.subject].append(key.id)
    fresh = [(row, salt) for row, salt in rows if row.entry is None]
    bodies = [(row, _body(row, salt, values[row.subject], keys[row.subject], at)) for row, salt in fresh]
    record_all(session, [Act(KIND, f"erasure:{row.id}", body, at) for row, body in bodies])


def _body(
    row: VaultErasure, salt: str | None, values: Sequence[VaultValue], keys: list[str], at: datetime
) -> dict[str, Any]:
    return {
        "certificate": row.id,
        "reason": row.reason,
        "article": row.article,
        "purpose": row.purpose,
        "subject": committed(row.subject, salt).text,
        "fields": [{"field": value.field, "commitment": value_committed(value)[0].text} for value in values],
        "keys": keys,
        "places": [{"place": place, "removed": count} for place, count in sorted(json.loads(row.places).items())],
        "erased_at": utc(at).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z",
    }


def _over_all(statement: Any) -> Any:
    """A statement over many rows; nothing of them is held in the session."""
    return statement.execution_options(synchronize_session=False)


_THE_ACT: BindParameter[str] = bindparam("the_act")
_WHOSE = VaultKey.subject.in_(bindparam("subjects", expanding=True))
_LIVE = (VaultKey.purpose == bindparam("of_purpose")) & in_state(VaultKey, KeyState.LIVE)
_HELD = held_sql(VaultKey.purpose, VaultKey.subject)

_MARKING = {"state": KeyState.ERASING.value, "act": bindparam("marked")}
_GOES = or_(~_HELD, bindparam("despite", type_=Boolean))
_MARK_ALL = _over_all(update(VaultKey).where(_LIVE, _GOES).values(_MARKING))
_MARK = _over_all(update(VaultKey).where(_LIVE, _WHOSE, _GOES).values(_MARKING))
_MINE_ALL = select(VaultKey.id).where(_LIVE).order_by(VaultKey.subject)
_MINE_NAMED = select(VaultKey.id).where(_LIVE, _WHOSE).order_by(VaultKey.subject)
_KEPT_ALL = select(VaultKey.id).where(_LIVE, _HELD)
_KEPT = select(VaultKey.id).where(_LIVE, _WHOSE, _HELD)
_NOT_HELD = select(SubjectRow.id).where(
    SubjectRow.id.in_(bindparam("subjects", expanding=True)), ~held_sql(bindparam("of_purpose"), SubjectRow.id)
)

_OTHER, _STOOD = aliased(VaultKey), aliased(GrantRow)
_COMMON = ("act", "purpose", "reason", "article", "note", "begun_at")
_LIST = insert(VaultErasure.__table__).from_select(  # type: ignore[arg-type]
    ["id", "subject", "last", "places", "state", *_COMMON],
    select(
        VaultKey.id,
        VaultKey.subject,
        ~or_(
            exists().where(_OTHER.subject == VaultKey.subject, in_state(_OTHER, KeyState.LIVE)),
            exists().where(_STOOD.subject == VaultKey.subject, _STOOD.ended_at.is_(None)),
        ),
        literal("{}"),
        literal(ErasureState.BEGUN.value),
        *(bindparam(f"row_{part}", type_=Moment() if part == "begun_at" else Text()) for part in _COMMON),
    ).where(VaultKey.act == bindparam("row_act")),
)
_HAS_MORE = select(
    or_(
        exists().where(VaultKey.subject == bindparam("subject"), in_state(VaultKey, KeyState.LIVE)),
        exists().where(GrantRow.subject == bindparam("subject"), GrantRow.ended_at.is_(None)),
    )
)
_SUBJECTS = (
    select(VaultErasure.subject, VaultErasure.last).where(VaultErasure.act == _THE_ACT).order_by(VaultErasure.subject)
)
_PLACES = _over_all(
    update(VaultErasure)
    .where(VaultErasure.act == _THE_ACT, VaultErasure.subject == bindparam("of"))
    .values(places=bindparam("counts"))
)

_MINE, _THEIRS, _ELSE = aliased(VaultWrap), aliased(VaultWrap), aliased(VaultKey)
_MARKED = select(VaultKey.id).where(VaultKey.act == _THE_ACT)
_TOUCHED = VaultValue.id.in_(select(_MINE.value_id).where(_MINE.key_id.in_(_MARKED)))
# Held before they are emptied: of two acts that take the last wraps of a value at once, the second sees that it does.
_WRAPPED = select(VaultValue.id).where(_TOUCHED).order_by(VaultValue.id)
_EMPTY = _over_all(
    update(VaultValue)
    .where(
        _TOUCHED,
        ~exists()
        .where(_THEIRS.value_id == VaultValue.id, _ELSE.id == _THEIRS.key_id)
        .where(or_(_ELSE.act.is_(None), _ELSE.act != _THE_ACT)),
    )
    .values(state=ValueState.ERASED.value, ciphertext=None, act=_THE_ACT, gone_at=bindparam("at"))
)
_DROP_LOOKUPS = _over_all(
    delete(VaultLookup).where(VaultLookup.value_id.in_(select(VaultValue.id).where(VaultValue.act == _THE_ACT)))
)
_DROP_WRAPS = _over_all(delete(VaultWrap).where(VaultWrap.key_id.in_(_MARKED)))

_BEGUN = (
    select(VaultErasure.purpose)
    .where(VaultErasure.act == _THE_ACT, in_state(VaultErasure, ErasureState.BEGUN))
    .limit(1)
)
_SLOTS = select(VaultKey.id, VaultKey.slot, VaultKey.subject).where(VaultKey.act == _THE_ACT).order_by(VaultKey.slot)
_BLOBS = select(VaultValue.id).where(VaultValue.act == _THE_ACT, VaultValue.blob)
_VALUES = select(VaultValue).where(VaultValue.act == _THE_ACT).order_by(VaultValue.field)
_ERASURES = (
    select(VaultErasure, SubjectRow.salt)
    .join(SubjectRow, SubjectRow.id == VaultErasure.subject)
    .where(VaultErasure.act == _THE_ACT)
)
_ERASE_KEYS = _over_all(
    update(VaultKey)
    .where(VaultKey.act == _THE_ACT, in_state(VaultKey, KeyState.ERASING))
    .values(state=KeyState.ERASED.value, erased_at=bindparam("at"))
)
_FORGET_BLOBS = _over_all(update(VaultValue).where(VaultValue.act == _THE_ACT, VaultValue.blob).values(blob=false()))
_ENTRY = select(EvidenceEntry.id).where(
    EvidenceEntry.subject == literal("erasure:").concat(VaultErasure.id), EvidenceEntry.kind == bindparam("kind")
)
_NOTE_ENTRIES = _over_all(
    update(VaultErasure)
    .where(VaultErasure.act == _THE_ACT, VaultErasure.entry.is_(None))
    .values(entry=_ENTRY.scalar_subquery(), erased_at=bindparam("at"))
)
_COMPLETE = _over_all(
    update(VaultErasure).where(VaultErasure.act == _THE_ACT).values(state=ErasureState.COMPLETE.value)
)
_DONE = _over_all(
    update(VaultMark).where(VaultMark.id == 1).values(erasures=VaultMark.erasures + 1).returning(VaultMark.erasures)
)
