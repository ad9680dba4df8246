"""A gate and the centre, over real HTTP: who enters, who does not, and why."""

from __future__ import annotations

from duecare.systems.passes import enrolment
from duecare.systems.passes.device import Gate, Presentation
from duecare.systems.passes.park import Park
from duecare.systems.passes.sales import Sold

from .people import HE, SHE, finger


def test_card_and_id_card(gate: Gate, sold: Sold) -> None:
    """Every holder enters with card and ID card, whatever else they agreed to."""
    for issued, buyer in zip(sold.cards, (HE, SHE), strict=True):
        answer = gate.enter(Presentation(issued.card, buyer.id_number))
        assert answer.open
        assert [word.id for word in answer.words] == ["guo_v_safari_park.enter"]


def test_card_and_fingerprint(park: Park, gate: Gate, sold: Sold) -> None:
    """Who was enrolled enters by the finger of another day."""
    his = sold.cards[0]
    enrolment.enrol(park, his.subject, "card_fingerprint", finger("he"), screen="centre 1", actor="clerk")
    answer = gate.enter(Presentation(his.card, template=finger("he", 1)))
    assert answer.open, answer
