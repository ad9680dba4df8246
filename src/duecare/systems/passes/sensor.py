"""A sensor for trials: templates of invented people, for tests, the bench and a first look without devices.

A person is a direction in a space of fewer dimensions than the template has, so that people resemble each other as they
do; a reading adds noise, sometimes a lot of it (a wet finger, a face in the sun).

The rule of this module: the same seed, person and reading give the same template, on every machine and for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from duecare.systems.passes.matching import FACE, FINGERPRINT, Kind, Template


@dataclass(frozen=True)
class Profile:
    """How people and readings of a kind vary: the number of ways in which people differ, and the noise of a reading
    (its median relative to the signal, and the spread of its logarithm)."""

    variety: int
    noise: float
    spread: float


PROFILES = {FINGERPRINT.name: Profile(80, 0.55, 0.35), FACE.name: Profile(120, 0.55, 0.35)}


@dataclass(frozen=True)
class Sensor:
    """Reads ``kind`` of templates; ``seed`` tells sensors of different worlds apart."""

    kind: Kind
    seed: int = 0

    def read(self, person: str, reading: int = 0) -> Template:
        """The ``reading``-th reading of ``person``."""
        return Template.of(self.kind, self.readings([person], reading)[0])

    def readings(self, people: list[str], reading: int = 0) -> NDArray[np.float32]:
        """The ``reading``-th reading of each, one a row: for many at once."""
        profile = PROFILES[self.kind.name]
        rows = []
        for person in people:
            own = self._random("person", person).standard_normal(profile.variety)
            noise = self._random("reading", person, str(reading))
            size = profile.noise * np.exp(profile.spread * noise.standard_normal())
            rows.append((own, size * noise.standard_normal(self.kind.dimension) / np.sqrt(self.kind.dimension)))
        people_rows = np.array([own for own, _ in rows]) @ _space(self).T
        people_rows /= np.linalg.norm(people_rows, axis=1, keepdims=True)
        return np.asarray(people_rows + np.array([noise for _, noise in rows]), dtype=np.float32)

    def scores(self, people: int, readings: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The cosines of ``readings`` presentations by each of ``people`` with their own enrolment, and with everybody
        else's: what error rates are counted from."""
        names = [f"person {number}" for number in range(people)]
        enrolled = _unit(self.readings(names))
        genuine, strangers = [], []
        for reading in range(1, readings + 1):
            cosines = _unit(self.readings(names, reading)) @ enrolled.T
            genuine.append(np.diag(cosines).copy())
            strangers.append(cosines[~np.eye(people, dtype=bool)])
        return np.concatenate(genuine), np.concatenate(strangers)

    def _random(self, *words: str) -> np.random.Generator:
        key = "\n".join((self.kind.name, str(self.seed), *words))
        return np.random.Generator(np.random.PCG64(int.from_bytes(sha256(key.encode()).digest(), "big")))


@cache
def _space(sensor: Sensor) -> NDArray[np.float64]:
    """The directions in which people differ, one a column."""
    size = (PROFILES[sensor.kind.name].variety, sensor.kind.dimension)
    return np.asarray(np.linalg.qr(sensor._random("space").standard_normal(size).T)[0])


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))
