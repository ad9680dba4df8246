"""What the park sells: tickets and passes, their prices, ways in, and what a renewal costs.

The figures are those of case 2. Money is ``Decimal`` in yuan with two places (fen); a day is a date in the park.

The rule of this module: a product is declared here, in full, before it is sold; nothing about a price is computed
anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from duecare.errors import BadInput, UnknownName
from duecare.systems.passes.methods import CARD_FACE, CARD_FINGERPRINT, CARD_ID_CARD, TICKET, method

FEN = Decimal("0.01")


@dataclass(frozen=True)
class Way:
    """A way in on the terms on which a product offers it: what the product costs with it, and its days of validity."""

    method: str
    price: Decimal
    days: int

    @property
    def biometric(self) -> bool:
        """Whether it compares biometrics."""
        return method(self.method).biometric


@dataclass(frozen=True)
class Product:
    """Something for sale.

    ``persons``: how many holders share it; none of them is named on a ticket (``named`` false). ``renewals``: the share
    of the price that is due in the first, second, … year in a row; after the last the row begins anew; empty: it is not
    renewed. ``window_months``: for how long after the last day a renewal still continues the row.
    """

    name: str
    zh: str
    en: str
    persons: int
    ways: tuple[Way, ...]
    named: bool = True
    renewals: tuple[Decimal, ...] = ()
    window_months: int = 0

    def way(self, name: str) -> Way:
        """The way in called ``name`` on this product's terms. Raises ``UnknownName``."""
        for each in self.ways:
            if each.method == name:
                return each
        raise UnknownName(f"way in with {self.name}", name, [each.method for each in self.ways])

    def price(self, way: str, year: int = 1) -> Decimal:
        """What is due for the ``year``-th year in a row (from 1), in yuan. Raises ``UnknownName``, ``BadInput``."""
        if year < 1 or (year > 1 and not self.renewals):
            raise BadInput(
                f"{self.name} has no year {year}.",
                hint="Years count from 1." if self.renewals else "It is not renewed: sell another.",
            )
        share = self.renewals[(year - 1) % len(self.renewals)] if self.renewals else Decimal(1)
        return (self.way(way).price * share).quantize(FEN, ROUND_HALF_UP)

    def last_day(self, first: date, way: str) -> date:
        """The last day on which it is valid, if ``first`` is the first."""
        return first + timedelta(days=self.way(way).days - 1)

    def alternative(self, way: Way) -> bool:
        """Whether a way without biometrics is offered beside ``way``, no dearer and for no fewer days."""
        return any(
            each.method != way.method and not each.biometric and each.price <= way.price and each.days >= way.days
            for each in self.ways
        )


def _ways(price: str, days: int, *methods: str) -> tuple[Way, ...]:
    return tuple(Way(name, Decimal(price), days) for name in methods)


SINGLE_TICKET = Product(
    name="single_ticket",
    zh="单次门票",
    en="single ticket",
    persons=1,
    ways=_ways("220.00", 1, TICKET.name),
    named=False,
)

PASS_FOR_TWO = Product(
    name="pass_for_two",
    zh="双人年卡",
    en="annual pass for two",
    persons=2,
    ways=_ways("1360.00", 365, CARD_ID_CARD.name, CARD_FINGERPRINT.name, CARD_FACE.name),
    renewals=tuple(Decimal(share) for share in ("1", "0.92", "0.92", "0.85", "0")),
    window_months=3,
)

PRODUCTS: dict[str, Product] = {each.name: each for each in (SINGLE_TICKET, PASS_FOR_TWO)}


def product(name: str) -> Product:
    """The product called ``name``. Raises ``UnknownName``."""
    if name not in PRODUCTS:
        raise UnknownName("product", name, list(PRODUCTS))
    return PRODUCTS[name]
