"""The pass system as a notebook opens it."""

from __future__ import annotations

from duecare.store.home import Home
from duecare.systems.passes.service import Passes

from .people import FACES, FINGERS, HE, SHE, finger


def test_notebook_session(home: Home) -> None:
    """A year of a pass is a handful of calls on one object."""
    with Passes(home, by="li") as passes:
        passes.publish(FINGERS)
        sold = passes.sell("pass_for_two", [HE, SHE])
        his = sold.cards[0].subject
        passes.enrol(his, "card_fingerprint", finger("he"))
        assert passes.replace_card(SHE.id_number).subject == sold.cards[1].subject
        assert passes.publish(FACES).told == 3
        assert passes.send().waiting
        assert passes.end_way("card_fingerprint", "stopped").erased == 1
        assert passes.truth(his)["pass"]["refund"]["owed"] is True
        assert passes.withdraw(sold.cards[1].subject, "mail_contact").erasures
        assert passes.pay_back(sold.pass_id, [his], "declines faces").amount == 678
        assert passes.renew(sold.pass_id).year == 2
