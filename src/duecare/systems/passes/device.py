"""The gate's own program: it asks the centre, and decides by its signed list while the centre cannot be reached.

A gate is a folder: its key, the centre's address and public key, the list, and a journal of what it decided alone.
While it is alone it accepts card and ID card from every holder; fingerprints and faces stay at the centre, so whoever
enters by them shows card and ID card, which is of equal standing. What it decided goes to the centre afterwards.

The rule of this module: a gate opens on the centre's signed word or on a list that has not run out, and on nothing
else; and what it decides alone is on its disk before it opens.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from filelock import FileLock

from duecare.addresses import web_address
from duecare.clock import BEIJING, Clock, SystemClock
from duecare.errors import BadInput, DuecareError, EvidenceBroken, Transient
from duecare.evidence.checkpoint import SigningKey, VerifierKey, keep_pair
from duecare.store import durable
from duecare.systems.passes import lists, signatures, wire
from duecare.systems.passes.cards import card_number, digest, entry_code, id_card_number
from duecare.systems.passes.matching import kind_of
from duecare.systems.passes.methods import CARD_ID_CARD, METHODS, TICKET, Method
from duecare.systems.passes.wire import WORDS, Answer, Question, Record

PATIENCE = httpx.Timeout(5.0, connect=2.0)
"""How long a person waits in front of the gate before it decides alone, in seconds."""

UNPROCESSABLE = 422
"""The status of records that the centre takes at no time."""

REFRESH = timedelta(minutes=5)
"""Age at which a gate that is in touch with the centre fetches the list anew."""


class CentreUnreachable(Transient):
    """The centre gave no answer that is signed by it."""


class CentreRefuses(DuecareError):
    """The centre answered, and refused the question; ``status`` is that of HTTP."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"The centre refuses ({status}): {detail}")
        self.status = status


@dataclass(frozen=True)
class Presentation:
    """What is shown at the gate: a card, and an ID card, or a template that the sensor made, or neither: a ticket,
    or a pass whose holder is told what is missing."""

    card: str
    id_number: str = ""
    template: bytes = b""

    def question(self, at: datetime) -> Question:
        """What to ask the centre. Raises ``BadInput`` where it cannot be read, without repeating it."""
        if self.id_number and self.template:
            raise BadInput("An ID card and a template were shown at once.", hint="One of the two is enough.")
        card = card_number(self.card)
        if self.id_number:
            return Question(digest(card), CARD_ID_CARD, at, code=entry_code(card, id_card_number(self.id_number)))
        if self.template:
            return Question(digest(card), _by_shown(kind_of(self.template).name), at, template=self.template)
        return Question(digest(card), TICKET, at)


@dataclass(frozen=True)
class Synced:
    """What a talk with the centre brought: records it took, those it flagged, when the list was issued. ``refused``:
    records that it will not take, which were put aside."""

    taken: int
    conflicts: int
    issued: datetime
    cards: int
    refused: int = 0


class Gate:
    """A gate in ``folder``. Raises ``BadInput`` where there is none."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        try:
            said = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
            self.name, self.centre = str(said["name"]), str(said["centre"]).rstrip("/")
            self.centre_key = VerifierKey.parse(said["key"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{folder} is not a gate: {error}.", hint="Make one with duecare passes gate make."
            ) from None
        self.folder, self.clock = folder, clock or SystemClock()
        self._key = keep_pair(folder, "gate", SigningKey, lambda: self.name)
        self._client = httpx.Client(base_url=self.centre, timeout=PATIENCE, trust_env=False)
        self._lines: tuple[str, Mapping[str, lists.Line]] | None = None

    @classmethod
    def make(cls, folder: Path, name: str, centre: str, key: str, clock: Clock | None = None) -> Gate:
        """A new gate with a key of its own, that trusts the centre at an address by its public key."""
        VerifierKey.parse(key)
        check_name(name)
        web_address(centre, "pass centre")
        if (folder / "gate.json").exists():
            raise BadInput(f"{folder} is a gate already.", hint="Make another in another folder.")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        keep_pair(folder, "gate", SigningKey, lambda: name)
        said = {"name": name, "centre": centre, "key": key.strip()}
        durable.replace(folder / "gate.json", json.dumps(said, indent=2).encode())
        return cls(folder, clock)

    @property
    def key(self) -> VerifierKey:
        """The gate's public key, by which the centre knows it."""
        return self._key.verifier

    def enter(self, shown: Presentation) -> Answer:
        """Whether the gate opens for what is shown, and why. Never raises for what a person shows or a network does."""
        now = self.clock.now()
        try:
            question = shown.question(now)
        except BadInput:
            return Answer("", False, "", (WORDS["gate.unreadable"],), (CARD_ID_CARD.name,))
        key = secrets.token_hex(16)
        try:
            answer = Answer.parse(self._post(wire.ENTRIES, question.data(), key))
        except CentreRefuses:
            return Answer("", False, question.method.name, (WORDS["gate.refused"],))
        except (CentreUnreachable, BadInput):
            return self._alone(question, key)
        self._catch_up(now)
        return answer

    def sync(self) -> Synced:
        """Hand over what was decided alone, and fetch the list. Raises ``CentreUnreachable``, ``CentreRefuses``."""
        with self._locked():
            taken, conflicts, refused = self._hand_over()
            head = self._fetch()
        return Synced(taken, conflicts, head.issued, head.cards, refused)

    def journal(self) -> list[Record]:
        """What was decided alone and not handed over yet, oldest first."""
        return _records(self.folder / "journal.jsonl")

    def refused(self) -> list[Record]:
        """What was decided alone and the centre will not take, oldest first: a person has to look at it."""
        return _records(self.folder / "refused.jsonl")

    def list(self) -> lists.Head | None:
        """The head of the list that is held, if one is."""
        try:
            return lists.read_head((self.folder / "list.head").read_bytes(), self.centre_key)
        except FileNotFoundError:
            return None

    def close(self) -> None:
        """Close the connection to the centre."""
        self._client.close()

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _alone(self, question: Question, key: str) -> Answer:
        """Decide by the list; the decision is durable before it is told."""
        reason, opens, listed = self._by_list(question)
        record = Record(key, question.card, question.method.name, question.at, opens, reason, listed)
        with self._locked():
            self._note("journal.jsonl", record)
        ways = () if opens or reason == "gate.no_list" else (CARD_ID_CARD.name,)
        return Answer(f"{self.name}-{key}", opens, question.method.name, (WORDS[reason],), ways)

    def _note(self, name: str, record: Record) -> None:
        with (self.folder / name).open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(record.as_json()).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _by_list(self, question: Question) -> tuple[str, bool, str]:
        """Why, whether, and by which list (the SHA-256 of its body)."""
        try:
            head = self.list()
            lines = self._held(head) if head else {}
        except (EvidenceBroken, OSError):
            head, lines = None, {}
        if head is None or not head.issued <= question.at < head.expires:
            return "gate.no_list", False, ""
        return *_judge(question, lines.get(question.card)), head.sha256

    def _held(self, head: lists.Head) -> Mapping[str, lists.Line]:
        if self._lines is None or self._lines[0] != head.sha256:
            self._lines = head.sha256, lists.read_body((self.folder / "list.body").read_bytes(), head)
        return self._lines[1]

    def _catch_up(self, now: datetime) -> None:
        """In touch again: hand over what waits, and fetch the list where it is old. What fails is tried next time."""
        try:
            head = self.list()
        except EvidenceBroken:
            head = None
        if self.journal() or head is None or now - head.issued >= REFRESH:
            try:
                self.sync()
            except (CentreUnreachable, CentreRefuses, EvidenceBroken):
                return

    def _hand_over(self) -> tuple[int, int, int]:
        taken = conflicts = refused = 0
        most = wire.MOST_RECORDS
        while waiting := self.journal()[:most]:
            try:
                answer = json.loads(self._post(wire.RECORDS, wire.records_body(waiting), secrets.token_hex(16)))
            except CentreRefuses as error:
                if error.status != UNPROCESSABLE:
                    raise
                if len(waiting) > 1:  # one of them keeps the others back: find it
                    most = len(waiting) // 2
                    continue
                self._note("refused.jsonl", waiting[0])
                self._forget({waiting[0].key})
                refused, most = refused + 1, wire.MOST_RECORDS
                continue
            done = set(answer["taken"])
            if not done & {record.key for record in waiting}:
                raise CentreUnreachable("The centre took none of the records that it was handed.")
            self._forget(done)
            taken, conflicts = taken + len(done), conflicts + len(answer["conflicts"])
        return taken, conflicts, refused

    def _forget(self, keys: Collection[str]) -> None:
        left = [record for record in self.journal() if record.key not in keys]
        text = "".join(json.dumps(record.as_json()) + "\n" for record in left)
        durable.replace(self.folder / "journal.jsonl", text.encode())

    def _fetch(self) -> lists.Head:
        data = self._ask("GET", wire.LIST, b"", secrets.token_hex(16))
        head, held = lists.read_head(data, self.centre_key), self.list()
        if held is not None and head.issued < held.issued:
            raise EvidenceBroken(f"The centre's list of {head.issued} is older than the one held, of {held.issued}.")
        body = self.folder / "list.body"
        if held is None or held.sha256 != head.sha256 or not body.exists():
            fetched = self._ask("GET", f"{wire.LIST}/{head.sha256}", b"", secrets.token_hex(16))
            lists.read_body(fetched, head)
            # Body first: a head is only ever beside a body that it does not name for a moment, and is then no list.
            durable.replace(body, fetched)
        durable.replace(self.folder / "list.head", data)
        return head

    def _post(self, path: str, body: bytes, key: str) -> bytes:
        return self._ask("POST", path, body, key)

    def _ask(self, method: str, path: str, body: bytes, key: str) -> bytes:
        """Ask the centre; the body of its signed answer. Raises ``CentreUnreachable``, ``CentreRefuses``."""
        now = self.clock.now().timestamp()
        headers = signatures.sign_request(self._key, self.name, method, path, body, key, int(now))
        if body:
            headers["content-type"] = "application/json"
        try:
            answer = self._client.request(method, path, content=body, headers=headers)
            signatures.verify_answer(self.centre_key, answer.status_code, answer.content, answer.headers, key)
        except httpx.HTTPError as error:
            raise CentreUnreachable(f"{self.centre} cannot be reached: {error}.") from error
        except EvidenceBroken as error:
            raise CentreUnreachable(f"What answers at {self.centre} is not the centre: {error.message}") from error
        if answer.status_code >= 500:
            raise CentreUnreachable(f"The centre has a fault of its own ({answer.status_code}).")
        if answer.status_code != 200:
            raise CentreRefuses(answer.status_code, _detail(answer.content))
        return answer.content

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with FileLock(self.folder / "gate.lock"):
            yield


def check_name(name: str) -> str:
    """A gate's name. Raises ``BadInput``."""
    if not (name.isascii() and 0 < len(name) <= 40 and all(each.isalnum() or each == "-" for each in name)):
        raise BadInput(f"{name!r} cannot name a gate.", hint="Take letters, digits and hyphens, 40 at most.")
    return name


def _records(path: Path) -> list[Record]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    # A line without its end was being written when the power went: the gate had not opened for it.
    return [Record.read(json.loads(line)) for line in data.split(b"\n")[:-1]]


def _judge(question: Question, line: lists.Line | None) -> tuple[str, bool]:
    day = question.at.astimezone(BEIJING).date()
    if line is None:
        return "gate.unknown_card", False
    if question.method.biometric:
        return "gate.no_biometrics_offline", False
    if day < line.first:
        return "gate.not_yet_valid", False
    if day > line.last:
        return "gate.expired", False
    if line.method == TICKET.name:
        return ("gate.on_the_list", True) if question.method is TICKET else ("gate.no_match", False)
    if question.method is TICKET:
        return "gate.show_id_card", False
    fits = bool(line.code) and hmac.compare_digest(line.code, question.code)
    return ("gate.on_the_list", True) if fits else ("gate.no_match", False)


def _by_shown(shown: str) -> Method:
    return next(each for each in METHODS.values() if each.shows == shown)


def _detail(content: bytes) -> str:
    try:
        said: Any = json.loads(content)
        return str(said.get("detail") or said.get("title") or "")[:300]
    except (ValueError, AttributeError):
        return ""
