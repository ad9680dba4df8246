"""Sources: where facts come from, by what right, and how fresh they should be.

The rule of this module: a source without a legal basis cannot be declared (case 1, holding a: legal source).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta

from duecare.errors import BadInput

LONGEST_CODE, LONGEST_SOURCE, LONGEST_SECTION = 300, 100, 60
"""Of an entity's code and the names of a source and a section, in characters: what the database's columns take."""


@dataclass(frozen=True)
class RatePolicy:
    """How fast the source may be asked: at most ``requests`` in ``seconds``, ``concurrent`` at once."""

    requests: int = 60
    seconds: float = 60.0
    concurrent: int = 1

    @property
    def delay(self) -> float:
        """Seconds between two requests."""
        return self.seconds / self.requests

    def paced(self, per_second: float) -> RatePolicy:
        """The same with another pace: ``per_second`` requests a second, which may be less than one (0.2: one in five
        seconds). How many go at once stays as declared. Raises ``BadInput`` where that is no pace."""
        if not (math.isfinite(per_second) and per_second > 0):
            raise BadInput(
                f"The rate is {per_second:g} requests a second.",
                hint="Give a number above zero: 2 asks twice a second, 0.2 once in five seconds.",
            )
        return RatePolicy(1, 1 / per_second, self.concurrent)


@dataclass(frozen=True)
class Source:
    """An official publication.

    ``name`` is what commands call it. ``address`` is where it is published. ``fresh_for`` is how long what we hold
    counts as fresh; older is shown as stale (case 1, holding b: timeliness). ``authoritative_for`` names the sections
    that this source decides when two disagree. ``robots`` says whether robots.txt is asked before each request.
    ``first_published``: no file of it can have been received before that day; in 1990 no register was on the web.
    """

    name: str
    title_zh: str
    title_en: str
    operator: str
    address: str
    legal_basis: str
    licence: str
    fresh_for: timedelta
    authoritative_for: tuple[str, ...] = ()
    robots: bool = True
    rate: RatePolicy = RatePolicy()
    first_published: date = date(1990, 1, 1)

    def __post_init__(self) -> None:
        for name in ("name", "operator", "address", "legal_basis"):
            if not getattr(self, name).strip():
                raise BadInput(
                    f"Source {self.name!r} has no {name.replace('_', ' ')}.",
                    hint="Every source says by what right its data is processed.",
                )
        if self.fresh_for <= timedelta(0):
            raise BadInput(f"Source {self.name!r}: fresh_for must be longer than zero.")
