"""Ways into the park: what is shown beside the card, and which sealed field it is compared with, for which purpose.

The rule of this module: the way without biometrics is always among them, and is open to every holder whatever else they
agreed to (case 2: biometrics are never the only way in).
"""

from __future__ import annotations

from dataclasses import dataclass

from duecare.errors import UnknownName


@dataclass(frozen=True)
class Method:
    """A way in. ``shows`` is what a holder presents beside the card: nothing, ``id_card``, ``fingerprint`` or ``face``.

    ``field`` is the sealed field that it is compared with and ``purpose`` what that field is opened for; both are empty
    where nothing is compared.
    """

    name: str
    zh: str
    en: str
    shows: str
    field: str
    purpose: str
    biometric: bool


TICKET = Method("ticket", "门票", "ticket", "", "", "", biometric=False)
"""A ticket for one day: it names nobody, so there is nothing to compare."""

CARD_ID_CARD = Method("card_id_card", "年卡加身份证", "card and ID card", "id_card", "entry_code", "card_entry", False)
"""The way of equal standing: open to every holder."""

CARD_FINGERPRINT = Method(
    "card_fingerprint",
    "年卡加指纹",
    "card and fingerprint",
    "fingerprint",
    "fingerprint_template",
    "fingerprint_entry",
    True,
)
CARD_FACE = Method("card_face", "年卡加人脸", "card and face", "face", "face_template", "face_entry", True)

METHODS: dict[str, Method] = {each.name: each for each in (TICKET, CARD_ID_CARD, CARD_FINGERPRINT, CARD_FACE)}


def method(name: str) -> Method:
    """The way called ``name``. Raises ``UnknownName``."""
    if name not in METHODS:
        raise UnknownName("way in", name, list(METHODS))
    return METHODS[name]
