"""The judgment's world: four couples, each with a pass for two, their fingers and faces, and what they are told.

He of the judgment declines faces. Of the other couples one accepts them, one never answers, and one leaves.

The people are invented, and so are the numbers of their documents; the figures come from ``facts.toml``.

The rule of this module: nobody in it is anybody.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, time
from importlib.resources import files
from typing import Any

from stdnum.cn import ric

from duecare.consent.notices import Notice
from duecare.systems.passes.matching import FACE, FINGERPRINT
from duecare.systems.passes.messages import Text
from duecare.systems.passes.sales import Buyer
from duecare.systems.passes.sensor import Sensor

FINGERPRINT_WAY, FACE_WAY, ID_CARD_WAY = "card_fingerprint", "card_face", "card_id_card"
AGREED = (ID_CARD_WAY, FINGERPRINT_WAY)
ANNOUNCED = (ID_CARD_WAY, FACE_WAY)
TOGETHER = 2
"""Who shares a pass: people 0 and 1, 2 and 3, and so on."""

PHOTO = b"\xff\xd8\xff\xe0 the picture on the pass"


def facts() -> dict[str, Any]:
    """The judgment's figures."""
    return tomllib.loads(files(__package__).joinpath("facts.toml").read_text(encoding="utf-8"))


def noon(day: date) -> datetime:
    """Noon of ``day`` in the park, in UTC."""
    return datetime.combine(day, time(4), tzinfo=UTC)


def buyer(number: int, method: str) -> Buyer:
    """The ``number``-th of the invented people."""
    body = f"11010519{60 + number % 40:02d}0101{number % 1000:03d}"
    return Buyer(
        f"成员{'甲乙丙丁戊己庚辛'[number]}", body + ric.calc_check_digit(body + "0"), f"1390000{number:04d}", method
    )


def words_of_people() -> list[bytes]:
    """Their names and numbers, as they would stand in a file."""
    people = [buyer(number, ID_CARD_WAY) for number in range(8)]
    return [each.encode() for person in people for each in (person.name, person.id_number, person.phone)]


def finger(number: int, reading: int = 0) -> bytes:
    """A reading of a person's finger, as a device makes it."""
    return Sensor(FINGERPRINT).read(str(number), reading).data()


def face(number: int, reading: int = 0) -> bytes:
    """A reading of a person's face, as a device makes it."""
    return Sensor(FACE).read(str(number), reading).data()


def fingerprints_only() -> Notice:
    """The notice as the park of the judgment meant it at the sale: fingerprints, and no other way."""
    return Notice(
        name="annual-pass",
        zh="年卡办理流程",
        en="How to get an annual pass",
        body_zh="在年卡中心拍照、录入指纹, 凭年卡和指纹入园。",
        body_en="Have your photo and your fingerprint taken at the pass centre; enter with card and fingerprint.",
        terms={"entry_methods": [FINGERPRINT_WAY]},
        words={"entry_methods": ("入园方式", "ways in"), FINGERPRINT_WAY: ("年卡加指纹", "card and fingerprint")},
    )


FORCED = Text(
    "change",
    "年卡入园方式升级",
    "年卡系统已升级为人脸识别入园, 原指纹识别已取消。未注册人脸识别的用户将无法正常入园。",
    "Upgrade of entry",
    "Entry is upgraded to face recognition, and fingerprints are over. Who has not registered a face cannot enter.",
)
"""The message as the park of the judgment sent it."""


def faces_only() -> Notice:
    """The notice as the park of the judgment meant it from the message on: faces, and no other way."""
    return Notice(
        name="annual-pass",
        zh="年卡入园方式升级通知",
        en="Upgrade of entry for annual passes",
        body_zh="年卡系统升级为人脸识别入园。未注册人脸识别的用户将无法正常入园。",
        body_en="Entry is upgraded to face recognition. Who has not registered a face cannot enter.",
        terms={"entry_methods": [FACE_WAY]},
        words={"entry_methods": ("入园方式", "ways in"), FACE_WAY: ("年卡加人脸", "card and face")},
    )
