"""The centre's side of the gate protocol, over HTTP: entries, records, the list; and which gates may ask.

docs/reference/gate-protocol.md states the protocol exactly enough to build a gate from.

The rule of this module: a gate that is not known, or whose signature does not hold, learns nothing; every answer is
signed, and none names a person.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from traceback import format_tb
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from duecare.clock import utc
from duecare.errors import BadInput, DuecareError, EvidenceBroken, UnknownName
from duecare.evidence.checkpoint import SigningKey, VerifierKey, keep_pair
from duecare.evidence.outbox import record
from duecare.systems.passes import entries, lists, signatures, wire
from duecare.systems.passes.device import check_name
from duecare.systems.passes.lists import Line
from duecare.systems.passes.models import Card, Gate, Holder, Period
from duecare.systems.passes.park import Park
from duecare.systems.passes.purposes import ENTRY
from duecare.systems.passes.wire import Question, Record

MAX_REQUEST = 1 << 18
"""Bytes of a request; a longer one is refused unread."""

_METHODS = {wire.ENTRIES: "POST", wire.RECORDS: "POST", wire.LIST: "GET"}
_BODY = re.compile(rf"{wire.LIST}/[^/]+")

_logs = structlog.get_logger("duecare.gates")


def centre_key(park: Park) -> SigningKey:
    """The key that signs answers and lists: ``keys/gates.key`` of the home, made on first use."""
    return keep_pair(park.home.path / "keys", "gates", SigningKey, lambda: f"duecare/{park.home.id}/gates")


def add_gate(session: Session, key: VerifierKey, at: datetime) -> None:
    """Let a gate ask, by its public key. Raises ``BadInput`` where one of that name may already with another key."""
    check_name(key.name)
    row = session.get(Gate, key.name)
    if row is not None and row.ended_at is None and row.key != str(key):
        raise BadInput(f"There is a gate {key.name} with another key.", hint="End it first, or take another name.")
    if row is not None and row.ended_at is None:
        return
    since = row.added_at if row is not None and row.key == str(key) else utc(at)  # the same gate, come back
    session.merge(Gate(name=key.name, key=str(key), added_at=since, ended_at=None))
    record(session, "gate:add", f"gate:{key.name}", {"key": str(key)}, at)


def end_gate(session: Session, name: str, at: datetime) -> None:
    """A gate may no longer ask. Raises ``UnknownName``."""
    row = session.get(Gate, name)
    if row is None or row.ended_at is not None:
        raise UnknownName("gate", name, [each.name for each in gates(session)])
    row.ended_at = utc(at)
    record(session, "gate:end", f"gate:{name}", {}, at)


def gates(session: Session) -> list[Gate]:
    """The gates that may ask, by name."""
    return list(session.scalars(select(Gate).where(Gate.ended_at.is_(None)).order_by(Gate.name)))


class Lists:
    """The lists that are handed to gates. Codes are opened again only when cards or passes have changed."""

    def __init__(self, park: Park, key: SigningKey) -> None:
        self._park, self._key = park, key
        self._lock = threading.Lock()
        self._state, self._body = "", b""

    def head(self) -> bytes:
        """A fresh head, good for ``gate_list_hours``."""
        with self._lock:
            with self._park.home.database.session() as session:
                rows = _on_the_list(session, self._park)
            state = sha256(repr(rows).encode()).hexdigest()
            if state != self._state:
                self._body = lists.body_of(_lines(self._park, rows))
                self._state = state
            now = self._park.now()
            until = now + timedelta(hours=self._park.home.settings.gate_list_hours)
            return lists.head_of(self._key, self._body, now, until).sign(self._key)

    def body(self, digest: str) -> bytes | None:
        """The body that the last head named, if that is the one asked for."""
        with self._lock:
            return self._body if sha256(self._body).hexdigest() == digest else None


@dataclass(frozen=True)
class _Row:
    card: str
    subject: str | None
    method: str
    first: date
    last: date


def _on_the_list(session: Session, park: Park) -> list[_Row]:
    """The cards that are not lost, of holders who did not leave before today, whose pass has not expired; with the days
    in a row that are still to come of it."""
    days: dict[str, tuple[date, date]] = {}
    coming = select(Period).where(Period.last >= park.today()).order_by(Period.pass_id, Period.number)
    for period in session.scalars(coming):
        first, last = days.get(period.pass_id, (period.first, period.first - timedelta(days=1)))
        if period.first == last + timedelta(days=1):
            days[period.pass_id] = first, period.last
    asked = (
        select(Card.digest, Holder.subject, Holder.method, Holder.pass_id, Holder.left_on)
        .join(Holder, Holder.id == Card.holder_id)
        .where(Card.lost_at.is_(None), Holder.left_on.is_(None) | (Holder.left_on >= park.today()))
        .order_by(Card.digest)
    )
    found = []
    for card, subject, method, pass_id, left in session.execute(asked):
        if pass_id not in days:
            continue
        first, last = days[pass_id]
        last = min(last, left or last)
        if first <= last:
            found.append(_Row(card, subject, method, first, last))
    return found


def _lines(park: Park, rows: list[_Row]) -> list[Line]:
    subjects = [row.subject for row in rows if row.subject is not None]
    codes: dict[str, str] = {}
    if subjects:
        why = "闸机离线名单 / list for gates"
        opened = park.vault.open_many(["entry_code"], subjects, ENTRY, "service:gates", why=why)
        codes = {subject: str(code) for subject, _, code in opened.rows}
    # A holder of whom no code is held any more cannot be told from others offline, and stands in no list.
    return [
        Line(row.card, row.first, row.last, row.method, codes.get(row.subject or "", ""))
        for row in rows
        if row.subject is None or row.subject in codes
    ]


@dataclass(frozen=True)
class _Asked:
    """A request whose signature holds. ``since``: when the gate was made known."""

    gate: str
    since: datetime
    key: str
    body: bytes


class _Refused(DuecareError):
    """A request that is answered with a problem (RFC 9457)."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title = status, title


def router(park: Park) -> APIRouter:
    """The routes of the protocol over ``park``."""
    key = centre_key(park)
    held = Lists(park, key)
    made = APIRouter()
    # The embedded database has one writer at a time, and lets those that wait for it sleep and try again, some of them
    # for seconds: a gate would decide alone meanwhile. So questions take turns before they come to it.
    turn = threading.Lock() if park.home.database.embedded else nullcontext()

    def in_turn(request: Request, body: bytes | None, act: Any) -> Response:
        with turn:
            return _answer(park, key, request, body, act)

    async def answered(request: Request, act: Any) -> Response:
        return await run_in_threadpool(in_turn, request, await _read(request), act)

    @made.post(wire.ENTRIES, include_in_schema=False)
    async def enter(request: Request) -> Response:
        def act(asked: _Asked) -> bytes:
            question = Question.parse(asked.body)
            _fresh(question, park.now())
            return json.dumps(entries.enter(park, asked.gate, question, asked.key).as_json()).encode()

        return await answered(request, act)

    @made.post(wire.RECORDS, include_in_schema=False)
    async def reconcile(request: Request) -> Response:
        def act(asked: _Asked) -> bytes:
            records = wire.parse_records(asked.body)
            _possible(records, asked.since, park.now())
            taken, conflicts = entries.reconcile(park, asked.gate, records)
            return json.dumps({"taken": taken, "conflicts": conflicts}).encode()

        return await answered(request, act)

    @made.get(wire.LIST, include_in_schema=False)
    async def head(request: Request) -> Response:
        return await answered(request, lambda asked: held.head())

    @made.get(wire.LIST + "/{digest}", include_in_schema=False)
    async def body(request: Request, digest: str) -> Response:
        def act(asked: _Asked) -> bytes:
            found = held.body(digest)
            if found is None:
                raise _Refused(404, "No such list", "The list has been replaced: fetch its head again.")
            return found

        return await answered(request, act)

    made.routes.append(Route(f"{wire.GATE}/{{rest:path}}", _Elsewhere(answered), include_in_schema=False))
    return made


class _Elsewhere:
    """Whatever else is asked below the paths of gates, in whatever method: an application of ASGI, for a route of it
    takes any."""

    def __init__(self, answered: Callable[[Request, Any], Awaitable[Response]]) -> None:
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = request.url.path
        right = _METHODS.get(path) or ("GET" if _BODY.fullmatch(path) else "")

        def act(asked: _Asked) -> bytes:
            if right:
                raise _Refused(405, "Not so", f"{path} is asked with {right}.")
            raise _Refused(404, "Nothing there", "This centre has nothing at this path: it may be older than the gate.")

        response = await self._answered(request, act)
        if response.status_code == 405:
            response.headers["allow"] = right
        await response(scope, receive, send)


async def _read(request: Request) -> bytes | None:
    """The body, none where it is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_REQUEST:
            return None
    return body


def _answer(park: Park, key: SigningKey, request: Request, body: bytes | None, act: Any) -> Response:
    """Check who asks, act, and sign what is answered."""
    status, kind = 200, "application/json"
    try:
        content = act(_checked(park, request, body))
    except _Refused as error:
        status, content = error.status, _problem(error.status, error.title, error.message)
    except BadInput as error:
        status = 409 if isinstance(error, entries.AnotherQuestion) else 422
        content = _problem(status, "Another question" if status == 409 else "Bad request", str(error))
    except DuecareError as error:
        _logs.error("gate request failed", error=type(error).__name__)
        status, content = 503, _problem(503, "Not now", "The centre cannot decide now.")
    except Exception as error:  # what nobody foresaw: the gate is told by us, and goes on alone
        # Where it happened, and nothing of what was asked: messages and locals may have that.
        _logs.error("gate request failed", error=type(error).__name__, trace="".join(format_tb(error.__traceback__)))
        status, content = 500, _problem(500, "A fault", "The centre has a fault of its own.")
    if status == 200 and request.method == "GET":
        kind = "text/plain; charset=utf-8"
    name = request.headers.get("idempotency-key", "")
    created = int(park.now().timestamp())
    headers = signatures.sign_answer(key, key.name, status, content, name, created)
    return Response(content, status, headers, "application/problem+json" if status != 200 else kind)


def _checked(park: Park, request: Request, body: bytes | None) -> _Asked:
    """Who asks what, once the signature holds. Raises ``_Refused``: alike for a gate unknown and for a wrong key."""
    if body is None:
        raise _Refused(413, "Too long", f"A request has at most {MAX_REQUEST} bytes.")
    if request.url.query:
        raise _Refused(400, "Bad request", "No query string is taken: it would not be signed.")
    try:
        said = signatures.claimed(request.headers)
        with park.home.database.session() as session:
            row = session.get(Gate, said.key_id)
        if row is None or row.ended_at is not None:
            raise EvidenceBroken(f"The signature of {said.key_id} does not hold.")
        now = park.now().timestamp()
        verifier = VerifierKey.parse(row.key)
        signatures.verify_request(verifier, request.method, request.url.path, body, request.headers, now)
    except EvidenceBroken as error:
        raise _Refused(401, "Not known", str(error)) from None
    return _Asked(row.name, row.added_at, request.headers["idempotency-key"], body)


def _fresh(question: Question, now: datetime) -> None:
    """A question is asked now; what was decided earlier is a record."""
    if abs((question.at - now).total_seconds()) > signatures.TOLERANCE:
        raise BadInput(
            f"at is more than {signatures.TOLERANCE} seconds from now.", hint=f"Hand it over to {wire.RECORDS}."
        )


def _possible(records: Sequence[Record], since: datetime, now: datetime) -> None:
    """A gate decides alone after it was made known, and before it says so. Raises ``BadInput`` naming a record."""
    slack = timedelta(seconds=signatures.TOLERANCE)
    for each in records:
        if not since - slack <= each.at <= now + slack:
            raise BadInput(
                f"The record {each.key} is of {each.at:%Y-%m-%d %H:%M:%S}, when this gate cannot have decided it: it "
                f"was made known at {since:%Y-%m-%d %H:%M:%S}, and now is {now:%Y-%m-%d %H:%M:%S} (UTC).",
                hint="Nothing was taken. Put this record aside for a person, and hand over the others.",
            )


def _problem(status: int, title: str, detail: str) -> bytes:
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail}).encode()
