"""What a gate and the centre say to each other: questions, answers, records of what was decided without the centre.

The rule of this module: nothing in it names a person. A card is known by its digest, an ID card by a code that only the
card makes sense of; a template travels in the question alone, and neither answers nor records repeat it.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from duecare.clock import utc
from duecare.errors import BadInput
from duecare.evidence.checkpoint import decode64
from duecare.rules.decision import Decision
from duecare.systems.passes.methods import METHODS, Method
from duecare.systems.passes.signatures import IDEMPOTENCY_KEY

GATE = "/v1/gate"
ENTRIES = f"{GATE}/entries"
RECORDS = f"{GATE}/records"
LIST = f"{GATE}/list"

MAX_TEMPLATE = 8192
"""Bytes of a template on the wire."""

MOST_RECORDS = 500
"""Records in one request."""

_HEX = re.compile(r"[0-9a-f]{64}")
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Word:
    """Why a gate opened or did not, for the person in front of it."""

    id: str
    zh: str
    en: str


WORDS: dict[str, Word] = {
    word.id: word
    for word in (
        Word("gate.ticket", "门票有效, 欢迎入园。", "The ticket is valid: welcome."),
        Word("gate.on_the_list", "按闸机名单核验通过, 欢迎入园。", "Checked against the gate's list: welcome."),
        Word(
            "gate.unknown_card",
            "未登记的卡片, 请到年卡中心咨询。",
            "This card is not known; please ask at the pass centre.",
        ),
        Word(
            "gate.card_not_restored",
            "未登记的卡片。年卡中心的记录由备份恢复, 备份之后发出的卡片不在其中: 请持卡到年卡中心办理。",
            "This card is not known. The pass centre was restored from a backup, and cards issued after it are "
            "missing: please go to the pass centre with the card.",
        ),
        Word(
            "gate.card_lost",
            "此卡已挂失, 请到年卡中心领取新卡。",
            "This card was reported lost; a new one is at the pass centre.",
        ),
        Word("gate.not_yet_valid", "年卡尚未生效。", "The pass is not valid yet."),
        Word(
            "gate.expired", "年卡已到期, 请到年卡中心续卡。", "The pass has expired; it is renewed at the pass centre."
        ),
        Word("gate.refunded", "年卡已退款, 不能再入园。", "The pass was refunded and opens no gate."),
        Word("gate.used", "门票已使用。", "The ticket has been used."),
        Word(
            "gate.show_id_card",
            "只出示了年卡: 请同时出示持卡人的身份证。",
            "Only the card was shown; please show its holder's ID card as well.",
        ),
        Word(
            "gate.show_fingerprint",
            "只出示了年卡: 请按约定验指纹, 也可以出示身份证。",
            "Only the card was shown; please give the finger as well, as agreed, or show the ID card.",
        ),
        Word(
            "gate.show_face",
            "只出示了年卡: 请按约定验人脸, 也可以出示身份证。",
            "Only the card was shown; please show the face as well, as agreed, or the ID card.",
        ),
        Word(
            "gate.no_match",
            "核验未通过: 与持卡人登记的信息不符。可以改用年卡加身份证入园。",
            "What was shown is not that of this card's holder. Card and ID card are accepted as well.",
        ),
        Word(
            "gate.not_offered",
            "不提供这种入园方式, 请出示年卡和身份证。",
            "This way in is not offered; please show card and ID card.",
        ),
        Word(
            "gate.withdrawn",
            "您已撤回对这种入园方式的同意, 请出示年卡和身份证。",
            "The consent to this way in was withdrawn; please show card and ID card.",
        ),
        Word(
            "gate.not_enrolled",
            "年卡中心没有登记该项信息, 请出示年卡和身份证。",
            "Nothing was enrolled for this way in; please show card and ID card.",
        ),
        Word(
            "gate.no_biometrics_offline",
            "与年卡中心的联络中断, 闸机不存放指纹和人脸信息, 请出示年卡和身份证。",
            "The pass centre cannot be reached, and a gate holds neither fingerprints nor faces; please show card and "
            "ID card.",
        ),
        Word(
            "gate.no_list",
            "与年卡中心的联络中断, 闸机名单已失效, 请找工作人员。",
            "The pass centre cannot be reached and the gate's list has run out; please ask the staff.",
        ),
        Word(
            "gate.refused",
            "年卡中心未受理, 请找工作人员。",
            "The pass centre did not take the question; please ask the staff.",
        ),
        Word("gate.unreadable", "读取失败, 请再试一次。", "It could not be read; please try again."),
    )
}
"""What a gate says of itself, apart from the holdings."""


@dataclass(frozen=True)
class Question:
    """What a gate asks: may the holder of ``card`` (digest) enter in this way, now (``at``, aware)?

    ``code`` is the entry code where an ID card was shown, ``template`` the bytes where a finger or a face was.
    """

    card: str
    method: Method
    at: datetime
    code: str = ""
    template: bytes = b""

    def data(self) -> bytes:
        """The body of the request."""
        said = {"card": self.card, "method": self.method.name, "at": moment(self.at)}
        if self.code:
            said["code"] = self.code
        if self.template:
            said["template"] = b64encode(self.template).decode()
        return json.dumps(said).encode()

    @classmethod
    def parse(cls, data: bytes) -> Question:
        """Read a body. Raises ``BadInput`` naming the member that is wrong."""
        said = _object(data, {"card", "method", "at"}, {"code", "template"})
        method = METHODS.get(_text(said, "method"))
        if method is None:
            raise BadInput(f"method is {said['method']!r}.", hint=f"It is one of {', '.join(METHODS)}.")
        code, encoded = said.get("code", ""), said.get("template", "")
        if (method.shows == "id_card") is not bool(code) or method.biometric is not bool(encoded):
            raise BadInput(
                f"{method.name} does not go with what was sent.",
                hint="An ID card goes with code, a finger or a face with template, a ticket with neither.",
            )
        template = _template(encoded) if encoded else b""
        return cls(_digest(said, "card"), method, _at(said), _digest(said, "code") if code else "", template)


@dataclass(frozen=True)
class Answer:
    """``open``: the gate opens. ``decision`` names the decision, ``method`` the way in that was asked for, ``words``
    say why. ``ways``: what the holder may show instead."""

    decision: str
    open: bool
    method: str
    words: tuple[Word, ...]
    ways: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The body of the answer as JSON values."""
        return {
            "decision": self.decision,
            "open": self.open,
            "method": self.method,
            "reasons": [dict(vars(word)) for word in self.words],
            "ways": list(self.ways),
        }

    @classmethod
    def parse(cls, data: bytes) -> Answer:
        """Read a body. Raises ``BadInput``."""
        said = _object(data, {"decision", "open", "method", "reasons", "ways"}, set())
        try:
            words = tuple(Word(str(each["id"]), str(each["zh"]), str(each["en"])) for each in said["reasons"])
            ways = tuple(str(each) for each in said["ways"])
        except (TypeError, KeyError):
            raise BadInput("The answer's reasons or ways are not in their form.") from None
        if not isinstance(said["open"], bool):
            raise BadInput(f"open is {said['open']!r}.", hint="It is true or false.")
        return cls(_text(said, "decision"), said["open"], _text(said, "method"), words, ways)


@dataclass(frozen=True)
class Record:
    """What a gate decided by its list: the idempotency key of the question, the card, when, and how it ended."""

    key: str
    card: str
    method: str
    at: datetime
    open: bool
    reason: str
    list: str

    def as_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        return {**vars(self), "at": moment(self.at)}

    @classmethod
    def read(cls, said: Any) -> Record:
        """A record from JSON values. Raises ``BadInput``."""
        said = _members(said, {"key", "card", "method", "at", "open", "reason", "list"}, set())
        method, key = _text(said, "method"), _text(said, "key")
        if method not in METHODS or not IDEMPOTENCY_KEY.fullmatch(key) or not isinstance(said["open"], bool):
            raise BadInput("A record's method, key or open is not in its form.")
        listed = _digest(said, "list") if said["list"] else ""
        return cls(key, _digest(said, "card"), method, _at(said), said["open"], _text(said, "reason")[:60], listed)


def records_body(records: list[Record]) -> bytes:
    """The body of a request that hands over records."""
    return json.dumps({"records": [each.as_json() for each in records]}).encode()


def parse_records(data: bytes) -> list[Record]:
    """Read such a body. Raises ``BadInput``."""
    said = _object(data, {"records"}, set())
    if not isinstance(said["records"], list) or len(said["records"]) > MOST_RECORDS:
        raise BadInput("records is not a list that can be taken.", hint=f"Send at most {MOST_RECORDS} at once.")
    return [Record.read(each) for each in said["records"]]


def words(decision: Decision) -> tuple[Word, ...]:
    """The reasons of a decision, for the person at the gate: with what would allow it where it was denied."""
    return tuple(
        Word(
            reason.id,
            reason.zh + (f" 何时可以: {reason.remedy_zh}" if reason.remedy_zh and not decision.allowed else ""),
            reason.en
            + (f" What would allow it: {reason.remedy_en}" if reason.remedy_en and not decision.allowed else ""),
        )
        for reason in decision.reasons
    )


def moment(at: datetime) -> str:
    """A moment as it is written on the wire: whole seconds of UTC."""
    return f"{utc(at):{_MOMENT}}"


def _object(data: bytes, needed: set[str], possible: set[str]) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The body is not JSON: {error}.") from None
    return _members(said, needed, possible)


def _members(said: Any, needed: set[str], possible: set[str]) -> dict[str, Any]:
    if not isinstance(said, dict) or not needed <= set(said) <= needed | possible:
        raise BadInput(
            "The body has not the members that it should have.",
            hint=f"Needed: {', '.join(sorted(needed))}. Possible: {', '.join(sorted(possible)) or 'no others'}.",
        )
    return dict(said)


def _text(said: Mapping[str, Any], name: str) -> str:
    if not isinstance(said[name], str) or "\0" in said[name]:
        raise BadInput(f"{name} is not text.", hint="U+0000 is none either: not every database keeps it.")
    return str(said[name])


def _digest(said: Mapping[str, Any], name: str) -> str:
    if not _HEX.fullmatch(_text(said, name)):
        raise BadInput(f"{name} is not 64 lower-case hex digits.")
    return str(said[name])


def _template(encoded: Any) -> bytes:
    try:
        data = decode64(encoded) if isinstance(encoded, str) else b""
    except ValueError:
        data = b""
    if not 0 < len(data) <= MAX_TEMPLATE:
        raise BadInput("template is not base64 of a template.", hint=f"It has at most {MAX_TEMPLATE} bytes.")
    return data


def _at(said: Mapping[str, Any]) -> datetime:
    text = _text(said, "at")
    try:
        at = datetime.strptime(text, _MOMENT).replace(tzinfo=UTC)
    except ValueError:
        raise BadInput(f"at is {text[:40]!r}.", hint="Write it as 2019-10-26T01:00:00Z.") from None
    return at
