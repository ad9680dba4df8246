"""What is paid back when a pass ends early: pro rata, by days.

The day of the event counts as used, and every day after it up to and including the last day of the pass counts as left:
from the visit on 26 October 2019 to the end on 25 April 2020 that is 182 of 365 days, and of 1,360 yuan 678 (case 2).
The amount is rounded to whole yuan, a half upwards. Before the first day nothing was used: the price is paid back as it
was paid.

The rule of this module: a refund is never more than was paid, and never grows with time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal

from duecare.errors import BadInput


@dataclass(frozen=True)
class Refund:
    """``amount`` in whole yuan, for ``days_left`` of ``days`` days that ``price`` had paid for."""

    amount: Decimal
    days_left: int
    days: int
    price: Decimal


def pro_rata(price: Decimal, first: date, last: date, on: date) -> Refund:
    """What is due of ``price`` (yuan) for a pass valid from ``first`` to ``last``, both included, that ends ``on``.

    Raises ``BadInput`` where the days are the wrong way round or the price is below nothing.
    """
    if last < first or price < 0:
        raise BadInput(
            f"A pass of {price} yuan from {first} to {last} cannot be refunded.",
            hint="The price is 0 or more, and the last day is not before the first.",
        )
    days = (last - first).days + 1
    if on < first:
        return Refund(price, days, days, price)
    left = max(0, (last - on).days)
    amount = (price * left / days).quantize(Decimal(1), ROUND_HALF_UP)
    return Refund(min(amount, price), left, days, price)
