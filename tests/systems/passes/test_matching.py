"""Templates: their bytes, their comparison, and the error rates at the thresholds that are used."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import BadInput
from duecare.systems.passes.matching import FACE, FINGERPRINT, KINDS, Kind, Template, same_person, similarity
from duecare.systems.passes.sensor import Sensor

VECTORS = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).standard_normal(192))


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_bytes_are_read_back(kind: Kind) -> None:
    """A template is the same after it was bytes, number for number."""
    template = Sensor(kind).read("甲")
    again = Template.parse(template.data(), kind)
    assert np.array_equal(again.vector, template.vector)
    assert again.data() == template.data()


def test_the_form_of_the_bytes() -> None:
    """The head is DCT, version 1, the kind, a zero and the dimension; float32 follow, low byte first."""
    data = Template.of(FINGERPRINT, [1.5, *[0.0] * 191]).data()
    assert data[:12].hex(" ") == "44 43 54 01 01 00 00 c0 00 00 c0 3f"
    assert len(data) == 8 + 4 * 192


GOOD = Sensor(FINGERPRINT).read("甲").data()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "head of 8 bytes"),
        (GOOD[:7], "head of 8 bytes"),
        (b"XCT" + GOOD[3:], "not a template of version 1"),
        (GOOD[:3] + b"\x02" + GOOD[4:], "not a template of version 1"),
        (GOOD[:5] + b"\x01" + GOOD[6:], "not a template of version 1"),
        (GOOD[:4] + b"\x02" + GOOD[5:], "of the kind face"),
        (GOOD[:4] + b"\x09" + GOOD[5:], r"unknown \(9\)"),
        (GOOD[:-4], "says 192 numbers, but carries 191"),
        (GOOD + b"\0", "but carries 192.25"),
        (GOOD[:6] + b"\x00\x01" + GOOD[8:12], "has 192 numbers"),
        (GOOD[:8] + struct.pack("<f", float("nan")) + GOOD[12:], "not finite"),
        (GOOD[:8] + struct.pack("<f", float("inf")) + GOOD[12:], "not finite"),
        (GOOD[:8] + bytes(4 * 192), "nothing but zeros"),
    ],
)
def test_wrong_bytes_are_refused(data: bytes, why: str) -> None:
    """What is not exactly a template of the kind asked for is an error that says what is wrong."""
    with pytest.raises(BadInput, match=why):
        Template.parse(data, FINGERPRINT)


@given(VECTORS, VECTORS, st.floats(0.001, 1000))
def test_similarity_is_a_cosine(one: np.ndarray, other: np.ndarray, factor: float) -> None:
    """It is symmetric, at most 1, 1 with itself, and blind to the length of a vector."""
    a, b = Template.of(FINGERPRINT, one), Template.of(FINGERPRINT, other)
    assert similarity(a, b) == pytest.approx(similarity(b, a))
    assert -1 <= similarity(a, b) <= 1
    assert similarity(a, a) == pytest.approx(1)
    assert similarity(a, Template.of(FINGERPRINT, one * factor)) == pytest.approx(1, abs=1e-5)
    assert similarity(a, Template.of(FINGERPRINT, -one)) == pytest.approx(-1)


@pytest.mark.parametrize("size", [1e-38, 1e38])
def test_the_largest_and_smallest_numbers_are_compared(size: float) -> None:
    """Numbers at the ends of float32 neither overflow nor vanish."""
    vector = np.ones(192) * size
    assert same_person(Template.of(FINGERPRINT, vector), Template.of(FINGERPRINT, np.ones(192)))


def test_kinds_are_not_compared_with_each_other() -> None:
    """A face is no fingerprint."""
    with pytest.raises(BadInput, match="face template cannot be compared"):
        similarity(Sensor(FACE).read("甲"), Sensor(FINGERPRINT).read("甲"))


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_error_rates(kind: Kind) -> None:
    """On generated templates at most 2 in 10,000 strangers pass, and at most 1 in 100 holders does not."""
    genuine, strangers = Sensor(kind, seed=7).scores(people=600, readings=3)
    assert (strangers >= kind.threshold).mean() <= 2e-4
    assert (genuine < kind.threshold).mean() <= 1e-2


def test_a_sensor_repeats_itself() -> None:
    """The same person and reading give the same template; another reading another, of the same person."""
    sensor = Sensor(FACE, seed=3)
    assert sensor.read("甲", 1).data() == Sensor(FACE, seed=3).read("甲", 1).data()
    assert sensor.read("甲", 1).data() != sensor.read("甲", 2).data()
    assert same_person(sensor.read("甲", 1), sensor.read("甲", 2))
    assert not same_person(sensor.read("甲", 1), sensor.read("乙", 1))


def test_nothing_of_a_template_is_printed() -> None:
    """The words for a template in a log or an error hold none of its numbers."""
    assert repr(Sensor(FACE).read("甲")) == "Template(face)"
