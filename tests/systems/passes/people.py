"""Invented people, with numbers of documents whose check characters are right, and their fingers and faces."""

from __future__ import annotations

from stdnum.cn import ric

from duecare.systems.passes.matching import FACE, FINGERPRINT
from duecare.systems.passes.sales import Buyer
from duecare.systems.passes.sensor import Sensor

FINGERS = ("card_id_card", "card_fingerprint")
FACES = ("card_id_card", "card_face")


def id_number(number: int) -> str:
    """The ID-card number of the ``number``-th person."""
    body = f"1101051970{1 + number // 28 % 12:02d}{1 + number % 28:02d}{number % 1000:03d}"
    return body + ric.calc_check_digit(body + "0")


HE = Buyer("成员甲", id_number(1), "13800138001", "card_fingerprint")
SHE = Buyer("成员乙", id_number(2), "13800138002", "card_id_card", "she@example.org")


def finger(person: str, reading: int = 0) -> bytes:
    """A reading of a person's finger."""
    return Sensor(FINGERPRINT).read(person, reading).data()


def face(person: str, reading: int = 0) -> bytes:
    """A reading of a person's face."""
    return Sensor(FACE).read(person, reading).data()
