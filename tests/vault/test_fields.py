"""One value, sealed: bound to what it is and whose, and to nothing else."""

from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import BadInput, EvidenceBroken
from duecare.vault.fields import FORMAT, Context, described, encoded, seal, unseal
from duecare.vault.index import look_up, plain

IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,20}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
CONTEXTS = st.builds(Context, IDS, IDS, NAMES, st.just("text"))


@given(context=CONTEXTS, value=TEXTS)
def test_a_text_opens_as_it_was_sealed(context: Context, value: str) -> None:
    """The value comes back to the letter; the ciphertext is 28 bytes longer and shows nothing of it."""
    sealed = seal(context, value)
    assert unseal(context, sealed.ciphertext, sealed.data_key) == value
    assert len(sealed.ciphertext) == len(value.encode()) + 28
    again = seal(context, value)
    assert (again.ciphertext, again.data_key) != (sealed.ciphertext, sealed.data_key)
    assert str(sealed.data_key) not in repr(sealed)


@given(one=CONTEXTS, other=CONTEXTS, value=TEXTS)
def test_a_ciphertext_opens_in_its_own_context_only(one: Context, other: Context, value: str) -> None:
    """Moved to another value, subject or field, with its own key, it does not open."""
    sealed = seal(one, value)
    moved = [
        other,
        Context(other.value, one.subject, one.field, "text"),
        Context(one.value, other.subject, one.field, "text"),
        Context(one.value, one.subject, other.field, "text"),
        Context(one.value, one.subject, one.field, "bytes"),
    ]
    for context in moved:
        if context != one:
            with pytest.raises(EvidenceBroken, match="moved to another row"):
                unseal(context, sealed.ciphertext, sealed.data_key)


@given(context=CONTEXTS, value=st.text(max_size=20), at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_changed_bit_does_not_open(context: Context, value: str, at: int, bit: int) -> None:
    """Any bit of nonce, ciphertext or tag that was changed is noticed."""
    sealed = seal(context, value)
    changed = bytearray(sealed.ciphertext)
    changed[at % len(changed)] ^= 1 << bit
    with pytest.raises(EvidenceBroken):
        unseal(context, bytes(changed), sealed.data_key)
    with pytest.raises(EvidenceBroken):
        unseal(context, sealed.ciphertext[: at % len(changed)], sealed.data_key)


@given(context=CONTEXTS, digest=st.binary(min_size=32, max_size=32).map(bytes.hex))
def test_what_is_put_together_by_hand_is_canonical(context: Context, digest: str) -> None:
    """The associated data and the words of a certificate are what RFC 8785 makes of their parts."""
    parts = {"field": context.field, "form": context.form, "subject": context.subject, "value": context.value}
    assert context.data() == rfc8785.dumps({**parts, "format": FORMAT})
    del parts["form"]
    assert described(context, digest).encode() == rfc8785.dumps({**parts, "sha256": digest})
    assert json.loads(described(context, digest))["sha256"] == digest


@pytest.mark.parametrize(
    ("form", "value", "why"),
    [("text", b"x", "holds text"), ("bytes", "x", "holds bytes"), ("text", "\ud800", "UTF-8"), ("date", "x", "'date'")],
)
def test_a_value_that_is_not_of_its_form_is_refused(form: str, value: str | bytes, why: str) -> None:
    """The message says what is wrong, and does not show the value."""
    with pytest.raises(BadInput, match=why):
        encoded("name", form, value)


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("13800138000", "１３８００１３８０００"),
        ("138 0013-8000", "13800138000"),
        ("33010619900101123x", "33010619900101123X"),
        ("+86 138‐0013‐8000", "+8613800138000"),
    ],
)
def test_one_number_is_found_however_it_is_written(written: str, same: str) -> None:
    """Spaces, hyphens, full-width digits and case do not tell two numbers apart; the field and the key do."""
    key = bytes(32)
    assert plain(written) == plain(same)
    assert look_up(key, "phone", written) == look_up(key, "phone", same)
    assert look_up(key, "phone", written) != look_up(key, "id_number", written)
    assert look_up(key, "phone", written) != look_up(b"\1" * 32, "phone", written)
    assert look_up(key, "phone", written) != look_up(key, "phone", written + "1")
