"""Baseline: how many changes of one kind a batch usually makes in one section, and how unlikely this many are.

Counts are compared per entity read, so that a crawl of 500 pages and a file of 5 million are measured by one yard. The
model is a Poisson count whose rate itself varies from batch to batch (a negative binomial); its rate and its spread are
estimated from counts whose extremes are pulled in, so that one released burst does not open the door to the next.
Case 1: 8,023 liquidation rows on one day against about none on all days before.

The rule of this module: only what was accepted counts as history. What an operator rejected, or has not yet looked at,
teaches nothing about what is usual.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

HISTORY = 60
"""How many of the newest accepted batches are looked at: enough to know the spread, few enough to follow a new pace."""

ENOUGH = 4
"""From this many batches on, history alone sets the rate; below, the prior fills what is missing."""

PRIOR_RATE = 0.02
"""Changes per entity read that are expected of a section nobody has watched yet."""

RARE_PRIOR_RATE = 0.0005
"""The same for a sensitive section: few companies are wound up or punished on one day."""

FEED_PRIOR_RATE = 1.0
"""The same for a feed, which names an entity because there is something new of it."""

PRIOR_SPREAD = 1.0
"""Spread (variance beyond Poisson, as a share of the squared mean) before history says otherwise."""

ALLOWANCE = 1.0
"""Changes that any batch may make, however rare they are: one company's rows arrive together."""

SMALLEST_TAIL = 1e-300
"""A tail below this is given as this."""

_BAND = 0.005
_LEAST_SPREAD, _GREATEST_SPREAD = 0.02, 4.0
_SPREAD_WEIGHT = 4
_CLIP_DEVIATIONS, _CLIP_ROWS = 5.0, 20.0
_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class Counted:
    """What one accepted batch did: ``changes`` made while ``exposure`` entities were read for the section."""

    changes: int
    exposure: int


@dataclass(frozen=True)
class Baseline:
    """What was expected and what came.

    ``expected`` is the mean, ``low`` and ``high`` hold 99 of 100 such batches, ``tail`` is the probability of
    ``observed`` or more. ``batches`` is the number of accepted batches behind it.
    """

    observed: int
    exposure: int
    expected: float
    low: int
    high: int
    tail: float
    batches: int
    spread: float

    def out_of_line(self, least: float) -> bool:
        """Whether so many changes are less likely than ``least``."""
        return self.tail < least


def assess(
    history: Sequence[Counted], observed: int, exposure: int, *, rare: bool = False, feed: bool = False
) -> Baseline:
    """Compare ``observed`` changes among ``exposure`` entities read with ``history`` (oldest first).

    ``rare``: the section is sensitive, so that less is expected of it where history is short. ``feed``: entities are
    named because of their changes, so that a wave would be its own yardstick: every batch counts as one of the usual
    size. Only a rise is measured; a fall is the business of the floor on what a read must cover.
    """
    recent = [item if item.exposure > 0 else Counted(item.changes, 1) for item in history[-HISTORY:]]
    exposure = max(exposure, 1)
    if feed and recent:
        exposure = max(1, round(median(item.exposure for item in recent)))
        recent = [Counted(item.changes, exposure) for item in recent]
    rate, spread = _fit(recent)
    prior = FEED_PRIOR_RATE if feed else RARE_PRIOR_RATE if rare else PRIOR_RATE
    lacking = max(0.0, 1 - len(recent) / ENOUGH)
    expected = exposure * ((1 - lacking) * rate + lacking * max(prior, rate)) + ALLOWANCE
    return Baseline(
        observed=observed,
        exposure=exposure,
        expected=expected,
        low=_quantile(_BAND, expected, spread),
        high=_quantile(1 - _BAND, expected, spread),
        tail=max(upper_tail(observed, expected, spread), SMALLEST_TAIL),
        batches=len(recent),
        spread=spread,
    )


def upper_tail(count: int, mean: float, spread: float) -> float:
    """Probability of ``count`` or more from a negative binomial with ``mean`` and variance mean + spread * mean²."""
    if count <= 0:
        return 1.0
    size = 1 / spread
    return _incomplete_beta(mean / (size + mean), float(count), size)


def _fit(history: Sequence[Counted]) -> tuple[float, float]:
    """Changes per entity read, and the spread, from counts with their extremes pulled in."""
    if not history:
        return 0.0, PRIOR_SPREAD
    rates = [item.changes / item.exposure for item in history]
    middle = median(rates)
    deviation = _TO_SIGMA * median(abs(rate - middle) for rate in rates)
    counts = []
    for item in history:
        usual = middle * item.exposure
        room = _CLIP_DEVIATIONS * max(deviation * item.exposure, math.sqrt(usual)) + _CLIP_ROWS
        counts.append(min(float(item.changes), usual + room))
    rate = sum(counts) / sum(item.exposure for item in history)
    means = [rate * item.exposure for item in history]
    squares = sum(mean * mean for mean in means)
    found = PRIOR_SPREAD
    if squares > 0:
        found = sum((count - mean) ** 2 - mean for count, mean in zip(counts, means, strict=True)) / squares
    found = min(max(found, _LEAST_SPREAD), _GREATEST_SPREAD)
    spread = (_SPREAD_WEIGHT * PRIOR_SPREAD + len(history) * found) / (_SPREAD_WEIGHT + len(history))
    return rate, spread


def _quantile(share: float, mean: float, spread: float) -> int:
    """The smallest count that at least ``share`` of all batches do not exceed."""
    low, high = -1, max(1, math.ceil(mean))
    while 1 - upper_tail(high + 1, mean, spread) < share:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if 1 - upper_tail(middle + 1, mean, spread) >= share:
            high = middle
        else:
            low = middle
    return high


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b) (DLMF 8.17.22), exact to about twelve digits in both tails."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    logarithm = front - math.log(a) + math.log(_continued_fraction(x, a, b))
    return math.exp(logarithm) if logarithm > -700 else 0.0


def _continued_fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, by Lentz's method."""
    tiny = 1e-300
    c = 1.0
    d = 1 / _away_from_zero(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for step in range(1, 100_000):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d, tiny)
            c = _away_from_zero(1 + term / c, tiny)
            value *= c * d
        if abs(c * d - 1) < 1e-13:
            break
    return value


def _away_from_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
