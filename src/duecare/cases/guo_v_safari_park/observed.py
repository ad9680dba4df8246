"""What is observed in a park in the years of the case, chapter by chapter.

A text that says why something was refused is empty where it was done.

The rule of this module: it is the same for a park that keeps the rules and for one that has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from duecare.systems.passes.refunds import Refund
from duecare.systems.passes.sales import Sold
from duecare.systems.passes.wire import Answer


@dataclass(frozen=True)
class Couples:
    """The four passes: his of the judgment, and those of the couples who accept, do not answer, and leave."""

    his: Sold
    accepting: Sold
    silent: Sold
    leaving: Sold

    @property
    def all(self) -> tuple[Sold, ...]:
        """The passes, in the order of the people."""
        return self.his, self.accepting, self.silent, self.leaving

    @property
    def he(self) -> str:
        """The subject who is the holder of the judgment."""
        return self.his.cards[0].subject


@dataclass(frozen=True)
class Purchase:
    """27 April 2019. ``ways``: what was on sale, at which price. ``consents``: of each grant to fingerprints, whether
    it was given alone. ``bundled``, ``implied`` and ``unsaid``: a fingerprint together with the photo, on the contract
    alone, and by silence. ``photo``: the photo opened for faces, and made to serve them."""

    couples: Couples
    ways: Sequence[tuple[str, Decimal]]
    only_biometric: str
    consents: Sequence[bool]
    bundled: str
    implied: str
    unsaid: str
    photo: tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """One of the five entries with the card and a fingerprint."""

    day: date
    holder: int
    opened: bool


@dataclass(frozen=True)
class Summer:
    """From the first message on. ``before_consent`` and ``with_face``: a face of the couple that accepts, before and
    after a consent of its own, and whether that was ``separate``; ``as_agreed``: a fingerprint of the silent couple."""

    version: int
    before_consent: Answer
    with_face: Answer
    separate: bool
    as_agreed: Answer


@dataclass(frozen=True)
class Autumn:
    """From the end of the fingerprint gates on. ``fingerprint``: opening his; ``left``: how many are held of anybody;
    ``readable``: files of the home and of its backup in which his can be read, before and after; ``revived``: opening
    it in the backup of the day before, put back."""

    fingerprint: str
    left: int
    readable: tuple[int, int]
    revived: str


@dataclass(frozen=True)
class Visit:
    """26 October 2019. ``binding``: the versions that bind him, the accepting and the silent couple. ``face`` and
    ``id_card``: his; ``silent``: their card and ID card. ``quote``: what is due to him; ``paid`` to the couple that
    leaves, ``shut`` what the gate says to them afterwards, ``not_owed`` why nothing is paid to who accepted.
    ``in_the_clear``: files of the home in which a name or a number of a holder can be read."""

    binding: tuple[int | None, int | None, int | None]
    face: Answer
    id_card: Answer
    silent: Answer
    quote: Refund
    paid: Refund | None
    shut: Answer
    not_owed: str
    page: Mapping[str, Any]
    in_the_clear: int


@dataclass(frozen=True)
class After:
    """The years after. ``refused``: the withdrawal of a face; ``withdrawn``: opening it afterwards; ``instead``: the
    gate for that card and ID card. ``held``: what was held of him and of the accepting holder when the biometrics were
    due, a day later, when the basics were due, a day later. ``erasures``: purpose and reason of his, at the end."""

    refused: str
    withdrawn: str
    instead: Answer
    held: Sequence[tuple[frozenset[str], frozenset[str]]]
    erasures: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Years:
    """All of it. ``told``: the messages as the gateway got them. ``certificates``: whose and for which purpose →
    whether ``duecare verify`` found it genuine after the home was gone; ``forged``: the same with one byte changed."""

    purchase: Purchase
    entries: Sequence[Entry]
    summer: Summer
    autumn: Autumn
    visit: Visit
    after: After
    told: Sequence[Mapping[str, Any]] = ()
    certificates: Mapping[str, bool] = field(default_factory=dict)
    forged: bool | None = None
