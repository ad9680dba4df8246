"""Proof that outsiders can check: a Merkle log of what was decided and done."""
