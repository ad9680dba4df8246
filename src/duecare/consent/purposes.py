"""Purposes: what personal data is processed for, declared before any is.

A purpose names its fields, activities, legal basis and retention, and what of the service cannot work without it. Each
declaration that differs is a new version; what stood at any moment can be asked for, and a grant stays with the version
that it was given for.

The rule of this module: a purpose is declared by the rules (case 7: what is required must be proved necessary), and one
that ended never comes back under its name.
"""

from __future__ import annotations

import json
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as default
from datetime import date, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.consent import fields as kinds
from duecare.consent.fields import NAME, canonical_text, check_name, declare_field
from duecare.consent.fields import Mask as Mask  # declared together with purposes: they can be had from here too
from duecare.consent.fields import PersonalField as PersonalField
from duecare.consent.fields import Special as Special
from duecare.consent.fields import field as field
from duecare.consent.fields import fields as fields
from duecare.consent.models import PurposeEnd, PurposeVersion
from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import record
from duecare.rules.decision import Decision
from duecare.rules.engine import Engine, Request
from duecare.store.database import alone


class Activity(StrEnum):
    """What processing is (PIPL art. 4, Civil Code art. 1035)."""

    COLLECT = "collect"
    STORE = "store"
    USE = "use"
    REFINE = "refine"
    TRANSMIT = "transmit"
    PROVIDE = "provide"
    DISCLOSE = "disclose"
    DELETE = "delete"


class Basis(StrEnum):
    """Why processing is legal (PIPL art. 13)."""

    CONSENT = "consent"
    CONTRACT = "contract"
    STATUTORY = "statutory"
    VITAL = "vital"
    PUBLIC = "public"
    LAWFUL_DISCLOSURE = "lawful_disclosure"


@dataclass(frozen=True)
class FieldWords:
    """What a field was called, and whether it was sensitive, when a purpose with it was declared."""

    name: str
    zh: str
    en: str
    special: Special | None


@dataclass(frozen=True)
class Retention:
    """How long data is kept after an event, such as ``pass_expired`` + 3 months; ``zh`` and ``en`` name the event."""

    event: str
    months: int = 0
    days: int = 0
    years: int = 0
    zh: str = ""
    en: str = ""

    def until(self, on: date) -> date:
        """The last day on which data may be kept, where the event was on the day ``on``.

        Months and years are those of the calendar: of a month that has no such day, the last one is taken.
        """
        months = on.year * 12 + on.month - 1 + self.years * 12 + self.months
        year, month = divmod(months, 12)
        day = min(on.day, monthrange(year, month + 1)[1])
        return date(year, month + 1, day) + timedelta(days=self.days)


@dataclass(frozen=True)
class Necessity:
    """The necessity proof: in words, and for each field what of the service cannot work without it."""

    zh: str
    en: str
    fields: Mapping[str, str] = default(default_factory=dict)


@dataclass(frozen=True)
class Purpose:
    """What is processed, how, on which ground, and for how long.

    ``required``: the service is refused to those who do not agree. ``recipients``: to whom data is provided.

    The rest is filled in when a purpose is read: its version, since when and until when it stands, what its fields were
    called when it was declared, and the kinds of sensitive data among them.
    """

    name: str
    zh: str
    en: str
    fields: tuple[str, ...]
    activities: tuple[Activity, ...]
    basis: Basis
    retention: Retention
    notice: str
    required: bool = False
    necessity: Necessity | None = None
    recipients: tuple[str, ...] = ()
    number: int = 0
    told: tuple[FieldWords, ...] = ()
    declared_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def special(self) -> tuple[Special, ...]:
        """The kinds of sensitive data among its fields."""
        kinds = {each.special for each in self.told}
        return tuple(each for each in Special if each in kinds)

    @property
    def mixed(self) -> bool:
        """Whether sensitive data of one kind stands beside other data among its fields."""
        return bool(self.special) and len({each.special for each in self.told}) > 1

    @property
    def proven(self) -> bool:
        """Whether the necessity proof speaks of every field."""
        proof = self.necessity
        return proof is not None and all(
            each.strip() for each in (proof.zh, proof.en, *(proof.fields.get(name, "") for name in self.fields))
        )


def declare(
    session: Session, engine: Engine, fields: Sequence[PersonalField], purposes: Sequence[Purpose], at: datetime
) -> list[str]:
    """Declare fields and purposes; returns the names of the purposes that have a new version by it.

    What is declared already as it is given here stays as it is. Where a field is called otherwise or became sensitive,
    the purposes that use it are declared anew, and decided anew. Raises ``BadInput``, ``Forbidden`` naming the holding,
    ``UseError`` for a purpose that ended.
    """
    alone(session, "consent:declare")
    changed = {each.name for each in fields if declare_field(session, each, at)}
    known = {each.name: each for each in kinds.fields(session)}
    given = {each.name for each in purposes}
    others = [each for each in _current(session) if each.name not in given and each.ended_at is None]
    affected = [each for each in others if changed & {*each.fields}]
    wanted = [_checked(each, known) for each in (*purposes, *affected)]
    return [each.name for each in wanted if _declare(session, engine, each, at)]


def end(session: Session, name: str, *, reason: str, at: datetime, recorded_at: datetime | None = None) -> None:
    """The purpose is gone, for everyone and for good: nobody can agree to it any more. Its grants are ended with
    ``grants.end_all``. ``recorded_at``: where that is later than ``at``, when it ended. Raises ``UnknownName``,
    ``BadInput`` without a reason; ended already, nothing happens."""
    if not reason.strip():
        raise BadInput("reason is empty.", hint="Say why the purpose is gone; it is kept.")
    alone(session, f"purpose:{name}")
    found = purpose(session, name)
    if found.ended_at is None:
        session.add(PurposeEnd(name=name, reason=reason, ended_at=utc(at)))
        record(session, "purpose:end", f"purpose:{name}", {"purpose": name, "reason": reason}, recorded_at or at)
        session.flush()


def purpose(session: Session, name: str, at: datetime | None = None, *, number: int | None = None) -> Purpose:
    """The purpose as it is declared now, as it was at ``at``, or in version ``number``. Raises ``UnknownName``."""
    asked = select(PurposeVersion).where(PurposeVersion.name == name).order_by(PurposeVersion.number.desc()).limit(1)
    if at is not None:
        asked = asked.where(PurposeVersion.declared_at <= utc(at))
    if number is not None:
        asked = asked.where(PurposeVersion.number == number)
    row = session.scalar(asked)
    if row is None:
        known = list(session.scalars(select(PurposeVersion.name).distinct().order_by(PurposeVersion.name)))
        raise UnknownName("purpose", name if number is None else f"{name} {number}", known)
    ended = session.get(PurposeEnd, name)
    return _read(row, ended if ended is not None and (at is None or ended.ended_at <= utc(at)) else None)


def newest(session: Session, name: str) -> int:
    """The number of the version that is declared now. Raises ``UnknownName``."""
    number = session.connection().execute(_NEWEST, {"of": name}).scalar()
    return purpose(session, name).number if number is None else int(number)


def purposes(session: Session, at: datetime | None = None) -> list[Purpose]:
    """All purposes by name, ended ones too, as they are declared now or were at ``at``."""
    return _current(session, at)


def _checked(given: Purpose, known: Mapping[str, PersonalField]) -> Purpose:
    """``given`` with the words of its fields. Raises ``BadInput``, ``UnknownName``."""
    check_name("purpose", given.name, given.zh, given.en)
    if not NAME.fullmatch(given.notice):
        raise BadInput(f"The purpose {given.name} has the notice {given.notice!r}.", hint="Name the notice it is in.")
    for what, held in (("fields", given.fields), ("activities", given.activities)):
        if not held or len(set(held)) < len(held):
            raise BadInput(f"The {what} of {given.name} are {held!r}.", hint="Name at least one, and each once.")
    for name in (*given.fields, *(given.necessity.fields if given.necessity else ())):
        if name not in known:
            raise UnknownName("field", name, sorted(known))
    if Activity.PROVIDE in given.activities and not given.recipients:
        raise BadInput(
            f"The purpose {given.name} provides data to others and names no recipients.",
            hint="Name them: people are told who receives their data (PIPL art. 23).",
        )
    kept = given.retention
    if not kept.event or min(kept.months, kept.days, kept.years) < 0:
        raise BadInput(f"The retention of {given.name} is {kept}.", hint="Name an event, and times from 0 after it.")
    if not (kept.zh.strip() and kept.en.strip()):
        raise BadInput(
            f"The retention of {given.name} does not say what {kept.event} is.",
            hint="Name the event in both languages: people are told until when their data is kept (PIPL art. 17).",
        )
    fields = [known[name] for name in given.fields]
    return replace(given, told=tuple(FieldWords(each.name, each.zh, each.en, each.special) for each in fields))


def _declare(session: Session, engine: Engine, given: Purpose, at: datetime) -> bool:
    text = canonical_text(_declaration(given))
    newest = (
        select(PurposeVersion).where(PurposeVersion.name == given.name).order_by(PurposeVersion.number.desc()).limit(1)
    )
    before = session.scalar(newest)
    if before is not None and before.declaration == text:
        return False
    if session.get(PurposeEnd, given.name) is not None:
        raise UseError(
            f"The purpose {given.name} has ended and does not come back.",
            hint="Declare what is wanted now as another purpose, which people are asked for anew.",
        )
    decision = _decide(engine, given)
    decision.require()
    number = before.number + 1 if before else 1
    session.add(
        PurposeVersion(
            name=given.name, number=number, notice=given.notice, basis=given.basis.value, special=bool(given.special),
            required=given.required, declaration=text, declared_at=utc(at),
        )
    )  # fmt: skip
    body = {
        "version": number,
        "sha256": sha256(text.encode()).hexdigest(),
        "declaration": json.loads(text),
        "reasons": [reason.id for reason in decision.reasons],
    }
    record(session, "purpose:declare", f"purpose:{given.name}", body, at)
    session.flush()
    return True


def _decide(engine: Engine, given: Purpose) -> Decision:
    context = {
        "required": given.required,
        "proven": given.proven,
        "special": bool(given.special),
        "mixed": given.mixed,
        "basis": given.basis.value,
    }
    return engine.decide(
        Request("declare", "Service", "consent", "Purpose", given.name, context, {"basis": given.basis.value})
    )


def _declaration(given: Purpose) -> dict[str, Any]:
    kept, proof = given.retention, given.necessity
    return {
        "name": given.name,
        "zh": given.zh,
        "en": given.en,
        "fields": [
            {"name": each.name, "zh": each.zh, "en": each.en, "special": each.special and each.special.value}
            for each in given.told
        ],
        "activities": [each.value for each in given.activities],
        "basis": given.basis.value,
        "retention": {
            "event": kept.event, "months": kept.months, "days": kept.days, "years": kept.years,
            "zh": kept.zh, "en": kept.en,
        },
        "notice": given.notice,
        "required": given.required,
        "necessity": None if proof is None else {"zh": proof.zh, "en": proof.en, "fields": dict(proof.fields)},
        "recipients": list(given.recipients),
    }  # fmt: skip


def _read(row: PurposeVersion, ended: PurposeEnd | None) -> Purpose:
    said = json.loads(row.declaration)
    proof = said["necessity"]
    return Purpose(
        name=row.name,
        zh=said["zh"],
        en=said["en"],
        fields=tuple(each["name"] for each in said["fields"]),
        activities=tuple(Activity(each) for each in said["activities"]),
        basis=Basis(row.basis),
        retention=Retention(**said["retention"]),
        notice=row.notice,
        required=row.required,
        necessity=None if proof is None else Necessity(**proof),
        recipients=tuple(said["recipients"]),
        number=row.number,
        told=tuple(
            FieldWords(each["name"], each["zh"], each["en"], Special(each["special"]) if each["special"] else None)
            for each in said["fields"]
        ),
        declared_at=row.declared_at,
        ended_at=ended.ended_at if ended else None,
    )


def _current(session: Session, at: datetime | None = None) -> list[Purpose]:
    newest = select(PurposeVersion.name, func.max(PurposeVersion.number).label("number")).group_by(PurposeVersion.name)
    if at is not None:
        newest = newest.where(PurposeVersion.declared_at <= utc(at))
    last = newest.subquery()
    rows = session.scalars(
        select(PurposeVersion)
        .join(last, (PurposeVersion.name == last.c.name) & (PurposeVersion.number == last.c.number))
        .order_by(PurposeVersion.name)
    )
    ends = {each.name: each for each in session.scalars(select(PurposeEnd)) if at is None or each.ended_at <= utc(at)}
    return [_read(row, ends.get(row.name)) for row in rows]


_NEWEST = select(func.max(PurposeVersion.number)).where(PurposeVersion.name == bindparam("of"))
