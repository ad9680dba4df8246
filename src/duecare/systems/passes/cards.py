"""Cards, and the code that ties a card to its holder's ID card.

A card's number is drawn at random and stands on the card alone; the centre and the gates know the card by the SHA-256
of the number. The entry code is an HMAC over the ID-card number, keyed with the card's number: whoever holds a list of
codes, or the database, or both, cannot try ID-card numbers against it, because the key is on the card.

The rule of this module: what leaves it for a gate, a list or a row is a digest or a code, never a number.
"""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256

from stdnum.cn import ric
from stdnum.exceptions import ValidationError

from duecare.errors import BadInput

NUMBER_SIZE = 16
"""Bytes of a card's number; it is written as 32 hex digits."""

_NUMBER = re.compile(r"[0-9a-f]{32}")
_RESIDENT = re.compile(r"[1-9][0-9]{16}[0-9X]", re.ASCII)
_OTHER_DOCUMENT = re.compile(r"[A-Z0-9]{6,17}")
_DOMAIN = b"duecare entry code 1\n"


def draw() -> str:
    """A new card's number."""
    return secrets.token_hex(NUMBER_SIZE)


def card_number(text: str) -> str:
    """A card's number as it is written. Raises ``BadInput``, which does not repeat it."""
    number = text.strip().lower()
    if not _NUMBER.fullmatch(number):
        raise BadInput("This is not the number of a card.", hint=f"It has {2 * NUMBER_SIZE} hex digits.")
    return number


def digest(card: str) -> str:
    """By what the centre knows a card: the SHA-256 of its number's bytes, in hex."""
    return sha256(bytes.fromhex(card)).hexdigest()


def entry_code(card: str, id_number: str) -> str:
    """What proves at a gate that the ID card shown is that of the card's holder: 64 hex digits.

    HMAC-SHA-256 under the bytes of the card's number, over ``duecare entry code 1``, newline, the ID-card number.
    """
    return hmac.new(bytes.fromhex(card), _DOMAIN + id_number.encode("ascii"), sha256).hexdigest()


def id_card_number(text: str) -> str:
    """The number of a resident ID card (GB 11643: 18 characters, the last a check character), or of a passport or
    permit (6 to 17 letters and digits), as it is compared. Raises ``BadInput``, which does not repeat it."""
    number = re.sub(r"[\s-]", "", text).upper()
    if len(number) == 18:
        return _resident(number)
    if not _OTHER_DOCUMENT.fullmatch(number):
        raise BadInput(
            "This is not the number of an ID card or passport.",
            hint="A resident ID card has 18 characters, a passport 6 to 17 letters and digits.",
        )
    return number


def _resident(number: str) -> str:
    """``number`` if its form, birth date and check character are right.

    The district in it is not looked up: lists of districts by year of birth (python-stdnum has one) refuse people who
    were registered in a district that is younger than they are.
    """
    wrong = ""
    if not _RESIDENT.fullmatch(number):
        wrong = "a character in it is none"
    elif number[-1] != ric.calc_check_digit(number):
        wrong = "the check character is another"
    else:
        try:
            ric.get_birth_date(number)
        except ValidationError:
            wrong = "the date of birth does not exist"
    if wrong:
        raise BadInput(
            f"This is not the number of a resident ID card: {wrong}.",
            hint="It has 17 digits and a check character; read it from the card again.",
        )
    return number
