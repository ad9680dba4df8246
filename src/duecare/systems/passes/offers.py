"""Ways in on sale: which a product can be bought with now, each asked of the rules before it is offered.

The rule of this module: no way that compares biometrics is offered, left on offer or sold unless one without them
stands beside it, no dearer and for no fewer days (case 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from duecare.clock import utc
from duecare.errors import BadInput
from duecare.evidence.outbox import record
from duecare.rules.decision import Decision
from duecare.rules.engine import Engine, Request
from duecare.store.database import alone, together
from duecare.systems.passes.methods import method
from duecare.systems.passes.models import Offer
from duecare.systems.passes.products import Product, Way


@dataclass(frozen=True)
class OnSale:
    """A way in that is on sale with a product, and the sentences of the rules that let it be."""

    way: Way
    decision: Decision


def ask(engine: Engine, product: Product, way: Way, *, standing: Sequence[Way]) -> Decision:
    """What the rules say to offering ``way`` of ``product`` beside the ways that are ``standing``.

    An alternative to biometrics counts only where it may itself be offered: else a policy that forbids it would leave
    biometrics as the only way in.
    """
    others = [each for each in standing if each.method != way.method]
    if way.biometric:
        others = [each for each in others if each.biometric or ask(engine, product, each, standing=standing).allowed]
    beside = replace(product, ways=tuple(others))
    context = {"biometric": way.biometric, "alternative": beside.alternative(way)}
    return engine.decide(Request("offer", "Service", "passes", "Method", way.method, context))


def open_sale(
    session: Session, engine: Engine, product: Product, methods: Sequence[str], at: datetime
) -> tuple[Way, ...]:
    """Have ``product`` on sale with exactly these ``methods`` from now on; the ways that are.

    Raises ``Forbidden`` naming the holding where the rules deny one of them; then nothing changes.
    """
    lock(session, product)
    wanted = tuple(product.way(name) for name in dict.fromkeys(methods))
    decisions = {way.method: ask(engine, product, way, standing=wanted) for way in wanted}
    for decision in decisions.values():
        decision.require()
    before = {way.method: way for way in standing(session, product)}
    over = [name for name, way in before.items() if way not in wanted]
    if over:
        ended = update(Offer).where(Offer.product == product.name, Offer.method.in_(over), Offer.ended_at.is_(None))
        session.execute(ended.values(ended_at=utc(at)))
    fresh = [way for way in wanted if before.get(way.method) != way]
    session.add_all(
        Offer(product=product.name, method=way.method, price=way.price, days=way.days, offered_at=utc(at))
        for way in fresh
    )
    session.flush()
    if over or fresh:
        body = {
            "product": product.name,
            "ways": [{"method": way.method, "price": str(way.price), "days": way.days} for way in wanted],
            "reasons": sorted({reason.id for each in decisions.values() for reason in each.reasons}),
        }
        record(session, "product:offer", f"product:{product.name}", body, at)
    return wanted


def lock(session: Session, product: Product) -> None:
    """Let nobody else change the ways in that ``product`` is sold with, or choose one, until the transaction ends."""
    alone(session, f"offers:{product.name}")


def standing(session: Session, product: Product) -> tuple[Way, ...]:
    """The ways in that ``product`` is on sale with, in the product's order."""
    rows = session.scalars(select(Offer).where(Offer.product == product.name, Offer.ended_at.is_(None)))
    order = [way.method for way in product.ways]
    ways = [Way(row.method, row.price, row.days) for row in rows]
    return tuple(sorted(ways, key=lambda way: order.index(way.method)))


def on_sale(session: Session, engine: Engine, product: Product) -> list[OnSale]:
    """What a buyer may choose from, each way with what the rules say to it now; what they deny is not among them."""
    ways = standing(session, product)
    asked = [OnSale(way, ask(engine, product, way, standing=ways)) for way in ways]
    return [each for each in asked if each.decision.allowed]


def choose(session: Session, engine: Engine, product: Product, name: str) -> OnSale:
    """The way in called ``name``, if it is on sale. Raises ``UnknownName``, ``BadInput``, ``Forbidden``."""
    together(session, f"offers:{product.name}")
    ways = {way.method: way for way in standing(session, product)}
    if name not in ways:
        method(name)
        raise BadInput(
            f"{product.name} is not on sale with {name}.",
            hint=f"It is with {', '.join(ways)}." if ways else "It is not on sale at all yet: publish it first.",
        )
    decision = ask(engine, product, ways[name], standing=list(ways.values()))
    decision.require()
    return OnSale(ways[name], decision)


def is_offered(session: Session, name: str) -> bool:
    """Whether any product is on sale with the way in called ``name``."""
    found = select(Offer.id).where(Offer.method == name, Offer.ended_at.is_(None)).limit(1)
    return session.scalar(found) is not None
