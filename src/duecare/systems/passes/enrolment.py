"""At the pass centre: the photo for the pass, and biometrics for those who choose them.

The rule of this module: each is agreed to by itself, at the moment when it is taken, for the one purpose that it
serves; a photo becomes no template, and no answer to a notice. A way in that a holder leaves takes with it what was
held for it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from sqlalchemy.orm import Session

from duecare.consent import grants, notices, subjects
from duecare.consent.grants import EndKind
from duecare.errors import BadInput, UseError
from duecare.evidence.outbox import record
from duecare.systems.passes import holders, matching, offers
from duecare.systems.passes.holders import Held
from duecare.systems.passes.matching import Template
from duecare.systems.passes.methods import CARD_ID_CARD, method
from duecare.systems.passes.once import Write, once
from duecare.systems.passes.park import Park
from duecare.systems.passes.purposes import NOTICE, PHOTO
from duecare.vault import erasure

MAX_PHOTO = 4 << 20
"""Bytes of a photo."""


def take_photo(
    park: Park,
    subject: str,
    photo: bytes,
    *,
    screen: str,
    actor: str,
    how: str = "at the counter",
    once_key: str = "",
) -> None:
    """Keep a photo for the pass, with the consent of its own that is given with it.

    Raises ``BadInput``, ``UnknownName``, ``UseError`` where the notice in force does not bind them or the pass is over,
    ``Forbidden`` naming the holding.
    """
    if not 0 < len(photo) <= MAX_PHOTO:
        raise BadInput(f"The photo has {len(photo)} bytes.", hint=f"It has at least one, and at most {MAX_PHOTO}.")
    at = park.now()

    def act(session: Session, write: Write) -> tuple[None, dict[str, str]]:
        holders.lock(session, subject)
        holders.require_valid(holders.by_subject(session, subject), park.today())
        version = _accepted(session, subject, at)
        grants.give(
            session, park.engine, subject, [PHOTO], notice=NOTICE, version=version, how=how, screen=screen, at=at
        )
        park.vault.seal(session, subject, {"photo": photo}, [PHOTO], actor)
        return None, {}

    asked = {"write": "photo", "holder": subject, "photo": sha256(photo).hexdigest()}
    once(park, Write.of(park, actor, once_key, asked), act, lambda session, write, kept: None)


def enrol(
    park: Park,
    subject: str,
    way: str,
    template: bytes,
    *,
    screen: str,
    actor: str,
    how: str = "at the counter",
    once_key: str = "",
) -> None:
    """Take the template of a holder who chooses to enter in this way, with the separate consent that is given with it.

    From then on it is the way in that is agreed with them, beside card and ID card, and what was held for another way
    is erased. Call it outside of any transaction. Raises ``BadInput``, ``UnknownName``, ``UseError`` where the notice
    in force does not bind them or the pass is over, ``Forbidden`` naming the holding.
    """
    chosen = method(way)
    if not chosen.biometric:
        raise BadInput(f"{way} takes no template.", hint=f"{CARD_ID_CARD.name} needs no enrolment.")
    Template.parse(template, matching.KINDS[chosen.shows])
    at, begun = park.now(), list[str | None]()

    def act(session: Session, write: Write) -> tuple[None, dict[str, str]]:
        holders.lock(session, subject)
        held = holders.by_subject(session, subject)
        holders.require_valid(held, park.today())
        offers.choose(session, park.engine, held.product, way)
        version = _accepted(session, subject, at)
        grants.give(
            session, park.engine, subject, [chosen.purpose], notice=NOTICE, version=version, how=how, screen=screen,
            at=at,
        )  # fmt: skip
        park.vault.seal(session, subject, {chosen.field: template}, [chosen.purpose], actor)
        begun.append(change_way(session, park, held, way, by=actor))
        return None, {}

    asked = {"write": "enrol", "holder": subject, "way": way, "template": sha256(template).hexdigest()}
    once(park, Write.of(park, actor, once_key, asked), act, lambda session, write, kept: None)
    settle(park, begun)


def _accepted(session: Session, subject: str, at: datetime) -> int:
    """The version in force, under which alone a consent is given. Raises ``UseError`` where the holder has not accepted
    it: a consent to one thing is no answer to the notice."""
    newest, bound = notices.version(session, NOTICE, at=at).number, notices.binding(session, subject, NOTICE, at)
    if bound != newest:
        raise UseError(
            f"Version {newest} of the notice does not bind this holder, who agreed to version {bound}.",
            hint="Show it; once they have accepted it, go on. Without, card and ID card open the gates.",
        )
    return newest


def change_way(session: Session, park: Park, held: Held, way: str, *, by: str) -> str | None:
    """As ``agree``, and begin, in the caller's transaction, to erase what was held for the way that they leave.

    Returns the act for ``settle`` after the commit, none where nothing is erased.
    """
    left, subject, at = method(held.holder.method), str(held.holder.subject), park.now()
    agree(session, held, way, by=by, at=at)
    if not left.biometric or left.name == way or not grants.standing(session, subject, left.purpose):
        return None
    if erasure.kept_by_rules(park.vault, session, left.purpose):
        return None
    note = f"{left.name} gave way to {way}"
    grants.end(session, subject, left.purpose, EndKind.PURPOSE_ENDED, reason=note, at=at)
    act, _ = erasure.begin(park.vault, session, left.purpose, [subject], "purpose_ended", note=note, at=at)
    return act


def settle(park: Park, begun: Sequence[str | None]) -> None:
    """Erase what was begun, after the commit; where nothing was, do nothing. Call it outside of any transaction."""
    if any(begun):
        erasure.settle(park.vault, begun)


def agree(session: Session, held: Held, way: str, *, by: str, at: datetime) -> None:
    """Note, in the caller's transaction, that this is the way in agreed with a holder from now on."""
    before, held.holder.method = held.holder.method, way
    body = {"holder": subjects.commitment(session, str(held.holder.subject)), "from": before, "to": way, "by": by}
    record(session, "pass:method", f"pass:{held.sold.id}", body, at)
