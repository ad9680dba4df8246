"""A small park: its fields, purposes and notice, declared in a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from duecare.consent import notices, subjects
from duecare.consent.grants import Grant, give
from duecare.consent.notices import Controller, Notice
from duecare.consent.purposes import (
    Activity,
    Basis,
    Mask,
    Necessity,
    PersonalField,
    Purpose,
    Retention,
    Special,
    declare,
)
from duecare.rules.engine import Engine
from duecare.store.database import Database

ENGINE = Engine.load()
AT = datetime(2019, 4, 27, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)

PARK = Controller(
    name="某野生动物园", code="91330183000000000X", address="杭州市富阳区某路1号", contact="privacy@park.example"
)
FIELDS = (
    PersonalField("name", "姓名", "name", mask=Mask(head=1)),
    PersonalField("id_number", "身份证号", "ID number", lookup=True, mask=Mask(head=3, tail=4)),
    PersonalField("phone", "手机号", "phone", lookup=True, mask=Mask(head=3, tail=4)),
    PersonalField("photo", "照片", "photo", form="bytes"),
    PersonalField("fingerprint", "指纹特征", "fingerprint template", special=Special.BIOMETRIC, form="bytes"),
    PersonalField("face", "人脸特征", "face template", special=Special.BIOMETRIC, form="bytes"),
)
USED = (Activity.COLLECT, Activity.STORE, Activity.USE, Activity.DELETE)
SIX_YEARS = Retention("pass_expired", years=6, zh="年卡到期", en="the pass expires")
THREE_MONTHS = replace(SIX_YEARS, years=0, months=3)
CONTRACT = Purpose(
    "pass_contract", "履行年卡合同", "The annual pass", ("name", "id_number", "phone"), USED, Basis.CONTRACT, SIX_YEARS,
    "annual-pass",
    required=True,
    necessity=Necessity(
        "年卡记名", "The pass is personal.",
        {"name": "年卡记名使用", "id_number": "核对持卡人", "phone": "遗失、停用时通知"},
    ),
)  # fmt: skip
PHOTO = Purpose(
    "pass_photo", "年卡照片", "The photo on the pass", ("photo",), USED, Basis.CONSENT, SIX_YEARS, "annual-pass"
)
FINGERPRINT = Purpose(
    "fingerprint_entry", "指纹入园", "Entry by fingerprint", ("fingerprint",), USED, Basis.CONSENT, THREE_MONTHS,
    "annual-pass",
    necessity=Necessity("以指纹入园", "To enter by fingerprint.", {"fingerprint": "没有指纹特征便无法比对"}),
)  # fmt: skip
FACE = Purpose(
    "face_entry", "人脸入园", "Entry by face", ("face",), USED, Basis.CONSENT, THREE_MONTHS, "annual-pass",
    necessity=Necessity("以人脸入园", "To enter by face.", {"face": "没有人脸特征便无法比对"}),
)  # fmt: skip
PURPOSES = (CONTRACT, PHOTO, FINGERPRINT, FACE)

FIRST = Notice(
    "annual-pass",
    "年卡办理告知书",
    "Notice on the annual pass",
    "办理年卡须登记姓名、身份证号和手机号。\n\n入园可以使用年卡加身份证, 也可以使用年卡加指纹。"
    "\n\n生物特征在年卡到期三个月后删除。",
    "The pass is issued to a name, an ID number and a phone.\n\nEnter with card and ID card, or card and fingerprint."
    "\n\nBiometrics are erased three months after the pass expires.",
    terms={"entry_methods": ["card_and_id", "card_and_fingerprint"], "biometrics_kept_months": 3},
    words={
        "entry_methods": ("入园方式", "ways in"),
        "card_and_id": ("年卡加身份证", "card and ID card"),
        "card_and_fingerprint": ("年卡加指纹", "card and fingerprint"),
        "card_and_face": ("年卡加人脸", "card and face"),
        "biometrics_kept_months": ("生物特征保存月数", "months that biometrics are kept"),
    },
)
SECOND = replace(
    FIRST,
    body_zh=FIRST.body_zh.replace("也可以使用年卡加指纹", "也可以使用年卡加人脸"),
    body_en=FIRST.body_en.replace("card and fingerprint", "card and face"),
    terms={"entry_methods": ["card_and_id", "card_and_face"], "biometrics_kept_months": 3},
)


def furnish(database: Database) -> None:
    """Declare everything, and publish the first version of the notice."""
    with database.session() as session:
        declare(session, ENGINE, FIELDS, PURPOSES, AT)
        notices.publish(session, FIRST, PARK, AT)


def holder(session: Session, at: datetime = AT) -> str:
    """A new person."""
    return subjects.add(session, at)


def agree(session: Session, subject: str, *purposes: str, version: int = 1, at: datetime = AT) -> list[Grant]:
    """The person agrees at the counter, by one act."""
    return give(
        session, ENGINE, subject, purposes, notice="annual-pass", version=version, how="ticked and signed",
        screen="counter/pass", at=at,
    )  # fmt: skip
