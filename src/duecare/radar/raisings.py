"""Raisings: the alerts that came about together, as one entry of the evidence names and commits to them.

What the table holds is compared here with what was logged: of one alert for its proof, of all for ``verify --all``.

The rule of this module: an alert is what was logged only if the whole of its raising, read from the table anew, gives
the root that the entry has.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from duecare.errors import EvidenceBroken, UnknownName, UseError
from duecare.evidence.check import Check, answer
from duecare.evidence.contents import Content, Contents, Meeting
from duecare.evidence.outbox import EvidenceEntry, read_entries, record
from duecare.evidence.tiles import LogReader
from duecare.radar.contents import Logged, all_logged, contents, texts
from duecare.radar.models import Alert
from duecare.store.database import Database, of_one_moment

BATCH, CONTENTS, CORRECTION = "batch:alert", "batch:contents", "alert:correct"
_KINDS = (BATCH, CONTENTS, CORRECTION)
GREATEST = 2**31 - 1
"""No alert has a greater id."""

_ADOPTION = "evidence:adopt"
_NAMED = 3
_NEAR = 3


@dataclass(frozen=True)
class Raising:
    """What entry ``entry`` says: ``count`` alerts were raised at the moment ``at``, of ``batch_id`` and with ids from
    ``first`` to ``last``; or one correction, which has no batch here.

    ``root`` is that over their texts, as the entry that follows on it says. Those of the time when evidence named only
    the changes have none.
    """

    entry: int
    batch_id: str | None
    at: datetime
    first: int
    last: int
    count: int
    root: str | None

    @classmethod
    def parse(cls, entry: int, kind: str, at: datetime, body: Mapping[str, Any]) -> Raising | None:
        """The raising that an entry of this ``kind`` and ``body`` records; none where it raised nothing."""
        said = body.get("contents")
        root = said["root"] if said else None
        if kind == BATCH:
            first, last = body.get("first", 0), body.get("last", GREATEST)
            return cls(entry, body["batch"], at, first, last, body["alerts"], root)
        if kind == CONTENTS:
            raised = datetime.fromisoformat(body["raised_at"])
            return cls(entry, body["batch"], raised, body["first"], body["last"], body["alerts"], root)
        if kind == CORRECTION and body["correction"] is not None:
            return cls(entry, None, at, body["correction"], body["correction"], 1, root)
        return None

    @property
    def ids(self) -> tuple[int, int]:
        """The first and the last."""
        return self.first, self.last

    @property
    def found_again(self) -> bool:
        """Whether its alerts can be found again; of an entry that names only the changes they cannot."""
        return self.last < GREATEST

    def meets(self, first: int, last: int) -> bool:
        """Whether an alert with an id from ``first`` to ``last`` may be one of it."""
        return self.first <= last and self.last >= first

    def where(self) -> ColumnElement[bool]:
        """SQL that finds its alerts."""
        return raised_together(self.batch_id, self.first, self.last, self.at)

    def __str__(self) -> str:
        if self.batch_id is None:
            return f"correction {self.first} (entry {self.entry})"
        return f"alerts {self.first} to {self.last} of batch {self.batch_id} (entry {self.entry})"


def raised_together(batch_id: str | None, first: int, last: int, at: datetime) -> ColumnElement[bool]:
    """SQL that finds the alerts of a batch that were raised at the moment ``at``; or, without one, the correction."""
    found = Alert.id.between(first, last) & (Alert.created_at == at)
    return found if batch_id is None else found & (Alert.batch_id == batch_id)


def of_batch(session: Session, batch_id: str) -> list[Raising]:
    """What was raised of a batch, by the evidence in the database."""
    of_these = EvidenceEntry.kind.in_((BATCH, CONTENTS))
    return _recorded(session, (EvidenceEntry.subject == f"batch:{batch_id}") & of_these)


def raising_of(session: Session, alert_id: int) -> tuple[Raising, Content | None]:
    """The raising that alert ``alert_id`` is of, and its text with the path to the root of the entry; no text where
    the entry is of the time when evidence named only the changes.

    Raises ``UnknownName`` where there is no such alert, ``EvidenceBroken`` where the alerts in the database are not
    what was logged.
    """
    alert = session.get(Alert, alert_id)
    if alert is None:
        raise UnknownName("alert", str(alert_id), _near(session, alert_id), hint="None was raised yet.")
    if alert_id < 0:
        about = (EvidenceEntry.subject == f"alert:{-alert_id}") & (EvidenceEntry.kind == CORRECTION)
        among = _recorded(session, about)
    else:
        among = of_batch(session, alert.batch_id)
    named = [one for one in among if one.meets(alert_id, alert_id)]
    own = [one for one in named if one.at == alert.created_at]
    if not own:
        others = f" What was logged is {', '.join(map(str, named))}." if named else ""
        raise EvidenceBroken(
            f"Alert {alert_id} is in no entry of the evidence as the database has it: of batch {alert.batch_id}, "
            f"raised {alert.created_at.isoformat()}.{others}",
            hint="The database was changed afterwards. Run duecare verify --all.",
        )
    found = max(own, key=lambda one: one.root is not None)
    if found.root is None:
        if found.found_again:
            raise UseError(
                f"What alert {alert_id} says is not in the evidence yet: whoever raises it is at it, or was stopped.",
                hint="Run duecare screen, which does what is left, and ask again.",
            )
        return found, None
    said = texts(session, found.where())
    held = Contents.of(said.values())
    if problem := _difference(held.size, found.count, held.root.hex() == found.root):
        raise EvidenceBroken(
            f"What the database holds as {found} is not what was logged: {problem}.",
            hint="The database was changed afterwards; no proof is made of it. Run duecare verify --all.",
        )
    return found, held.content(list(said).index(alert_id), said[alert_id])


def commit_contents(database: Database, batch_id: str, *, at: datetime) -> None:
    """Commit in the evidence (``batch:contents``) to what the alerts of a batch say, as far as that was not done yet,
    each raising in a transaction of its own. ``at`` is aware."""
    with database.session() as session:
        waiting = [one for one in of_batch(session, batch_id) if one.root is None and one.found_again]
    for one in waiting:
        with database.session() as session:
            body = {
                "batch": batch_id,
                "alerts": one.count,
                "first": one.first,
                "last": one.last,
                "raised_at": one.at.isoformat(),
                "contents": contents(session, one.where()).as_json(),
            }
            record(session, CONTENTS, f"batch:{batch_id}", body, at)


def verify_alerts(database: Database, log: LogReader, size: int) -> Check:
    """Whether every alert in the database is what the first ``size`` entries of ``log``, or the evidence that waits for
    it, say: none changed, none more, none missing. The check ``alerts``.

    What an older copy of the database had lost, and the log says so, is counted and is no fault.
    """
    try:
        ledger, lost = _logged(log, size)
    except EvidenceBroken as error:
        return answer("alerts", False, error)
    waits = EvidenceEntry.leaf_index.is_(None) | (EvidenceEntry.leaf_index >= size)
    problems = list[str]()
    with database.session() as session:
        of_one_moment(session)
        ledger.enter(_recorded(session, EvidenceEntry.kind.in_(_KINDS) & waits))
        problems += [
            f"alert {each.id} is in no entry of the log" for each in all_logged(session) if not ledger.has(each)
        ]
    problems += ledger.problems(lost)
    if problems:
        return answer("alerts", False, "; ".join(problems[:_NAMED]) + (" …" if len(problems) > _NAMED else ""))
    return answer("alerts", True, ledger.summary(lost))


@dataclass
class _Account:
    """What a raising says, and how many of the alerts that are said to be of it were met, in the order of ids."""

    raising: Raising
    expected: int
    met: Meeting = field(default_factory=Meeting)

    @property
    def problem(self) -> str:
        """How the alerts differ from what was logged; empty where they do not."""
        root = self.met.root().hex() if self.raising.root is not None else None
        return _difference(self.met.size, self.expected, root == self.raising.root)


class _Ledger:
    """An account of each raising, found by what an alert itself says of where it belongs."""

    def __init__(self) -> None:
        self._accounts: defaultdict[tuple[str | None, datetime], list[_Account]] = defaultdict(list)

    def enter(self, raisings: Iterable[Raising]) -> None:
        """Open an account for each; what an entry says of one that has its account goes into that. Those of one batch
        and moment that name only changes share one."""
        for one in raisings:
            beside = self._accounts[one.batch_id, one.at]
            known = next((each for each in beside if each.raising.ids == one.ids), None)
            if known is None:
                beside.insert(0 if one.found_again else len(beside), _Account(one, one.count))
            elif one.root is not None:
                known.raising = one
            elif not one.found_again:
                known.expected += one.count

    def has(self, alert: Logged) -> bool:
        """Enter ``alert`` into its account; whether it has one."""
        key = (alert.batch_id if alert.id > 0 else None, alert.at)
        for each in self._accounts.get(key, ()):
            if each.raising.meets(alert.id, alert.id):
                each.met.add(alert.text)
                return True
        return False

    def problems(self, lost: Collection[int]) -> list[str]:
        """Every account that is not what was logged, but those wholly missing whose entries are among ``lost``."""
        return [f"{each.raising}: {each.problem}" for each in self._all() if each.problem and not _gone(each, lost)]

    def summary(self, lost: Collection[int]) -> str:
        """How many alerts are in all accounts, and of which kinds."""
        met = [each for each in self._all() if not _gone(each, lost)]
        bare = [each for each in met if each.raising.root is None]
        old = sum(each.met.size for each in bare if not each.raising.found_again)
        waits = sum(each.met.size for each in bare if each.raising.found_again)
        gone = sum(each.expected for each in self._all() if _gone(each, lost))
        said = [f"{sum(each.met.size for each in met)} alerts"]
        said += [f"{old} of a time when evidence named only the changes, not what was said of them"] if old else []
        said += [f"what {waits} of them say is not in the evidence yet: run duecare screen"] if waits else []
        said += [f"{gone} more were lost with an older copy of the database, as the log says"] if gone else []
        return "; ".join(said)

    def _all(self) -> Iterator[_Account]:
        return (each for beside in self._accounts.values() for each in beside)


def _gone(account: _Account, lost: Collection[int]) -> bool:
    return account.met.size == 0 and account.raising.entry in lost


def _difference(held: int, logged: int, same: bool) -> str:
    """How the alerts of a raising in the database differ from those in the log; empty where they are the ``same``."""
    if held != logged:
        return f"the database holds {held} of them, the log {logged}"
    return "" if same else "what they say was changed afterwards"


def _logged(log: LogReader, size: int) -> tuple[_Ledger, set[int]]:
    """Of the first ``size`` entries of the log the raisings, and the ids of those that the database lost by going back
    to an older copy."""
    ledger, lost, places = _Ledger(), set[int](), list[tuple[int, int]]()
    for each in read_entries(log, kinds=(*_KINDS, _ADOPTION), size=size):
        if each.kind == _ADOPTION:
            lost.update(number for place, number in places if place >= each.body["from_leaf"])
            continue
        found = Raising.parse(each.id, each.kind, each.at, each.body)
        if found is not None:
            ledger.enter([found])
            places.append((each.index, each.id))
    return ledger, lost


def _recorded(session: Session, which: ColumnElement[bool]) -> list[Raising]:
    """The raisings among the entries in the database that ``which`` finds, each once, with its root if it has one."""
    columns = (EvidenceEntry.id, EvidenceEntry.kind, EvidenceEntry.at, EvidenceEntry.body)
    rows = session.execute(select(*columns).where(which).order_by(EvidenceEntry.id))
    raisings = [one for row in rows if (one := Raising.parse(row.id, row.kind, row.at, json.loads(row.body)))]
    whole = {(one.batch_id, one.at, one.ids) for one in raisings if one.root is not None}
    return [one for one in raisings if one.root is not None or (one.batch_id, one.at, one.ids) not in whole]


def _near(session: Session, alert_id: int) -> list[str]:
    """The ids of the alerts nearest to ``alert_id``: in their order those below it, then those above."""
    below = select(Alert.id).where(Alert.id < alert_id).order_by(Alert.id.desc()).limit(_NEAR)
    above = select(Alert.id).where(Alert.id > alert_id).order_by(Alert.id).limit(_NEAR)
    return [str(each) for each in (*sorted(session.scalars(below)), *session.scalars(above))]
