"""Commitments hide a value and bind to it."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.evidence.commitment import commit, opens


@given(value=st.text(), other=st.text())
def test_a_commitment_opens_to_its_value_only(value: str, other: str) -> None:
    """A commitment opens with its own salt and value, and with no others."""
    made = commit(value)
    assert opens(made.text, made.salt, value)
    assert opens(made.text, made.salt, other) == (value == other)
    assert not opens(made.text, commit(value).salt, value)


def test_the_format_is_as_documented() -> None:
    """The text is SHA-256 over the documented prefix, salt and value, so that others can recompute it."""
    salt = bytes(32)
    wanted = sha256(b"duecare commitment 1\n" + salt + "王@example.cn".encode()).hexdigest()
    assert commit("王@example.cn", salt).text == f"sha256:{wanted}"


def test_short_salts_are_refused() -> None:
    """A salt that could be guessed is not taken."""
    with pytest.raises(ValueError, match="32 bytes"):
        commit("value", b"short")
    assert not opens("sha256:00", b"", "value")
