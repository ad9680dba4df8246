"""Gate lists: read back as written, and refused where a byte or a signature is another."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import EvidenceBroken
from duecare.evidence.checkpoint import Note, SigningKey
from duecare.systems.passes.lists import Head, Line, body_of, head_of, read_body, read_head

KEY = SigningKey("park/1/gates", bytes(range(32)))
ISSUED = datetime(2019, 10, 26, 1, tzinfo=UTC)
DAYS = st.dates(date(2000, 1, 1), date(2099, 12, 31))
LINES = st.lists(
    st.builds(
        Line,
        card=st.binary(min_size=32, max_size=32).map(bytes.hex),
        first=DAYS,
        last=DAYS,
        method=st.sampled_from(["card_id_card", "card_face", "ticket"]),
        code=st.one_of(st.just(""), st.binary(min_size=32, max_size=32).map(bytes.hex)),
    ),
    max_size=20,
    unique_by=lambda line: line.card,
)
TWO = [
    Line("b" * 64, date(2019, 4, 27), date(2020, 4, 25), "card_fingerprint", "c" * 64),
    Line("a" * 64, date(2019, 10, 26), date(2019, 10, 26), "ticket", ""),
]


def issue(lines: list[Line]) -> tuple[bytes, bytes]:
    body = body_of(lines)
    return head_of(KEY, body, ISSUED, ISSUED + timedelta(hours=24)).sign(KEY), body


@given(LINES)
def test_lists_are_read_back(lines: list[Line]) -> None:
    """Any cards, in any order, are read back line for line, with the times to the second."""
    head, body = issue(lines)
    read = read_head(head, KEY.verifier)
    assert (read.issuer, read.issued, read.expires) == (KEY.name, ISSUED, ISSUED + timedelta(hours=24))
    assert sorted(read_body(body, read).values(), key=lambda line: line.card) == sorted(
        lines, key=lambda line: line.card
    )


def test_the_documented_form() -> None:
    """The text of a list is the one that the protocol's page shows."""
    head, body = issue(TWO)
    assert body.decode().splitlines() == [
        f"{'a' * 64} 2019-10-26 2019-10-26 ticket -",
        f"{'b' * 64} 2019-04-27 2020-04-25 card_fingerprint {'c' * 64}",
    ]
    assert head.decode().splitlines()[:6] == [
        "duecare gate list 1",
        "park/1/gates",
        "issued 2019-10-26T01:00:00Z",
        "expires 2019-10-27T01:00:00Z",
        "cards 2",
        "sha256 17a7c72f86fffacdf78e86e0301a8a46a4a252bf74f1ac036da64b249a185b43",
    ]


@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    """A list with any one byte changed is refused, head or body."""
    head, body = issue(TWO)
    whole = bytearray(head + body)
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(EvidenceBroken):
        read_body(bytes(whole[len(head) :]), read_head(bytes(whole[: len(head)]), KEY.verifier))


def test_another_signer_is_refused() -> None:
    """A list signed by somebody else, in his own name or the park's, is none."""
    head, _ = issue(TWO)
    text = Note.parse(head).text
    for name in ("park/1/gates", "someone"):
        other = SigningKey(name, bytes(32))
        with pytest.raises(EvidenceBroken, match="not signed by"):
            read_head(Note(text, (other.sign(text),)).data(), KEY.verifier)


@pytest.mark.parametrize(
    "text",
    [
        "duecare gate list 2\npark/1/gates\nissued 2019-10-26T01:00:00Z\nexpires 2019-10-27T01:00:00Z\ncards 2\n"
        "sha256 0\n",
        "duecare gate list 1\npark/1/gates\nissued 2019-10-26\nexpires 2019-10-27T01:00:00Z\ncards 2\nsha256 0\n",
        f"duecare gate list 1\npark/1/gates\nissued 2019-10-26T01:00:00Z\nexpires 2019-10-27T01:00:00Z\ncards 02\n"
        f"sha256 {'0' * 64}\n",
        "duecare gate list 1\npark/1/gates\n",
    ],
)
def test_other_forms_are_refused(text: str) -> None:
    """A head that is signed, but not in its form, is refused."""
    with pytest.raises(EvidenceBroken, match="not the head of a gate list"):
        read_head(Note(text, (KEY.sign(text),)).data(), KEY.verifier)


@pytest.mark.parametrize(
    "body",
    [
        b"x\n",
        f"{'b' * 64} 2019-04-27 2020-04-25 ticket -\n{'a' * 64} 2019-04-27 2020-04-25 ticket -\n".encode(),
        f"{'a' * 64} 2019-02-30 2020-04-25 ticket -\n".encode(),
        f"{'a' * 64} 2019-04-27 2020-04-25 ticket -".encode(),
        f"{'a' * 64} 2019-04-27 2020-04-25 ticket -\n{'a' * 64} 2019-04-27 2020-04-26 ticket -\n".encode(),
    ],
)
def test_other_bodies_are_refused(body: bytes) -> None:
    """Lines out of form or order, cut short or twice, are refused even where the digest is right."""
    head = head_of(KEY, body, ISSUED, ISSUED + timedelta(hours=1))
    with pytest.raises(EvidenceBroken, match="The body of the gate list"):
        read_body(body, head)


def test_a_count_that_is_wrong_is_refused() -> None:
    """A head that says another number of cards than the body has is refused."""
    body = body_of(TWO)
    head = head_of(KEY, body, ISSUED, ISSUED)
    with pytest.raises(EvidenceBroken, match="cut short"):
        read_body(body, Head(head.issuer, head.issued, head.expires, 3, head.sha256))
