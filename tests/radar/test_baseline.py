"""Tests of the baseline: what is usual, and what is out of line with it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.radar.baseline import ALLOWANCE, HISTORY, Counted, assess, upper_tail

LEAST = 1e-6


def noisy_count(rng: random.Random, mean: float, spread: float) -> int:
    """A count from a Poisson whose rate is itself drawn from a gamma."""
    rate = rng.gammavariate(1 / spread, mean * spread)
    if rate > 50:
        return max(0, round(rng.gauss(rate, math.sqrt(rate))))
    count, left = 0, math.exp(-rate)
    product = rng.random()
    while product > left:
        count += 1
        product *= rng.random()
    return count


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 4, 10, 60])
def test_the_wave_of_case_one_is_out_of_line(batches: int) -> None:
    """8,023 liquidation rows against about none have a tail far below one in a million, with little history or much."""
    history = [Counted(index % 3 == 2, 20_000) for index in range(batches)]
    found = assess(history, 8_023, 20_000)
    assert found.tail < LEAST
    assert found.out_of_line(LEAST)
    assert found.high < 8_023


def test_one_released_burst_does_not_open_the_door_to_the_next() -> None:
    """The wave of 6 May is still out of line after the one of 5 May was let into the history."""
    history = [Counted(0, 20_000)] * 9 + [Counted(8_023, 20_000)]
    assert assess(history, 8_986, 20_000).tail < LEAST


def test_a_genuine_company_in_a_quiet_section_passes() -> None:
    """One company's handful of liquidation rows after weeks of none is not out of line: it goes to verification."""
    for batches in (0, 4, 30):
        for exposure in (1, 50, 20_000):
            assert not assess([Counted(0, exposure)] * batches, 5, exposure).out_of_line(LEAST)


def test_counts_are_measured_against_what_was_read() -> None:
    """Ten times as many changes are usual when ten times as many companies were read, and unusual when not."""
    history = [Counted(20, 1_000)] * 30
    assert not assess(history, 200, 10_000).out_of_line(LEAST)
    assert assess(history, 200, 1_000).out_of_line(LEAST)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rate", "spread"), [(0.00002, 0.5), (0.001, 0.5), (0.02, 0.3), (0.05, 0.1)])
def test_ordinary_noise_is_not_held(seed: int, rate: float, spread: float) -> None:
    """Sixty days of over-dispersed batches of changing size make no false hold, from the second batch on."""
    rng = random.Random(seed)
    history: list[Counted] = []
    held = 0
    for _ in range(60):
        exposure = rng.randint(2_000, 20_000)
        count = noisy_count(rng, rate * exposure, spread)
        held += assess(history, count, exposure).out_of_line(LEAST)
        history.append(Counted(count, exposure))
    assert held == 0


def test_the_false_hold_rate_is_near_the_promised_tail() -> None:
    """At a looser limit of one in a hundred, seeded ordinary batches are held at most about that often."""
    rng = random.Random(11)
    held = trials = 0
    for _ in range(40):
        history = [Counted(noisy_count(rng, 40, 0.2), 10_000) for _ in range(30)]
        for _ in range(50):
            held += assess(history, noisy_count(rng, 40, 0.2), 10_000).out_of_line(0.01)
            trials += 1
    assert held / trials < 0.02


def test_the_expected_band_holds_what_it_says() -> None:
    """At least 99 of 100 ordinary batches fall within low and high."""
    rng = random.Random(5)
    found = assess([Counted(noisy_count(rng, 40, 0.2), 10_000) for _ in range(60)], 40, 10_000)
    inside = sum(found.low <= noisy_count(rng, 40, 0.2) <= found.high for _ in range(2_000))
    assert inside / 2_000 > 0.98
    assert found.low < 40 < found.high


def test_a_slow_change_of_pace_is_followed() -> None:
    """A section that grew threefold over weeks is measured by its newer self, never by what left the history."""
    history = [Counted(0, 1_000)] * 500 + [Counted(60, 1_000)] * HISTORY
    assert not assess(history, 90, 1_000).out_of_line(LEAST)


def test_the_tail_agrees_with_the_sum_of_its_terms() -> None:
    """The tail from the incomplete beta function equals the summed probabilities of a negative binomial."""
    for mean, spread in ((0.5, 0.3), (3.0, 1.0), (40.0, 0.05), (200.0, 2.0)):
        size = 1 / spread
        share = mean / (size + mean)
        for count in (1, 2, 7, 50, 400):
            below = math.fsum(
                math.exp(
                    math.lgamma(k + size)
                    - math.lgamma(size)
                    - math.lgamma(k + 1)
                    + size * math.log1p(-share)
                    + k * math.log(share)
                )
                for k in range(count)
            )
            assert upper_tail(count, mean, spread) == pytest.approx(1 - below, rel=1e-6, abs=1e-12)


counted = st.builds(
    Counted, changes=st.integers(min_value=0, max_value=10_000_000), exposure=st.integers(min_value=0, max_value=10**8)
)


@given(st.lists(counted, max_size=80), st.integers(0, 10**8), st.integers(0, 10**8))
def test_whatever_the_history_the_answer_is_a_probability(history: list[Counted], observed: int, exposure: int) -> None:
    """Every history gives a finite expectation, an ordered band and a tail in (0, 1]."""
    found = assess(history, observed, exposure)
    assert 0 < found.tail <= 1
    assert ALLOWANCE <= found.expected < math.inf
    assert 0 <= found.low <= found.high


@given(st.lists(counted, max_size=20), st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_changes_are_never_more_likely(history: list[Counted], observed: int, more: int, exposure: int) -> None:
    """The tail falls, or stays, as the observed count rises."""
    assert assess(history, observed + more, exposure).tail <= assess(history, observed, exposure).tail * (1 + 1e-9)


def test_little_history_expects_less_of_a_sensitive_section() -> None:
    """With no history, 300 changes among 20,000 companies are out of line for liquidations, and not for addresses."""
    assert assess([], 300, 20_000, rare=True).out_of_line(LEAST)
    assert not assess([], 300, 20_000).out_of_line(LEAST)


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_no_changes_are_never_out_of_line(exposure: int, before: int) -> None:
    """A batch without changes passes whatever came before: a fall is the floor's business."""
    assert assess([Counted(before, exposure)] * 6, 0, exposure).tail == 1
