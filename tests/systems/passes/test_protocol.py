"""The page of the gate protocol: its examples are right, and a gate that was written from it alone enters."""

from __future__ import annotations

import re
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from duecare.clock import SetClock
from duecare.evidence.checkpoint import SigningKey, VerifierKey
from duecare.systems.passes import enrolment, entries, gates, sales, signatures, wire
from duecare.systems.passes.cards import digest, entry_code
from duecare.systems.passes.lists import read_body, read_head
from duecare.systems.passes.park import Park
from duecare.systems.passes.sales import Sold
from duecare.systems.passes.server import _bound
from duecare.systems.passes.wire import Question

from .independent_gate import IndependentGate
from .people import HE, SHE, finger

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "gate-protocol.md").read_text(encoding="utf-8")
EXAMPLES = [
    block.replace("\n    ", "\n")[4:] for block in re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", PAGE, re.MULTILINE)
]
GATE, CENTRE = SigningKey("east", bytes(range(32))), SigningKey("park/1/gates", bytes(range(32, 64)))
CARD, NUMBER = "000102030405060708090a0b0c0d0e0f", "11010519491231002X"
NAME = "0123456789abcdef0123456789abcdef"


def example(start: str) -> str:
    """The one example of the page that begins so."""
    (found,) = [each for each in EXAMPLES if each.startswith(start)]
    return found


def test_the_examples_of_the_page() -> None:
    """Key, digest, code, body, signatures and list on the page are what the code makes of the same numbers."""
    assert example("east+").strip() == str(GATE.verifier)
    assert digest(CARD) in example("digest")
    assert entry_code(CARD, NUMBER) in example("digest")
    body = example("{").strip().encode()
    assert Question.parse(body).data() == body
    headers = signatures.sign_request(GATE, "east", "POST", wire.ENTRIES, body, NAME, 1572051600)
    shown = example("Signature-Input: gate")
    assert f"Signature-Input: {headers['signature-input']}\nSignature: {headers['signature']}\n" == shown
    base = example('"@method"').rstrip("\n")
    assert GATE.verifier.verifies(base.encode(), GATE.sign(base).blob)
    assert f"gate=:{_signature(GATE, base)}:" == headers["signature"]
    answered = example('"@status"').rstrip("\n")
    assert f"centre=:{_signature(CENTRE, answered)}:" in example("Signature-Input: centre")


def _signature(key: SigningKey, text: str) -> str:
    from base64 import b64encode

    return b64encode(key.sign(text).blob).decode()


def test_the_list_of_the_page() -> None:
    """The head on the page is signed, and names the body on the page."""
    head = read_head(example("duecare gate list").encode(), CENTRE.verifier)
    (line,) = read_body(example("be45").encode(), head).values()
    assert (line.card, line.code) == (digest(CARD), entry_code(CARD, NUMBER))


def test_every_word_of_a_gate_is_on_the_page() -> None:
    """No reason that a gate may show is missing from the page, and none is there that it never shows."""
    assert set(wire.WORDS) == set(re.findall(r"`(gate\.[a-z_]+)`", PAGE))


@pytest.fixture
def independent(park: Park, centre: str) -> IndependentGate:
    made = IndependentGate("north", bytes(range(32)), centre, str(gates.centre_key(park).verifier))
    with park.home.database.session() as session:
        gates.add_gate(session, VerifierKey.parse(made.key), park.now())
    return made


def test_an_independent_gate(independent: IndependentGate, park: Park, sold: Sold, clock: SetClock) -> None:
    """In touch it lets the holders in, alone it decides by its list, and what it decided is taken afterwards."""
    his, hers = sold.cards
    ticket = sales.sell(park, "single_ticket", screen="counter", actor="clerk").cards[0]
    enrolment.enrol(park, his.subject, "card_fingerprint", finger("he"), screen="centre", actor="clerk")
    now = clock.now()
    assert independent.enter(his.card, now=now, template=finger("he", 1)) == (True, ["guo_v_safari_park.enter"])
    assert independent.enter(hers.card, now=now, number=SHE.id_number) == (True, ["guo_v_safari_park.enter"])
    assert independent.enter(hers.card, now=now, number=HE.id_number) == (False, ["gate.no_match"])
    assert independent.enter(hers.card, now=now) == (False, ["gate.show_id_card"])
    assert independent.enter(his.card, now=now) == (False, ["gate.show_fingerprint"])
    independent.fetch(now)
    centre, independent.centre = independent.centre, "http://127.0.0.1:9"
    for shown, wanted in (
        ({"number": SHE.id_number}, (True, ["gate.on_the_list"])),
        ({"number": HE.id_number}, (False, ["gate.no_match"])),
        ({"template": finger("she")}, (False, ["gate.no_biometrics_offline"])),
        ({}, (False, ["gate.show_id_card"])),
    ):
        assert independent.enter(hers.card, now=now, **shown) == wanted  # type: ignore[arg-type]
    assert independent.enter(ticket.card, now=now) == (True, ["gate.on_the_list"])
    clock.advance(timedelta(minutes=10))
    sales.report_lost(park, hers.subject, actor="clerk")
    later = now + timedelta(hours=1)
    assert independent.enter(hers.card, now=later, number=SHE.id_number)[0]
    assert independent.enter(hers.card, now=now + timedelta(hours=24), number=SHE.id_number) == (
        False,
        ["gate.no_list"],
    )
    clock.set(now + timedelta(hours=24))
    independent.centre = centre
    (conflict,) = independent.hand_over(clock.now())
    assert independent.journal == []
    with park.home.database.session() as session:
        assert [(row.key, row.kind) for row in entries.conflicts(session)] == [(conflict, "card_lost")]


def test_a_key_of_ones_own_making(independent: IndependentGate, sold: Sold, clock: SetClock) -> None:
    """A gate with another key under the same name is refused."""
    other = IndependentGate("north", bytes(32), independent.centre, f"{independent.issuer}+0+{_public(independent)}")
    assert other.enter(sold.cards[1].card, now=clock.now(), number=SHE.id_number) == (False, ["gate.refused"])


def _public(gate: IndependentGate) -> str:
    from base64 import b64encode

    return b64encode(b"\x01" + gate.public.public_bytes_raw()).decode()


def test_answers_are_not_held_back() -> None:
    """A connection to the centre sends at once what it has to send: 40 ms less for whoever stands at a gate."""
    with _bound("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()) as gate:
        asked, _ = listening.accept()
        with asked:
            assert gate.getpeername() == asked.getsockname()
            assert asked.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
