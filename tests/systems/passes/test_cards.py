"""Cards and entry codes: how they are made, and that they say nothing without the card."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import BadInput
from duecare.systems.passes.cards import card_number, digest, draw, entry_code, id_card_number

CARDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
NUMBERS = st.from_regex(r"[A-Z0-9]{6,17}", fullmatch=True)


def test_the_documented_example() -> None:
    """Digest and code of one card, as the protocol's page gives them."""
    card = "000102030405060708090a0b0c0d0e0f"
    assert digest(card) == "be45cb2605bf36bebde684841a28f0fd43c69850a3dce5fedba69928ee3a8991"
    assert entry_code(card, "11010519491231002X") == (
        "4ee902f6e1b26907e1ff7becd1533ff81f9c6fc6a146ce604b47d11293a85bda"
    )


@given(CARDS, CARDS, NUMBERS, NUMBERS)
def test_codes_differ(card: str, other: str, number: str, another: str) -> None:
    """Two cards, or two ID cards, give two codes; the same pair gives the same."""
    assert (entry_code(card, number) == entry_code(other, another)) is ((card, number) == (other, another))


def test_cards_are_drawn_at_random() -> None:
    """No two cards are alike, and each is read back in any case."""
    drawn = {draw() for _ in range(1000)}
    assert len(drawn) == 1000
    assert all(card_number(f" {each.upper()}\n") == each for each in drawn)


@pytest.mark.parametrize("text", ["", "12", "g" * 32, "0" * 31, "0" * 33])
def test_what_is_no_card_number_is_refused(text: str) -> None:
    """The error says what a number looks like, and does not repeat what was given."""
    with pytest.raises(BadInput, match="32 hex digits") as caught:
        card_number(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("11010519491231002X", "11010519491231002X"),
        ("110105 19491231 002x", "11010519491231002X"),
        ("330108197001010011", "330108197001010011"),  # born before the district was made
        ("e12345678", "E12345678"),
        ("C-1234567", "C1234567"),
    ],
)
def test_id_card_numbers_are_read(given: str, read: str) -> None:
    """Spaces, hyphens and case do not matter; passports are taken too."""
    assert id_card_number(given) == read


@pytest.mark.parametrize(
    "text", ["110105194912310021", "110105194913310021", "11010519491231A021", "12345", "身份证", "A" * 19]
)
def test_wrong_id_card_numbers_are_refused(text: str) -> None:
    """A check character, a birth date or a length that is wrong is an error that does not repeat the number."""
    with pytest.raises(BadInput, match="not the number of") as caught:
        id_card_number(text)
    assert text not in str(caught.value)
