"""Notices: what people are told before they agree, in versions, and what each person answered.

A notice says who processes, what for, and how to withdraw (PIPL art. 17), in Chinese and English. A new version is an
offer: it binds only those who accept it, and the others keep what they agreed to (case 2).

The rule of this module: nobody is bound by silence. A version binds a person by their own answer, or by a grant that
they gave under it, and by nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

import rfc8785
from sqlalchemy import ColumnElement, Select, exists, func, or_, select, true, union
from sqlalchemy.orm import Session, aliased

from duecare.clock import utc
from duecare.consent import differences
from duecare.consent.differences import Difference
from duecare.consent.fields import NAME
from duecare.consent.models import GrantRow, NoticeAnswer, NoticeVersion
from duecare.consent.subjects import commitment, lock
from duecare.errors import BadInput, UnknownName, UseError
from duecare.evidence.outbox import record
from duecare.settings import Settings
from duecare.store.database import alone

Term = str | int | bool | Sequence[str]


@dataclass(frozen=True)
class Controller:
    """Who processes the data and answers for it. ``code``: its unified social credit code or other register number.

    ``jurisdiction``: the country whose law holds; ``places``: those where data is stored; as two letters.
    """

    name: str
    code: str
    address: str
    contact: str
    jurisdiction: str = "CN"
    places: tuple[str, ...] = ("CN",)

    @classmethod
    def of(cls, settings: Settings) -> Controller:
        """The controller that the settings name. Raises ``BadInput`` where they do not."""
        return cls(
            settings.controller_name,
            settings.controller_code,
            settings.controller_address,
            settings.controller_contact,
            settings.controller_jurisdiction,
            tuple(settings.storage_places),
        )


@dataclass(frozen=True)
class Notice:
    """What people are told. Titles and bodies (Markdown) in both languages.

    ``terms``: what it promises, as values that can be compared, such as ``{"entry_methods": ["card_and_id"]}``.
    ``words``: term or value → its Chinese and English name, for people.
    """

    name: str
    zh: str
    en: str
    body_zh: str
    body_en: str
    terms: Mapping[str, Term] = field(default_factory=dict)
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    withdrawal_zh: str = "在作出同意的同一页面一步撤回, 也可以通过上述联系方式撤回。"
    withdrawal_en: str = "In one step on the page where it was given, or through the contact above."


@dataclass(frozen=True)
class Version:
    """A notice as it was published. ``digest`` is the SHA-256 (hex) of its canonical content."""

    number: int
    notice: Notice
    controller: Controller
    digest: str
    published_at: datetime

    @property
    def name(self) -> str:
        """The notice's name."""
        return self.notice.name


def publish(session: Session, notice: Notice, controller: Controller, at: datetime) -> int:
    """Publish the next version; returns its number, or that of the newest where nothing in it is new.

    Raises ``BadInput`` where it lacks what a notice must say.
    """
    text = _content(notice, controller)
    alone(session, f"notice:{notice.name}")
    newest = _newest(session, notice.name)
    if newest is not None and newest.content == text:
        return newest.number
    number, digest = (newest.number + 1 if newest else 1), sha256(text.encode()).hexdigest()
    session.add(NoticeVersion(name=notice.name, number=number, content=text, digest=digest, published_at=utc(at)))
    body = {"version": number, "sha256": digest}
    record(session, "notice:publish", f"notice:{notice.name}", body, at)
    session.flush()
    return number


def version(session: Session, name: str, number: int | None = None, at: datetime | None = None) -> Version:
    """Version ``number``, else the newest, or the one that was the newest at ``at``. Raises ``UnknownName``."""
    row = _newest(session, name, at) if number is None else session.get(NoticeVersion, (name, number))
    if row is None or (at is not None and row.published_at > utc(at)):
        known = list(session.scalars(select(NoticeVersion.name).distinct().order_by(NoticeVersion.name)))
        raise UnknownName("notice", name if number is None else f"{name} {number}", known)
    return _read(row)


def versions(session: Session, name: str | None = None) -> list[Version]:
    """All versions of all notices, or of the one called ``name``, oldest first."""
    asked = select(NoticeVersion).order_by(NoticeVersion.name, NoticeVersion.number)
    rows = session.scalars(asked.where(NoticeVersion.name == name) if name is not None else asked)
    return [_read(row) for row in rows]


def difference(old: Version | Notice, new: Version | Notice) -> Difference:
    """What ``new`` says otherwise than ``old``: by term and by paragraph, for people of both languages."""
    before, after = (each.notice if isinstance(each, Version) else each for each in (old, new))
    return Difference(
        terms=differences.terms(before.terms, after.terms, {**before.words, **after.words}),
        zh=differences.paragraphs(_whole(before, "zh"), _whole(after, "zh")),
        en=differences.paragraphs(_whole(before, "en"), _whole(after, "en")),
    )


def answer(
    session: Session, subject: str, notice: str, number: int, accepted: bool, how: str, screen: str, at: datetime
) -> None:
    """Record what a person answered to a version. They may change their mind: the last answer to a version counts.

    Raises ``UnknownName``, ``BadInput``, ``UseError`` where a version is accepted that another has replaced.
    """
    check_act(how, screen)
    lock(session, subject)
    committed = commitment(session, subject)
    given = version(session, notice, number)
    newest = version(session, notice, at=at)
    if accepted and newest.number != number:
        raise UseError(
            f"Version {number} of {notice} is not in force; version {newest.number} is.",
            hint="Show that one and ask again.",
        )
    row = NoticeAnswer(
        subject=subject, notice=notice, number=number, accepted=accepted, how=how, screen=screen, answered_at=utc(at)
    )
    session.add(row)
    body = {
        "subject": committed, "notice": notice, "version": number, "sha256": given.digest,
        "accepted": accepted, "how": how, "screen": screen,
    }  # fmt: skip
    record(session, "notice:answer", f"notice:{notice}", body, at)
    session.flush()


def binding(session: Session, subject: str, notice: str, at: datetime | None = None) -> int | None:
    """The version that binds this person, now or at ``at``: the newest that they accepted, by answer or by grant.

    None: nothing does. An answer to a version can be taken back by a later answer to the same one.
    """
    words = _words(session, subject, notice, at)
    return max((number for number, (_, accepted) in words.items() if accepted), default=None)


def said(session: Session, subject: str, notice: str, number: int) -> bool | None:
    """This person's last word on version ``number``: yes (by answer or by a grant given under it), no, or none yet."""
    word = _words(session, subject, notice, None).get(number)
    return None if word is None else word[1]


def unanswered(session: Session, notice: str, number: int, at: datetime | None = None) -> list[str]:
    """The subjects whom an earlier version binds and who have answered neither this one nor a later one."""
    return list(session.scalars(unanswered_sql(notice, number, at)))


def declined(session: Session, notice: str, number: int, at: datetime | None = None) -> list[str]:
    """The subjects whose last word on version ``number`` is no."""
    return list(session.scalars(declined_sql(notice, number, at)))


def accepted(session: Session, notice: str, number: int, at: datetime | None = None) -> list[str]:
    """The subjects whose last word on version ``number`` is yes, by answer or by a grant given under it."""
    return list(session.scalars(accepted_sql(notice, number, at)))


def unanswered_sql(notice: str, number: int, at: datetime | None = None) -> Select[str]:
    """``unanswered`` as a select of subjects, to join with."""
    earlier = union(
        select(GrantRow.subject).where(GrantRow.notice == notice, GrantRow.notice_version < number, _standing(at)),
        select(NoticeAnswer.subject).where(
            NoticeAnswer.notice == notice, NoticeAnswer.number < number, NoticeAnswer.accepted, _last(at)
        ),
    ).subquery()
    answered = exists().where(
        NoticeAnswer.subject == earlier.c.subject,
        NoticeAnswer.notice == notice,
        NoticeAnswer.number >= number,
        _until(NoticeAnswer.answered_at, at),
    )
    granted = exists().where(
        GrantRow.subject == earlier.c.subject,
        GrantRow.notice == notice,
        GrantRow.notice_version >= number,
        _until(GrantRow.given_at, at),
    )
    return select(earlier.c.subject).where(~answered, ~granted).order_by(earlier.c.subject)


def declined_sql(notice: str, number: int, at: datetime | None = None) -> Select[str]:
    """``declined`` as a select of subjects, to join with."""
    granted = exists().where(
        GrantRow.subject == NoticeAnswer.subject,
        GrantRow.notice == notice,
        GrantRow.notice_version == number,
        GrantRow.given_at >= NoticeAnswer.answered_at,
        _until(GrantRow.given_at, at),
    )
    return (
        select(NoticeAnswer.subject)
        .where(NoticeAnswer.notice == notice, NoticeAnswer.number == number, ~NoticeAnswer.accepted, _last(at))
        .where(~granted)
        .order_by(NoticeAnswer.subject)
    )


def accepted_sql(notice: str, number: int, at: datetime | None = None) -> Select[str]:
    """``accepted`` as a select of subjects, to join with."""
    later_no = exists().where(
        NoticeAnswer.subject == GrantRow.subject,
        NoticeAnswer.notice == notice,
        NoticeAnswer.number == number,
        ~NoticeAnswer.accepted,
        NoticeAnswer.answered_at > GrantRow.given_at,
        _last(at),
    )
    said = union(
        select(NoticeAnswer.subject).where(
            NoticeAnswer.notice == notice, NoticeAnswer.number == number, NoticeAnswer.accepted, _last(at)
        ),
        select(GrantRow.subject).where(
            GrantRow.notice == notice, GrantRow.notice_version == number, _until(GrantRow.given_at, at), ~later_no
        ),
    ).subquery()
    return select(said.c.subject).order_by(said.c.subject)


def check_act(how: str, screen: str) -> None:
    """Raise ``BadInput`` unless how a person acted, and on which screen, are each said in one line."""
    for name, text in (("how", how), ("screen", screen)):
        if not text.strip() or len(text) > 200 or any(character < " " for character in text):
            raise BadInput(f"{name} is {text!r}.", hint="Say it in one line of at most 200 characters.")


def _words(session: Session, subject: str, notice: str, at: datetime | None) -> dict[int, tuple[datetime, bool]]:
    """The person's last word on each version, and when they said it."""
    until = _until(NoticeAnswer.answered_at, at)
    answers = select(NoticeAnswer.number, NoticeAnswer.answered_at, NoticeAnswer.accepted)
    words: dict[int, tuple[datetime, bool]] = {}
    mine = (NoticeAnswer.subject == subject) & (NoticeAnswer.notice == notice) & until
    for number, when, accepted in session.execute(answers.where(mine).order_by(NoticeAnswer.id)):
        words[number] = (when, accepted)
    grants = (
        select(GrantRow.notice_version, func.max(GrantRow.given_at))
        .where(GrantRow.subject == subject, GrantRow.notice == notice, _until(GrantRow.given_at, at))
        .group_by(GrantRow.notice_version)
    )
    for number, when in session.execute(grants):
        if number not in words or words[number][0] <= utc(when):
            words[number] = (utc(when), True)
    return words


def _whole(notice: Notice, language: str) -> str:
    parts = (getattr(notice, language), getattr(notice, f"body_{language}"), getattr(notice, f"withdrawal_{language}"))
    return "\n\n".join(parts)


def _last(at: datetime | None) -> ColumnElement[bool]:
    """SQL: this answer is the last of its subject to its version."""
    later = aliased(NoticeAnswer)
    return ~exists().where(
        later.notice == NoticeAnswer.notice,
        later.number == NoticeAnswer.number,
        later.subject == NoticeAnswer.subject,
        later.id > NoticeAnswer.id,
        _until(later.answered_at, at),
    ) & _until(NoticeAnswer.answered_at, at)


def _standing(at: datetime | None) -> ColumnElement[bool]:
    if at is None:
        return GrantRow.ended_at.is_(None)
    return (GrantRow.given_at <= utc(at)) & or_(GrantRow.ended_at.is_(None), GrantRow.ended_at > utc(at))


def _until(column: Any, at: datetime | None) -> ColumnElement[bool]:
    return true() if at is None else column <= utc(at)


def _newest(session: Session, name: str, at: datetime | None = None) -> NoticeVersion | None:
    asked = select(NoticeVersion).where(NoticeVersion.name == name, _until(NoticeVersion.published_at, at))
    return session.scalar(asked.order_by(NoticeVersion.number.desc()).limit(1))


def _content(notice: Notice, controller: Controller) -> str:
    if not NAME.fullmatch(notice.name):
        raise BadInput(f"{notice.name!r} cannot name a notice.", hint="Take lower-case letters, digits, - and _.")
    for what in ("zh", "en", "body_zh", "body_en", "withdrawal_zh", "withdrawal_en"):
        if not getattr(notice, what).strip():
            raise BadInput(f"The notice {notice.name} has an empty {what}.", hint="Say it in both languages.")
    _check_words(notice)
    for what in ("name", "code", "address", "contact", "jurisdiction", "places"):
        if not getattr(controller, what):
            raise BadInput(
                f"The notice {notice.name} does not say the controller's {what}.",
                hint="People are told who processes their data (PIPL art. 17): set controller_name, "
                "controller_code, controller_address and controller_contact.",
            )
    terms = {name: list(each) if isinstance(each, (list, tuple)) else each for name, each in notice.terms.items()}
    content: dict[str, Any] = {
        "name": notice.name, "zh": notice.zh, "en": notice.en, "body_zh": notice.body_zh, "body_en": notice.body_en,
        "terms": terms, "words": {name: list(pair) for name, pair in notice.words.items()},
        "withdrawal_zh": notice.withdrawal_zh, "withdrawal_en": notice.withdrawal_en,
        "controller": {
            "name": controller.name, "code": controller.code, "address": controller.address,
            "contact": controller.contact, "jurisdiction": controller.jurisdiction, "places": list(controller.places),
        },
    }  # fmt: skip
    return rfc8785.dumps(content).decode()


def _check_words(notice: Notice) -> None:
    """Raise ``BadInput`` where a term, or a word that is its value, has no name in both languages."""
    used = list(notice.terms)
    for each in notice.terms.values():
        used += [each] if isinstance(each, str) else list(each) if isinstance(each, (list, tuple)) else []
    for name in dict.fromkeys([*used, *notice.words]):
        pair = notice.words.get(name, ("", ""))
        lacking = [language for language, word in zip(("zh", "en"), pair, strict=True) if not word.strip()]
        if lacking:
            raise BadInput(
                f"The notice {notice.name} has no word for {name} in {' and '.join(lacking)}.",
                hint="Give words for each term and each of its values, in both languages: people are shown them.",
            )


def _read(row: NoticeVersion) -> Version:
    said = json.loads(row.content)
    who = said.pop("controller")
    words = {name: (pair[0], pair[1]) for name, pair in said.pop("words").items()}
    return Version(
        number=row.number,
        notice=Notice(**said, words=words),
        controller=Controller(**{**who, "places": tuple(who["places"])}),
        digest=row.digest,
        published_at=row.published_at,
    )
