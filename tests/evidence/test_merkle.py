"""Merkle hashes and proofs, against published vectors and as properties."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.evidence import merkle

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "merkle.json").read_text())
LEAVES = [bytes.fromhex(leaf) for leaf in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(root) for root in VECTORS["roots"]]
FALSE = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")


def nodes_of(leaves: list[bytes]) -> merkle.Nodes:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    return lambda level, index: merkle.perfect_root(hashes[index << level : (index + 1) << level])


def proof_of(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(each) for each in vector["proof"]]


def test_empty_root() -> None:
    """The root of nothing is SHA-256 of nothing."""
    assert bytes.fromhex(VECTORS["empty_root"]) == merkle.EMPTY_ROOT == merkle.tree_root(0, nodes_of([]))


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size: int) -> None:
    """The tree of the first published leaves has the published root."""
    assert merkle.tree_root(size, nodes_of(LEAVES)) == ROOTS[size - 1]


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda each: f"{each['index']} of {each['size']}")
def test_published_inclusion(vector: dict[str, Any]) -> None:
    """A published inclusion proof is made and verified as published."""
    index, size, proof = vector["index"], vector["size"], proof_of(vector)
    assert merkle.inclusion_proof(index, size, nodes_of(LEAVES)) == proof
    assert merkle.verify_inclusion(merkle.leaf_hash(LEAVES[index]), index, size, proof, ROOTS[size - 1])


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda each: f"{each['old']} to {each['new']}")
def test_published_consistency(vector: dict[str, Any]) -> None:
    """A published consistency proof is made and verified as published."""
    old, new, proof = vector["old"], vector["new"], proof_of(vector)
    assert merkle.consistency_proof(old, new, nodes_of(LEAVES)) == proof
    assert merkle.verify_consistency(old, new, proof, ROOTS[old - 1], ROOTS[new - 1])


@pytest.mark.parametrize("size", range(1, 20))
def test_every_small_tree(size: int) -> None:
    """In every tree of up to 19 leaves each entry is provably in it, and it provably grew from each smaller one."""
    leaves = [bytes([at]) for at in range(size)]
    nodes = nodes_of(leaves)
    root = merkle.tree_root(size, nodes)
    for index in range(size):
        proof = merkle.inclusion_proof(index, size, nodes)
        assert merkle.verify_inclusion(merkle.leaf_hash(leaves[index]), index, size, proof, root)
    for old in range(size + 1):
        proof = merkle.consistency_proof(old, size, nodes)
        assert merkle.verify_consistency(old, size, proof, merkle.tree_root(old, nodes), root)


Spoil = Callable[[list[bytes]], list[bytes]]
SPOILS: dict[str, Spoil] = {
    "one bit": lambda proof: [bytes([proof[0][0] ^ 8]) + proof[0][1:], *proof[1:]] if proof else [FALSE],
    "one too many at the end": lambda proof: [*proof, FALSE],
    "one too many at the start": lambda proof: [FALSE, *proof],
    "an empty one": lambda proof: [*proof, b""],
    "one too few": lambda proof: proof[:-1] if proof else [FALSE],
    "two swapped": lambda proof: [proof[1], proof[0], *proof[2:]] if len(proof) > 1 else [FALSE],
}


@given(size=st.integers(1, 300), data=st.data())
def test_spoiled_inclusion_is_refused(size: int, data: st.DataObject) -> None:
    """A proof of inclusion with anything changed, added, dropped or moved does not hold."""
    index = data.draw(st.integers(0, size - 1))
    leaves = [at.to_bytes(2, "big") for at in range(size)]
    nodes = nodes_of(leaves)
    root, hashed = merkle.tree_root(size, nodes), merkle.leaf_hash(leaves[index])
    proof = merkle.inclusion_proof(index, size, nodes)
    assert merkle.verify_inclusion(hashed, index, size, proof, root)
    spoil = SPOILS[data.draw(st.sampled_from(sorted(SPOILS)))]
    assert not merkle.verify_inclusion(hashed, index, size, spoil(proof), root)
    assert not merkle.verify_inclusion(FALSE, index, size, proof, root)
    assert not merkle.verify_inclusion(hashed, index, size, proof, FALSE)
    other = data.draw(st.integers(-1, size).filter(lambda at: at != index))
    assert not merkle.verify_inclusion(hashed, other, size, proof, root)


@given(new=st.integers(1, 300), data=st.data())
def test_spoiled_consistency_is_refused(new: int, data: st.DataObject) -> None:
    """A proof of growth with anything changed, or from a tree that was another one, does not hold."""
    old = data.draw(st.integers(1, new))
    nodes = nodes_of([at.to_bytes(2, "big") for at in range(new)])
    old_root, new_root = merkle.tree_root(old, nodes), merkle.tree_root(new, nodes)
    proof = merkle.consistency_proof(old, new, nodes)
    assert merkle.verify_consistency(old, new, proof, old_root, new_root)
    spoil = SPOILS[data.draw(st.sampled_from(sorted(SPOILS)))]
    assert not merkle.verify_consistency(old, new, spoil(proof), old_root, new_root)
    assert not merkle.verify_consistency(old, new, proof, FALSE, new_root)
    assert not merkle.verify_consistency(old, new, proof, old_root, FALSE)
    assert not merkle.verify_consistency(new + 1, new, proof, old_root, new_root)


@given(size=st.integers(2, 200), data=st.data())
def test_a_rewritten_past_is_seen(size: int, data: st.DataObject) -> None:
    """No honest proof shows growth from a tree in which one leaf was another."""
    old = data.draw(st.integers(1, size))
    at = data.draw(st.integers(0, old - 1))
    leaves = [each.to_bytes(2, "big") for each in range(size)]
    then = merkle.tree_root(old, nodes_of(leaves))
    leaves[at] = b"rewritten"
    nodes = nodes_of(leaves)
    proof = merkle.consistency_proof(old, size, nodes)
    assert not merkle.verify_consistency(old, size, proof, then, merkle.tree_root(size, nodes))


def test_impossible_proofs_are_not_made() -> None:
    """A leaf beyond the tree, or a tree that shrank, has no proof."""
    with pytest.raises(ValueError, match="not in a tree"):
        merkle.inclusion_proof(3, 3, nodes_of(LEAVES))
    with pytest.raises(ValueError, match="cannot have grown"):
        merkle.consistency_proof(4, 3, nodes_of(LEAVES))
