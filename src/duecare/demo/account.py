"""The account: what came of the demo, counted anew from what the home holds.

The rule of this module: every number comes from the database, the lake or the log; none is known beforehand.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from duecare.demo.story import Told
from duecare.evidence.log import Log
from duecare.evidence.outbox import EvidenceEntry
from duecare.radar.models import (
    Alert,
    Delivery,
    DeliveryMode,
    DeliveryState,
    Digest,
    Hold,
    Member,
    Screening,
    ScreeningSummary,
    Verification,
    of_alert,
    of_alerts,
)
from duecare.registers.adapters.national_register import SOURCE
from duecare.registers.company import company
from duecare.registers.models import Batch, BatchCount
from duecare.store.home import Home

Json = dict[str, Any]


@dataclass(frozen=True)
class Account:
    """What was found, held, verified, sent, corrected and proved; each part ready for JSON.

    ``verified`` counts the looks at the official site by what they found, ``waiting`` the sensitive changes of a list
    that wait for a second one, which is all that can be looked at there.
    """

    told: Told
    sources: list[Json]
    found: dict[str, int]
    screened: dict[str, int]
    wave: Json | None
    holds: list[Json]
    verified: dict[str, int]
    waiting: int
    genuine: Json
    sent: Json
    correction: Json | None
    evidence: Json
    mails: int

    def as_json(self) -> Json:
        """For ``--json``."""
        told = {name: str(value) if name in ("first", "last", "mended") else value
                for name, value in self.told.__dict__.items()}  # fmt: skip
        return {**self.__dict__, "told": told}


def account(home: Home, told: Told) -> Account:
    """Count what the demo left in ``home``."""
    known = company(home, told.trading_on)
    with home.database.session() as session:
        held = [_hold(session, hold) for hold in session.execute(select(Hold).order_by(Hold.id)).scalars()]
        found = _counted(session, select(BatchCount.kind, func.sum(BatchCount.changes)).group_by(BatchCount.kind))
        screened = _counted(
            session,
            select(ScreeningSummary.outcome, func.sum(ScreeningSummary.count)).group_by(ScreeningSummary.outcome),
        )
        looks = select(Verification.outcome, func.count()).group_by(Verification.outcome)
        looks = looks.join(Screening, Screening.change_id == Verification.change_id)
        verified = _counted(session, looks.where(Screening.source == SOURCE.name))
        waits = (Screening.state == "verifying", Screening.source != SOURCE.name)
        waiting = session.execute(select(func.count()).select_from(Screening).where(*waits)).scalar_one()
        return Account(
            told=told,
            sources=_sources(session),
            found=found,
            screened=screened,
            wave=_wave(session, told, held, known),
            holds=held,
            verified=verified,
            waiting=waiting,
            genuine=_genuine(session, told),
            sent=_sent(session),
            correction=_correction(session, told),
            evidence={
                "entries": session.execute(select(func.count()).select_from(EvidenceEntry)).scalar_one(),
                "in_the_log": Log.at(home.path).size,
            },
            mails=len(list((home.path / "mails").glob("*.eml"))),
        )


def recipients(folder: Path) -> Counter[str]:
    """How many mails in ``folder`` went to whom."""
    parser = BytesHeaderParser(policy=policy.default)
    return Counter(str(parser.parsebytes(path.read_bytes())["To"]) for path in folder.glob("*.eml"))


def _counted(session: Session, query: Any) -> dict[str, int]:
    return {str(name): int(number) for name, number in session.execute(query)}


def _sources(session: Session) -> list[Json]:
    made: dict[str, Json] = {}
    for batch in session.execute(select(Batch).where(Batch.state == "committed").order_by(Batch.seq)).scalars():
        row = made.setdefault(
            batch.source, {"source": batch.source, "batches": 0, "companies": 0, "pages": 0, "rejects": 0, "rereads": 0}
        )
        # An open data file lists every company once; a crawl counts the pages it read.
        read = batch.counts.get("rows" if batch.kind == "file" else "reads", {}).get("basic", 0)
        row["batches"] += 1
        row["companies"] = max(row["companies"], read)
        row["pages"] += read if batch.kind == "crawl" else 0
        row["rejects"] += batch.counts.get("rejects", 0)
        row["rereads"] += batch.kind == "reread"
    return list(made.values())


def _hold(session: Session, hold: Hold) -> Json:
    kind = session.execute(select(Batch.kind).where(Batch.id == hold.batch_id)).scalar_one()
    return {
        "id": hold.id, "batch": hold.batch_id, "batch_kind": kind, "source": hold.source, "section": hold.section,
        "kind": hold.kind, "observed": hold.observed, "expected": hold.expected, "tail": hold.tail,
        "state": hold.state, "decided_by": hold.decided_by, "reason": hold.reason,
    }  # fmt: skip


def _wave(session: Session, told: Told, held: list[Json], known: Json) -> Json | None:
    """What the mended parser brought up, and what became of it."""
    hold = next((each for each in held if each["batch_kind"] == "reread" and each["section"] == "liquidation"), None)
    if hold is None:
        return None
    alerts = session.execute(select(func.count()).where(Alert.batch_id == hold["batch"])).scalar_one()
    said = next(each for each in known["sources"] if each["source"] == SOURCE.name)
    facts = said["sections"]["liquidation"]["facts"]
    status = said["sections"]["basic"]["facts"][0]["value"]["status"]
    return {
        "hold": hold["id"], "observed": hold["observed"], "expected": hold["expected"], "tail": hold["tail"],
        "state": hold["state"], "reason": hold["reason"], "alerts": alerts,
        "example": {
            "entity": told.trading_on, "name": known["name"], "status": status,
            "members": [fact["value"]["name"] for fact in facts],
            "first_observed": min((str(fact["first_observed"]) for fact in facts), default=None),
            "effective_on": next((fact["effective_on"] for fact in facts if fact["effective_on"]), None),
        },
    }  # fmt: skip


def _genuine(session: Session, told: Told) -> Json:
    """The real liquidation: its alerts, what the official page said when it was looked up, and who was told."""
    alerts = list(
        session.execute(
            select(Alert)
            .where(Alert.entity == told.liquidating, Alert.section == "liquidation", Alert.corrects_id.is_(None))
            .order_by(Alert.id)
        ).scalars()
    )
    look = session.get(Verification, alerts[0].verification_id) if alerts and alerts[0].verification_id else None
    return {
        "entity": told.liquidating,
        "name": alerts[0].name if alerts else told.liquidating,
        "alerts": [alert.id for alert in alerts],
        "members": [json.loads(alert.after or "{}").get("name", "") for alert in alerts],
        "told": _told(session, [alert.id for alert in alerts]),
        "verification": {
            "outcome": look.outcome, "at": look.at.isoformat(), "address": look.address, "found": look.note,
        } if look else None,
    }  # fmt: skip


def _told(session: Session, alerts: list[int]) -> list[str]:
    """The members that were told of any of ``alerts``, by name."""
    return list(
        session.execute(
            select(Member.name)
            .where(
                Member.id.in_(
                    select(Delivery.member_id).where(of_alerts(alerts), Delivery.state == DeliveryState.SENT.value)
                )
            )
            .order_by(Member.id)
        ).scalars()
    )


def _sent(session: Session) -> Json:
    """The messages, each a digest or an alert or correction by itself; by kind and by channel they are as many."""
    out = Delivery.mode != DeliveryMode.DIGEST.value
    states = _counted(session, select(Delivery.state, func.count()).where(out).group_by(Delivery.state))
    sent = (out, Delivery.state == DeliveryState.SENT.value)
    channels = _counted(session, select(Delivery.channel, func.count()).where(*sent).group_by(Delivery.channel))
    modes = _counted(session, select(Delivery.mode, func.count()).where(*sent).group_by(Delivery.mode))
    return {
        "alerts": session.execute(select(func.count()).where(Alert.corrects_id.is_(None))).scalar_one(),
        "digests": session.execute(select(func.count()).select_from(Digest)).scalar_one(),
        "states": states,
        "channels": channels,
        "messages": {
            "digest": modes.get(DeliveryMode.CARRIER.value, 0),
            "alone": modes.get(DeliveryMode.REALTIME.value, 0),
        },
    }


def _correction(session: Session, told: Told) -> Json | None:
    if told.corrected is None:
        return None
    wrong = session.get_one(Alert, told.corrected)
    right = session.get_one(Alert, -wrong.id)
    return {
        "alert": wrong.id, "correction": right.id, "entity": wrong.entity, "name": wrong.name,
        "section": wrong.section, "wording": right.wording, "told": _told(session, [wrong.id]),
        "corrected": _told(session, [right.id]), "had_stopped_watching": told.left,
        "deliveries": session.execute(
            select(func.count()).where(of_alert(right.id), Delivery.state == DeliveryState.SENT.value)
        ).scalar_one(),
    }  # fmt: skip
