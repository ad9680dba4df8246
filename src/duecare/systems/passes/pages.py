"""The pass centre's and the holders' pages, as JSON over HTTP. The pages that people see come on top of these.

A clerk comes with a key of their own (``Authorization: Bearer``), a holder with the card and the ID card that belongs
to it, for which they are given a session of a few minutes. A write may be sent again under its ``Idempotency-Key``
(``once``). Errors are problem details (RFC 9457).

The rule of this module: it decides nothing and keeps nothing; what a person sent is repeated in no error.
"""

from __future__ import annotations

import secrets
import threading
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, StringConstraints
from sqlalchemy.orm import Session

from duecare.consent import notices
from duecare.errors import BadInput, Busy, DuecareError, Forbidden, Transient, UnknownName, UseError
from duecare.systems.passes import (
    changes,
    clerks,
    enrolment,
    entries,
    holders,
    offers,
    refunds,
    sales,
    truth,
)
from duecare.systems.passes.cards import card_number, digest
from duecare.systems.passes.once import Write, once
from duecare.systems.passes.park import SERVICE, Park
from duecare.systems.passes.products import PRODUCTS, Product
from duecare.systems.passes.purposes import NOTICE
from duecare.systems.passes.sales import Buyer, Sold
from duecare.vault.erasure import Outcome

SESSION = timedelta(minutes=15)
"""How long a holder is known after they showed card and ID card."""

TRIES = 5
"""How often a card may be shown with a wrong ID card in that time before it has to wait."""

_SCREEN = "pass centre"
_PAGE = "page of truth"


class NotKnown(DuecareError):
    """Nobody is known by what was shown."""


class TooMany(DuecareError):
    """Too many tries; it has to wait."""


Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
"""A text that somebody sends. PostgreSQL keeps no U+0000, so that none is taken, on either database."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, hide_input_in_errors=True)


class Shown(_Body):
    """A card and the ID card that belongs to it."""

    card: Text
    id_number: Text


class Bought(_Body):
    """One who will hold a pass."""

    name: Text
    id_number: Text
    phone: Text
    method: Text = "card_id_card"
    mail: Text = ""


class Order(_Body):
    """What is sold, to whom."""

    product: Text
    holders: list[Bought] = []
    language: Text = "zh"


class Photo(_Body):
    """A photo in base64."""

    photo: Text


class Taken(_Body):
    """A template in base64, and the way in that it is for."""

    method: Text
    template: Text


class Leaving(_Body):
    """Who is refunded, and why."""

    holders: list[Text]
    reason: Text
    goodwill: bool = False


class Card(_Body):
    """The ID card of one whose card is replaced; ``pass_id`` where they hold several passes."""

    id_number: Text
    pass_id: Text = ""


class Settled(_Body):
    """What was found about a conflict."""

    note: Text


class Said(_Body):
    """An answer to a version of the notice."""

    version: int
    accepted: bool


class Withdrawal(_Body):
    """A purpose whose consent is taken back."""

    purpose: Text


class Erasing(_Body):
    """Everything is erased, and the pass ends."""

    ends_pass: bool = False


@dataclass
class _Sessions:
    """Who is known, for a few minutes; in the memory of this process alone."""

    now: Callable[[], datetime]
    known: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    failed: dict[str, list[datetime]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, subject: str) -> tuple[str, datetime]:
        """A token for ``subject``, and until when it is good."""
        token, until = secrets.token_urlsafe(32), self.now() + SESSION
        with self.lock:
            self.known = {each: held for each, held in self.known.items() if held[1] > self.now()}
            self.known[token] = subject, until
        return token, until

    def whose(self, token: str) -> str:
        """The subject of a token. Raises ``NotKnown``."""
        with self.lock:
            subject, until = self.known.get(token, ("", self.now()))
        if not subject or until <= self.now():
            raise NotKnown("The session is over, or never was.", hint="Show card and ID card again.")
        return subject

    def may_try(self, card: str) -> None:
        """Raises ``TooMany`` where this card was shown with a wrong ID card too often."""
        with self.lock:
            recent = [at for at in self.failed.get(card, []) if at > self.now() - SESSION]
            self.failed[card] = recent
        if len(recent) >= TRIES:
            raise TooMany("Too many tries with this card.", hint="Wait a quarter of an hour, or ask at the centre.")

    def fail(self, card: str) -> None:
        """Note that it was wrong."""
        with self.lock:
            self.failed.setdefault(card, []).append(self.now())


def install(app: FastAPI, park: Park) -> None:
    """Add the pages over ``park`` to ``app``."""
    app.include_router(_centre(park))
    app.include_router(_holder(park))
    for kind, status in _STATUSES:
        app.add_exception_handler(kind, _handler(status))
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(Exception, _handler(500))  # what nobody foresaw: it is logged besides


def _centre(park: Park) -> APIRouter:
    """What clerks do."""
    made = APIRouter(prefix="/v1/centre", tags=["pass centre"])

    def clerk(authorization: Annotated[str, Header()] = "") -> str:
        with park.home.database.session() as session:
            name = clerks.known(session, authorization.removeprefix("Bearer "))
        if name is None:
            raise NotKnown("No clerk has this key.", hint="Send Authorization: Bearer and the key.")
        return name

    @made.get("/products")
    def products(who: str = Depends(clerk)) -> Any:
        """What is on sale, in which ways, with the sentences of the rules that let it be."""
        with park.home.database.session() as session:
            return [_on_sale(session, park, each) for each in PRODUCTS.values()]

    _passes(made, park, clerk)
    _holders(made, park, clerk)
    _conflicts(made, park, clerk)
    return made


def _passes(made: APIRouter, park: Park, clerk: Callable[..., str]) -> None:
    """Selling, renewing, refunding."""

    @made.post("/passes", status_code=201)
    def sell(order: Order, who: str = Depends(clerk), key: str = Depends(_key)) -> Any:
        """Sell; the numbers of the cards are in the answer, and nowhere afterwards."""
        buyers = [Buyer(each.name, each.id_number, each.phone, each.method, each.mail) for each in order.holders]
        return _sold(
            sales.sell(park, order.product, buyers, screen=_SCREEN, actor=who, language=order.language, once_key=key)
        )

    @made.post("/passes/{pass_id}/renewals", status_code=201)
    def renew(pass_id: Text, who: str = Depends(clerk), key: str = Depends(_key)) -> Any:
        """Add the next year."""
        return _sold(sales.renew(park, pass_id, screen=_SCREEN, actor=who, once_key=key))

    @made.post("/passes/{pass_id}/refunds", status_code=201)
    def refund(pass_id: Text, leaving: Leaving, who: str = Depends(clerk), key: str = Depends(_key)) -> Any:
        """Pay back pro rata, today."""
        paid = refunds.pay_back(
            park, pass_id, leaving.holders, reason=leaving.reason, actor=who, goodwill=leaving.goodwill, once_key=key
        )
        return {"amount": str(paid.amount), "days_left": paid.days_left, "days": paid.days}

    @made.post("/cards", status_code=201)
    def replace(card: Card, who: str = Depends(clerk), key: str = Depends(_key)) -> Any:
        """A new card for the holder whose ID card is shown; the old ones open nothing any more."""
        issued = sales.replace_card(park, card.id_number, actor=who, pass_id=card.pass_id, once_key=key)
        return {"subject": issued.subject, "method": issued.method, "card": issued.card}


def _holders(made: APIRouter, park: Park, clerk: Callable[..., str]) -> None:
    """Taking what a holder gives, each with its consent."""

    @made.post("/holders/{subject}/photo", status_code=204)
    def photo(subject: Text, taken: Photo, who: str = Depends(clerk), key: str = Depends(_key)) -> None:
        """Take the photo for the pass, with the consent of its own."""
        enrolment.take_photo(park, subject, _decoded(taken.photo), screen=_SCREEN, actor=who, once_key=key)

    @made.post("/holders/{subject}/templates", status_code=204)
    def template(subject: Text, taken: Taken, who: str = Depends(clerk), key: str = Depends(_key)) -> None:
        """Enrol, with the separate consent."""
        data = _decoded(taken.template)
        enrolment.enrol(park, subject, taken.method, data, screen=_SCREEN, actor=who, once_key=key)


def _conflicts(made: APIRouter, park: Park, clerk: Callable[..., str]) -> None:
    """What gates decided alone and a person has to look at."""

    @made.get("/conflicts")
    def conflicts(who: str = Depends(clerk)) -> Any:
        """What is open."""
        with park.home.database.session() as session:
            return [
                {"id": row.id, "gate": row.gate, "kind": row.kind, "at": row.at, "subject": row.subject}
                for row in entries.conflicts(session)
            ]

    @made.post("/conflicts/{conflict}", status_code=204)
    def settle(conflict: int, settled: Settled, who: str = Depends(clerk), key: str = Depends(_key)) -> None:
        """Say what was found."""

        def act(session: Session, write: Write) -> tuple[None, dict[str, str]]:
            entries.settle(session, conflict, by=who, note=settled.note, at=park.now())
            return None, {}

        asked = {"write": "settle", "conflict": conflict, "note": settled.note}
        once(park, Write.of(park, who, key, asked), act, lambda session, write, kept: None)


def _holder(park: Park) -> APIRouter:
    """What holders see and do."""
    made = APIRouter(prefix="/v1/me", tags=["page of truth"])
    sessions = _Sessions(park.now)

    def holder(authorization: Annotated[str, Header()] = "") -> str:
        return sessions.whose(authorization.removeprefix("Bearer "))

    @made.post("/session", status_code=201)
    def session(shown: Shown) -> Any:
        """Be known for a few minutes, by showing card and ID card."""
        name = digest(card_number(shown.card))
        sessions.may_try(name)
        try:
            subject = holders.authenticate(park, shown.card, shown.id_number, SERVICE)
        except UseError:
            sessions.fail(name)
            raise
        token, until = sessions.open(subject)
        return {"token": token, "until": until}

    @made.get("")
    def page(me: str = Depends(holder)) -> Any:
        """Everything that is held of me, for what, until when, who opened it and why."""
        return JSONResponse(jsonable_encoder(truth.truth(park, me)))

    @made.get("/notice")
    def notice(me: str = Depends(holder)) -> Any:
        """The notice in force, in both languages."""
        with park.home.database.session() as session:
            found = notices.version(session, NOTICE)
        said = found.notice
        return {
            "version": found.number, "sha256": found.digest, "zh": said.zh, "en": said.en,
            "body_zh": said.body_zh, "body_en": said.body_en, "terms": dict(said.terms),
        }  # fmt: skip

    _rights(made, park, holder)
    _papers(made, park, holder)
    return made


def _rights(made: APIRouter, park: Park, holder: Callable[..., str]) -> None:
    """What a holder says, and it is so."""

    @made.post("/answer", status_code=204)
    def answer(said: Said, me: str = Depends(holder), key: str = Depends(_key)) -> None:
        """Accept or decline a version of the notice."""
        changes.answer(park, me, said.version, accepted=said.accepted, how="click", screen=_PAGE, once_key=key)

    @made.post("/withdrawals", status_code=201)
    def withdraw(back: Withdrawal, me: str = Depends(holder), key: str = Depends(_key)) -> Any:
        """Take a consent back; what was held for it alone is gone when the answer comes."""
        return _outcome(truth.withdraw(park, me, back.purpose, how="click", screen=_PAGE, once_key=key))

    @made.post("/erasures", status_code=201)
    def erase(asked: Erasing, me: str = Depends(holder), key: str = Depends(_key)) -> Any:
        """Have everything erased."""
        return _outcome(truth.erase(park, me, ends_pass=asked.ends_pass, how="click", screen=_PAGE, once_key=key))


def _papers(made: APIRouter, park: Park, holder: Callable[..., str]) -> None:
    """What a holder takes home."""

    @made.get("/certificates/{name}")
    def certificate(name: Text, me: str = Depends(holder)) -> Response:
        """The certificate of an erasure, to keep: `duecare verify` checks it without us."""
        return _file(truth.certificate(park, me, name), f"{name}.certificate.json")

    @made.get("/receipts/{grant}")
    def receipt(grant: int, me: str = Depends(holder)) -> Response:
        """The receipt of a consent (ISO/IEC TS 27560), to keep."""
        return _file(truth.receipt(park, me, grant), f"{grant}.receipt.json")

    @made.post("/copies")
    def copy(me: str = Depends(holder)) -> Response:
        """My own copy of what is held of me (PIPL art. 45)."""
        return _file(truth.copy(park, me), "copy.json")


def _key(idempotency_key: Annotated[str, Header(description="Send a write again under the same.")] = "") -> str:
    """The header ``Idempotency-Key``: a string of RFC 8941, in quotation marks, or the same without them."""
    return idempotency_key.strip().removeprefix('"').removesuffix('"')


def _on_sale(session: Session, park: Park, sold: Product) -> dict[str, Any]:
    return {
        "name": sold.name,
        "zh": sold.zh,
        "en": sold.en,
        "persons": sold.persons,
        "ways": [
            {
                "method": one.way.method, "price": str(one.way.price), "days": one.way.days,
                "biometric": one.way.biometric, "reasons": one.decision.sentences("zh"),
            }
            for one in offers.on_sale(session, park.engine, sold)
        ],
    }  # fmt: skip


def _sold(sold: Sold) -> dict[str, Any]:
    return {
        "pass_id": sold.pass_id,
        "product": sold.product,
        "year": sold.year,
        "price": str(sold.price),
        "first": sold.first,
        "last": sold.last,
        "cards": [{"subject": each.subject, "method": each.method, "card": each.card} for each in sold.cards],
    }


def _outcome(done: Outcome) -> dict[str, Any]:
    return {
        "erasures": [{"id": each.id, "purpose": each.purpose, "state": each.state.value} for each in done.erasures],
        "kept_by_legal_hold": list(done.held),
    }


def _file(data: bytes, name: str) -> Response:
    return Response(
        data, media_type="application/json", headers={"content-disposition": f'attachment; filename="{name}"'}
    )


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise BadInput("This is not base64.", hint="Encode the bytes in base64.") from None


_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (DuecareError, 500),
    (UseError, 422),
    (UnknownName, 404),
    (Forbidden, 403),
    (NotKnown, 401),
    (TooMany, 429),
    (Transient, 503),
    (Busy, 503),
)
"""Error → status; of several that fit, the nearest in the tree is taken."""


def _handler(status: int) -> Callable[[Any, Exception], Response]:
    def problem(_request: Any, error: Exception) -> Response:
        title = type(error).__name__ if isinstance(error, DuecareError) else "Internal Server Error"
        said: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
        if isinstance(error, DuecareError) and status != 500:
            said["detail"] = str(error)
        if isinstance(error, Forbidden):
            said["reasons"] = list(error.reasons)
        return JSONResponse(said, status, media_type="application/problem+json")

    return problem


def _malformed(_request: Any, error: Exception) -> Response:
    """What is out of form, by where it is; never what was sent."""
    assert isinstance(error, RequestValidationError)
    found = [{"at": ".".join(str(part) for part in each["loc"]), "wrong": each["msg"]} for each in error.errors()]
    said = {"type": "about:blank", "title": "Bad request", "status": 422, "errors": found}
    return JSONResponse(said, 422, media_type="application/problem+json")
