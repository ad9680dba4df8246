"""The annual pass of case 2 as one object, for notebooks and for the pages to come.

The rule of this module: it adds nothing. Every method is one call into a room that keeps its own rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from duecare.settings import load
from duecare.store.home import Home
from duecare.systems.passes.park import Park

if TYPE_CHECKING:
    from duecare.systems.passes.changes import Changed, Ended
    from duecare.systems.passes.messages import Sent
    from duecare.systems.passes.refunds import Refund
    from duecare.systems.passes.sales import Buyer, Issued, Sold
    from duecare.vault.erasure import Outcome


class Passes:
    """Sale, enrolment, change, refund and the page of truth over one home. ``by`` is who does it; it is kept.

    A write that is sent again under its ``once_key`` is done once, and answered as at first (``once``).
    """

    def __init__(self, home: Home | str | Path | None = None, *, by: str = "clerk") -> None:
        self.home = home if isinstance(home, Home) else Home(load(home=home))
        self.park, self.by = Park.open(self.home), by

    def publish(self, ways: Sequence[str]) -> Changed:
        """Put the pass on sale with ``ways``; where a notice is in force, announce its next version. ``Forbidden``."""
        from duecare.systems.passes.changes import publish

        return publish(self.park, ways)

    def sell(self, product: str, buyers: Sequence[Buyer] = (), *, once_key: str = "") -> Sold:
        """Sell a pass or a ticket. Raises ``BadInput``, ``UnknownName``, ``Forbidden``."""
        from duecare.systems.passes.sales import sell

        return sell(self.park, product, buyers, screen="notebook", actor=self.by, once_key=once_key)

    def enrol(self, subject: str, way: str, template: bytes, *, once_key: str = "") -> None:
        """Take a template, with the consent of its own that is given with it. Raises ``BadInput``, ``UseError``."""
        from duecare.systems.passes.enrolment import enrol

        enrol(self.park, subject, way, template, screen="notebook", actor=self.by, once_key=once_key)

    def renew(self, pass_id: str, *, once_key: str = "") -> Sold:
        """Add the next year. Raises ``UnknownName``, ``UseError``."""
        from duecare.systems.passes.sales import renew

        return renew(self.park, pass_id, screen="notebook", actor=self.by, once_key=once_key)

    def replace_card(self, id_number: str, *, once_key: str = "") -> Issued:
        """A new card for the holder whose ID card is shown. Raises ``UseError``."""
        from duecare.systems.passes.sales import replace_card

        return replace_card(self.park, id_number, actor=self.by, once_key=once_key)

    def end_way(self, way: str, note: str) -> Ended:
        """A way in ends for good, and what was held for it alone is erased. Raises ``BadInput``, ``UseError``."""
        from duecare.systems.passes.changes import end_method

        return end_method(self.park, way, note=note)

    def pay_back(self, pass_id: str, holders: Sequence[str], reason: str, *, once_key: str = "") -> Refund:
        """Refund holders pro rata, today. Raises ``UseError`` where nothing is owed."""
        from duecare.systems.passes.refunds import pay_back

        return pay_back(self.park, pass_id, holders, reason=reason, actor=self.by, once_key=once_key)

    def send(self) -> Sent:
        """Send the messages that are owed."""
        from duecare.systems.passes.messages import send

        return send(self.park)

    def truth(self, subject: str) -> dict[str, Any]:
        """A holder's page of truth. Raises ``UnknownName``."""
        from duecare.systems.passes.truth import truth

        return truth(self.park, subject)

    def withdraw(self, subject: str, purpose: str, *, once_key: str = "") -> Outcome:
        """Take a consent back; what was held for it alone is erased. Raises ``UseError``."""
        from duecare.systems.passes.truth import withdraw

        return withdraw(self.park, subject, purpose, how=f"said to {self.by}", screen="notebook", once_key=once_key)

    def close(self) -> None:
        """Close the vault and the home."""
        self.park.close()
        self.home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
