"""Fields: the kinds of personal data there are, in versions, each named in Chinese and English.

The rule of this module: what a field was declared to be is never forgotten; to declare it otherwise adds a version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import rfc8785
from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.consent.models import FieldVersion
from duecare.errors import BadInput, UnknownName
from duecare.evidence.outbox import record

NAME = re.compile(r"[a-z][a-z0-9_-]{0,59}")
"""What fields, purposes and notices are called."""


class Special(StrEnum):
    """Sensitive personal data (PIPL art. 28)."""

    BIOMETRIC = "biometric"
    RELIGION = "religion"
    SPECIFIC_IDENTITY = "specific_identity"
    MEDICAL = "medical"
    FINANCIAL = "financial"
    WHEREABOUTS = "whereabouts"
    MINOR = "minor"


@dataclass(frozen=True)
class Mask:
    """How a value is shown before it is revealed: its first ``head`` and last ``tail`` characters, stars between."""

    head: int = 0
    tail: int = 0

    def apply(self, text: str) -> str:
        """``text`` masked, as long as before; a text too short to hide anything is hidden whole."""
        if len(text) <= self.head + self.tail:
            return "*" * len(text)
        end = len(text) - self.tail
        return text[: self.head] + "*" * (end - self.head) + text[end:]


@dataclass(frozen=True)
class PersonalField:
    """A kind of personal data. ``special``: it is sensitive. ``lookup``: people are found by its exact value."""

    name: str
    zh: str
    en: str
    special: Special | None = None
    form: Literal["text", "bytes"] = "text"
    lookup: bool = False
    mask: Mask = Mask()


def field(session: Session, name: str) -> PersonalField:
    """The field as it is declared now. Raises ``UnknownName``."""
    text = session.connection().execute(_NEWEST, {"of": name}).scalar()
    if text is None:
        raise UnknownName("field", name, [each.name for each in fields(session)])
    return _read_field(json.loads(text))


def fields(session: Session) -> list[PersonalField]:
    """All fields by name, as they are declared now."""
    last = select(FieldVersion.name, func.max(FieldVersion.number).label("number")).group_by(FieldVersion.name)
    newest = last.subquery()
    texts: Iterable[str] = session.scalars(
        select(FieldVersion.declaration)
        .join(newest, (FieldVersion.name == newest.c.name) & (FieldVersion.number == newest.c.number))
        .order_by(FieldVersion.name)
    )
    return [_read_field(json.loads(text)) for text in texts]


def declare_field(session: Session, given: PersonalField, at: datetime) -> bool:
    """Add a version of the field; whether it was declared otherwise before, or not at all. Raises ``BadInput``."""
    check_name("field", given.name, given.zh, given.en)
    if given.form not in ("text", "bytes") or (given.lookup and given.form == "bytes"):
        raise BadInput(
            f"The field {given.name} has the form {given.form!r}{' and lookup' if given.lookup else ''}.",
            hint="A form is text or bytes, and only text is looked up.",
        )
    if min(given.mask.head, given.mask.tail) < 0:
        raise BadInput(f"The mask of {given.name} is {given.mask}.", hint="head and tail are whole numbers from 0.")
    text = canonical_text(
        {
            "name": given.name, "zh": given.zh, "en": given.en, "special": given.special and given.special.value,
            "form": given.form, "lookup": given.lookup, "mask": {"head": given.mask.head, "tail": given.mask.tail},
        }
    )  # fmt: skip
    newest = select(FieldVersion).where(FieldVersion.name == given.name).order_by(FieldVersion.number.desc()).limit(1)
    before = session.scalar(newest)
    if before is not None and before.declaration == text:
        return False
    number = before.number + 1 if before else 1
    session.add(FieldVersion(name=given.name, number=number, declaration=text, declared_at=utc(at)))
    body = {"version": number, "declaration": json.loads(text)}
    record(session, "field:declare", f"field:{given.name}", body, at)
    return True


def check_name(what: str, name: str, zh: str, en: str) -> None:
    """Raise ``BadInput`` unless it has a name that can stand in a command, and one in each language."""
    if not NAME.fullmatch(name):
        raise BadInput(f"{name!r} cannot name a {what}.", hint="Take lower-case letters, digits, - and _, 60 at most.")
    if not zh.strip() or not en.strip():
        raise BadInput(f"The {what} {name} is not named in both languages.", hint="Give zh and en.")


def canonical_text(value: dict[str, Any]) -> str:
    """``value`` as canonical JSON (RFC 8785)."""
    return rfc8785.dumps(value).decode()


def _read_field(said: dict[str, Any]) -> PersonalField:
    special = Special(said["special"]) if said["special"] else None
    return PersonalField(
        said["name"], said["zh"], said["en"], special, said["form"], said["lookup"], Mask(**said["mask"])
    )


_NEWEST = (
    select(FieldVersion.declaration)
    .where(FieldVersion.name == bindparam("of"))
    .order_by(FieldVersion.number.desc())
    .limit(1)
)
