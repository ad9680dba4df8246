"""The error rates of matching on generated templates: how often a stranger passes (FAR), and how often the holder does
not (FRR), at the thresholds that are used; and the threshold that a rate of 1 in 10,000 strangers would need.

Each person is enrolled with one reading and presents several others; every reading of everybody else is a stranger's.
The bounds are those of the 95% Wilson interval. Real devices come with rates of their own: measure theirs the same way.
"""

from __future__ import annotations

import math
import time

import numpy as np

from duecare.systems.passes.matching import FACE, FINGERPRINT, Kind, Template, same_person
from duecare.systems.passes.sensor import Sensor

TARGET = 1e-4
"""The rate of strangers that pass at which a threshold is chosen."""


def run(scale: float = 1.0) -> None:
    """Print the rates for fingerprints and faces, and the time of one comparison."""
    people, readings = max(50, int(2_000 * scale)), 5
    print(f"matching: {people:,} invented people, 1 enrolment and {readings} presentations each")
    for kind in (FINGERPRINT, FACE):
        genuine, strangers = Sensor(kind, seed=1).scores(people, readings)
        needed = threshold(strangers, TARGET)
        accepted, refused = int((strangers >= kind.threshold).sum()), int((genuine < kind.threshold).sum())
        print(f"  {kind.name:<12} threshold {kind.threshold:.2f}")
        print(f"    1 in {1 / TARGET:,.0f} strangers passes at {needed:.3f}")
        print(f"    FAR {_rate(accepted, strangers.size)}")
        print(f"    FRR {_rate(refused, genuine.size)}")
        sensor = Sensor(kind)
        one, other = sensor.read("a").data(), sensor.read("a", 1).data()
        print(f"    one comparison from bytes: {_microseconds(kind, one, other):.0f} µs")


def threshold(strangers: np.ndarray, rate: float) -> float:
    """The least threshold at which at most ``rate`` of the strangers pass."""
    return float(np.quantile(strangers, 1 - rate))


def wilson(found: int, of: int) -> tuple[float, float]:
    """The 95% interval of a rate (Wilson 1927)."""
    z, share = 1.959964, found / of
    middle, spread = share + z * z / (2 * of), z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (middle - spread) / (1 + z * z / of)), (middle + spread) / (1 + z * z / of)


def _rate(found: int, of: int) -> str:
    low, high = wilson(found, of)
    return f"{found:,} of {of:,} = {found / of:.2e}   (95%: {low:.1e} to {high:.1e})"


def _microseconds(kind: Kind, one: bytes, other: bytes) -> float:
    rounds = 2_000
    start = time.perf_counter()
    for _ in range(rounds):
        same_person(Template.parse(one, kind), Template.parse(other, kind))
    return (time.perf_counter() - start) / rounds * 1e6
