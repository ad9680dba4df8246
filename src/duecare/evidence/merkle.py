"""Merkle trees as RFC 6962 hashes them, and the two proofs that an outsider checks.

*Inclusion*: this entry is in the tree of that root. *Consistency*: the newer tree begins with the older one, so the log
only grew. Proofs are made from the hashes of perfect subtrees (``Nodes``), wherever those are kept.

The rule of this module: a proof holds only if every hash in it was needed and used; one too many, one too few or one
of the wrong length refuses the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

HASH_SIZE = 32
"""Bytes of a hash."""

EMPTY_ROOT = sha256(b"").digest()
"""The root of the tree without leaves (RFC 6962 section 2.1)."""

Nodes = Callable[[int, int], bytes]
"""``nodes(level, index)``: the hash over leaves ``[index << level, (index + 1) << level)``, all of which exist."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf: SHA-256 over 0x00 and the leaf (RFC 6962 section 2.1)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256 over 0x01 and both children (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of neighbouring hashes of one level."""
    row = hashes
    while len(row) > 1:
        pairs = iter(row)
        row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return row[0]


def nodes_over(leaves: Sequence[bytes]) -> Nodes:
    """Nodes that are computed when asked for, from the hashes of all ``leaves``: for a tree that is kept nowhere."""
    return lambda level, index: perfect_root(leaves[index << level : (index + 1) << level])


def tree_root(size: int, nodes: Nodes) -> bytes:
    """The root of the tree of the first ``size`` leaves."""
    return _span(0, size, nodes) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The hashes that lead from leaf ``index`` to the root of the tree of ``size`` leaves (RFC 9162 section 2.1.3.1).

    Raises ``ValueError`` unless ``0 <= index < size``.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_span(middle, end, nodes))
            end = middle
        else:
            path.append(_span(start, middle, nodes))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """The hashes that show the tree of ``old`` leaves to be the beginning of that of ``new``.

    RFC 9162 section 2.1.4.1. Empty where nothing needs showing (``old`` is 0 or ``new``). Raises ``ValueError``
    unless ``0 <= old <= new``.
    """
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} cannot have grown from one of {old}")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_span(middle, end, nodes))
            end = middle
        else:
            path.append(_span(start, middle, nodes))
            start, whole = middle, False
    # The verifier holds the old root already when the old tree is one perfect subtree standing at the left edge.
    if not whole:
        path.append(_span(start, end, nodes))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether ``proof`` leads from the leaf hash ``leaf`` at ``index`` to ``root`` (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size or not _sound(leaf, root, *proof):
        return False
    position, last, running = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            running = node_hash(sibling, running)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            running = node_hash(running, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and running == root


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether ``proof`` shows that the tree of ``new`` leaves begins with that of ``old`` (RFC 9162 2.1.4.2)."""
    if not 0 <= old <= new or not _sound(old_root, new_root, *proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    from_old = from_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            from_old, from_new = node_hash(sibling, from_old), node_hash(sibling, from_new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            from_new = node_hash(from_new, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and from_old == old_root and from_new == new_root


class Growing:
    """A tree that grows leaf by leaf, kept as the perfect subtrees along its right edge (largest first)."""

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[tuple[int, bytes]] = []

    def add(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        level, running = 0, leaf
        while self._edge and self._edge[-1][0] == level:
            running = node_hash(self._edge.pop()[1], running)
            level += 1
        self._edge.append((level, running))
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._edge:
            return EMPTY_ROOT
        running = self._edge[-1][1]
        for _, left in reversed(self._edge[:-1]):
            running = node_hash(left, running)
        return running


def _split(width: int) -> int:
    """The largest power of two below ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


def _span(start: int, end: int, nodes: Nodes) -> bytes:
    """The hash over leaves ``[start, end)``; the recursion of RFC 6962 keeps ``start`` aligned, so a power of two of
    leaves is one perfect subtree."""
    width = end - start
    level = width.bit_length() - 1
    if width == 1 << level:
        return nodes(level, start >> level)
    middle = start + _split(width)
    return node_hash(_span(start, middle, nodes), _span(middle, end, nodes))


def _sound(*hashes: bytes) -> bool:
    return all(len(each) == HASH_SIZE for each in hashes)
