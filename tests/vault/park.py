"""A small park whose vault is opened on real parts: its declarations, people, and witness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duecare.clock import SetClock
from duecare.consent import grants, notices, subjects
from duecare.consent.notices import Controller, Notice
from duecare.consent.purposes import (
    Activity,
    Basis,
    Necessity,
    PersonalField,
    Purpose,
    Retention,
    Special,
    declare,
)
from duecare.rules.engine import Engine
from duecare.settings import load
from duecare.store.home import Home
from duecare.vault.records import Vault

AT = datetime(2019, 4, 27, 2, 0, tzinfo=UTC)
ENGINE = Engine.load()
FIELDS = (
    PersonalField("name", "姓名", "name"),
    PersonalField("id_number", "身份证号", "ID number", lookup=True),
    PersonalField("phone", "手机号", "phone", lookup=True),
    PersonalField("photo", "照片", "photo", form="bytes"),
    PersonalField("fingerprint", "指纹特征", "fingerprint template", special=Special.BIOMETRIC, form="bytes"),
    PersonalField("face", "人脸特征", "face template", special=Special.BIOMETRIC, form="bytes"),
)
USED = (Activity.COLLECT, Activity.STORE, Activity.USE, Activity.DELETE)
SIX_YEARS = Retention("pass_expired", years=6, zh="年卡到期", en="the pass expires")
THREE_MONTHS = replace(SIX_YEARS, years=0, months=3)
CONTRACT = Purpose(
    "pass_contract",
    "履行年卡合同",
    "The annual pass",
    ("name", "id_number", "phone"),
    USED,
    Basis.CONTRACT,
    SIX_YEARS,
    "annual-pass",
    required=True,
    necessity=Necessity("年卡记名", "The pass is personal.", {"name": "记名", "id_number": "核对", "phone": "通知"}),
)


def _agreed(name: str, zh: str, en: str, field: str, kept: Retention) -> Purpose:
    return Purpose(name, zh, en, (field,), USED, Basis.CONSENT, kept, "annual-pass")


PHOTO = _agreed("pass_photo", "年卡照片", "The photo on the pass", "photo", SIX_YEARS)
FINGERPRINT = _agreed("fingerprint_entry", "指纹入园", "Entry by fingerprint", "fingerprint", THREE_MONTHS)
FACE = _agreed("face_entry", "人脸入园", "Entry by face", "face", THREE_MONTHS)
NEWS = _agreed("news", "活动通知", "News by text message", "phone", THREE_MONTHS)
PURPOSES = (CONTRACT, PHOTO, FINGERPRINT, FACE, NEWS)
NOTICE = Notice(
    "annual-pass", "年卡告知书", "Notice on the annual pass", "办理年卡须登记。", "The pass is issued to a name."
)
PARK = Controller("某野生动物园", "杭州市富阳区", "privacy@park.example")
BASIC = {"name": "成员甲", "id_number": "330106199001011234", "phone": "13800138000"}
PRINT = bytes(range(256)) * 2


@contextmanager
def opened(home: Path, url: str = "", *, at: datetime = AT, **given: Any) -> Iterator[Vault]:
    """The vault of the home folder ``home``, opened; the home is closed with it."""
    with Home(load(home=home, database_url=url), SetClock(at)) as held, Vault(held, ENGINE, **given) as vault:
        yield vault


def furnish(vault: Vault, at: datetime = AT) -> None:
    """Declare everything, and publish the notice."""
    with vault.database.session() as session:
        declare(session, ENGINE, FIELDS, PURPOSES, at)
        notices.publish(session, NOTICE, PARK, at)


def person(vault: Vault, *purposes: str, at: datetime = AT) -> str:
    """A new person who agreed to each of ``purposes`` by an act of its own."""
    with vault.database.session() as session:
        subject = subjects.add(session, at)
        agree(session, subject, purposes, at)
    return subject


def agree(session: Any, subject: str, purposes: Sequence[str], at: datetime = AT, version: int = 1) -> None:
    """The person agrees to each purpose, one by one."""
    for purpose in purposes:
        grants.give(
            session,
            ENGINE,
            subject,
            [purpose],
            notice="annual-pass",
            version=version,
            how="signed",
            screen="counter",
            at=at,
        )


def holder(vault: Vault) -> str:
    """A person with a pass and a fingerprint, who also gets news."""
    subject = person(vault, "pass_contract", "fingerprint_entry", "news")
    with vault.database.session() as session:
        vault.seal(session, subject, BASIC, ["pass_contract"], "counter")
        vault.seal(session, subject, {"fingerprint": PRINT}, ["fingerprint_entry"], "counter")
        vault.allow(session, subject, ["phone"], "news", "counter")
    return subject
