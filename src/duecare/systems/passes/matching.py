"""Comparing a template from the gate with the one that was enrolled: cosine, one against one.

A template is a vector of numbers that the device at the pass centre or at the gate makes of a finger or a face; the
image never leaves the device. Two templates of one person point nearly the same way. The thresholds were chosen so
that at most 1 in 10,000 strangers passes who holds somebody else's card, and the error rates measured, on generated
templates, by ``python -m bench matching``.

The rule of this module: a template is compared with that of the one person whose card was shown, never searched for
among many.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duecare.errors import BadInput

VERSION = 1
"""Of the bytes; a template of another version is refused."""

_HEAD = struct.Struct(">3sBBxH")
_MAGIC = b"DCT"


@dataclass(frozen=True)
class Kind:
    """A kind of template. ``threshold``: the least cosine that counts as the same person."""

    name: str
    code: int
    dimension: int
    threshold: float


FINGERPRINT = Kind("fingerprint", 1, 192, 0.36)
FACE = Kind("face", 2, 512, 0.29)

KINDS: dict[str, Kind] = {each.name: each for each in (FINGERPRINT, FACE)}
_BY_CODE = {each.code: each for each in KINDS.values()}


@dataclass(frozen=True)
class Template:
    """``vector``: float32, as many as the kind has dimensions, finite, not all zero. Its length has no meaning."""

    kind: Kind
    vector: NDArray[np.float32]

    @classmethod
    def of(cls, kind: Kind, values: Any) -> Template:
        """A template from numbers. Raises ``BadInput`` where they cannot be one."""
        vector = np.asarray(values, dtype=np.float32)
        if vector.shape != (kind.dimension,):
            raise BadInput(
                f"A {kind.name} template has {kind.dimension} numbers; this one has the shape {vector.shape}.",
                hint="Use the template that the device gives, whole.",
            )
        if not np.isfinite(vector).all() or not vector.any():
            raise BadInput(
                f"The {kind.name} template holds numbers that are not finite, or nothing but zeros.",
                hint="The sensor gave no reading: read again.",
            )
        return cls(kind, vector)

    @classmethod
    def parse(cls, data: bytes, kind: Kind) -> Template:
        """Read the bytes of a template of ``kind``. Raises ``BadInput`` saying where they depart from the form."""
        if len(data) < _HEAD.size:
            raise BadInput(f"A template has a head of {_HEAD.size} bytes; here are {len(data)} in all.")
        magic, version, code, dimension = _HEAD.unpack_from(data)
        if magic != _MAGIC or version != VERSION or data[5]:
            raise BadInput(
                f"This is not a template of version {VERSION}.",
                hint=f"It begins with the bytes {(_MAGIC + bytes([VERSION])).hex(' ')}.",
            )
        if code != kind.code:
            given = _BY_CODE[code].name if code in _BY_CODE else f"unknown ({code})"
            raise BadInput(f"The template is of the kind {given}, but {kind.name} is compared here.")
        if len(data) != _HEAD.size + 4 * dimension:
            raise BadInput(f"The template says {dimension} numbers, but carries {(len(data) - _HEAD.size) / 4:g}.")
        return cls.of(kind, np.frombuffer(data, dtype="<f4", offset=_HEAD.size))

    def data(self) -> bytes:
        """The bytes: ``DCT``, version, kind, a zero, the dimension (2 bytes, high first), float32 low byte first."""
        return _HEAD.pack(_MAGIC, VERSION, self.kind.code, self.kind.dimension) + self.vector.astype("<f4").tobytes()

    def __repr__(self) -> str:
        return f"Template({self.kind.name})"


def kind_of(data: bytes) -> Kind:
    """The kind that the bytes of a template say. Raises ``BadInput``."""
    if len(data) < _HEAD.size or data[:3] != _MAGIC or data[4] not in _BY_CODE:
        raise BadInput(
            "This is not a template.", hint=f"It begins with the bytes {(_MAGIC + bytes([VERSION])).hex(' ')}."
        )
    return _BY_CODE[data[4]]


def similarity(one: Template, other: Template) -> float:
    """The cosine of the angle between two templates, from -1 to 1. Raises ``BadInput`` where their kinds differ."""
    if one.kind is not other.kind:
        raise BadInput(f"A {one.kind.name} template cannot be compared with a {other.kind.name} template.")
    a, b = one.vector.astype(np.float64), other.vector.astype(np.float64)
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    return float(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1.0, 1.0))


def same_person(enrolled: Template, presented: Template) -> bool:
    """Whether the two are taken to be of one person."""
    return similarity(enrolled, presented) >= enrolled.kind.threshold
