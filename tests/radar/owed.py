"""What has passed the screen, planted as the screen leaves it, and members who watch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from duecare.clock import SetClock
from duecare.radar.alerts import Part, Raised, raise_alerts
from duecare.radar.models import Screening
from duecare.radar.raisings import commit_contents
from duecare.radar.reader import Lexicon
from duecare.radar.watches import Reach, add_member, add_watch, find_member
from duecare.settings import load
from duecare.store.home import Home
from duecare.vault.records import Vault

NOW = datetime(2019, 5, 6, 0, 30, tzinfo=UTC)
"""Half past eight in the morning of 6 May 2019 in Beijing: the digest's hour has just passed."""

CONTROLLER = {
    "controller_name": "某数据服务有限公司",
    "controller_code": "91000000000000000X",
    "controller_address": "某市某区某路1号",
    "controller_contact": "privacy@radar.example",
}
"""Who answers for members' data; no notice is published without."""

LEXICON = Lexicon("https://radar.example", {"register": ("国家企业信用信息公示系统", "National register")})


def open_home(tmp_path: Path, database_url: str, **settings: Any) -> Home:
    """A home whose clock stands at ``NOW``."""
    given = {**CONTROLLER, **settings}
    return Home(load(home=tmp_path / "home", database_url=database_url, **given), SetClock(NOW))


def passed(entity: str, section: str = "basic", **given: Any) -> dict[str, Any]:
    """A screening that passed: an address that changed, unless told otherwise."""
    row: dict[str, Any] = {
        "batch_id": "batch-1",
        "source": "register",
        "entity": entity,
        "name": f"{entity} 有限公司",
        "section": section,
        "key": "",
        "kind": "event",
        "moved": "source",
        "late": False,
        "sensitive": False,
        "category": "registration",
        "risk": "note",
        "before": {"address": "旧街 1 号", "status": "存续"},
        "after": {"address": "新街 2 号", "status": "存续"},
        "effective_on": date(2019, 4, 30),
        "not_before": NOW - timedelta(days=4, hours=1),
        "not_after": NOW - timedelta(hours=10),
        "snapshot": sha256(entity.encode()).hexdigest(),
        "state": "passed",
        "baseline": "within",
        "verification": "none",
        "reasons": [],
        "decided_by": "",
        "note": "",
        **given,
    }
    identity = json.dumps([row["batch_id"], entity, section, row["key"], row["kind"], str(row["after"])])
    row.setdefault("change_id", sha256(identity.encode()).hexdigest()[:32])
    for name in ("before", "after"):
        row[name] = None if row[name] is None else json.dumps(row[name], ensure_ascii=False)
    return row


LIQUIDATION = {
    "section": "liquidation",
    "key": "成员甲",
    "category": "risk",
    "risk": "warning",
    "sensitive": True,
    "before": None,
    "after": {"name": "成员甲", "role": "负责人"},
    "effective_on": None,
    "verification": "verified",
}


def alert(home: Home, rows: Iterable[dict[str, Any]], *, at: datetime | None = None) -> Raised:
    """Plant screenings and raise their alerts."""
    rows = list(rows)
    with home.database.session() as session:
        session.execute(insert(Screening), rows)
        raised = raise_alerts(session, Part(rows[0]["batch_id"]), at=at or home.clock.now())
    commit_contents(home.database, rows[0]["batch_id"], at=home.clock.now())
    return raised


def watcher(
    home: Home,
    name: str,
    entities: Iterable[str],
    *reach: Reach,
    realtime: bool = True,
    at: datetime = NOW - timedelta(days=30),
    watch: dict[str, Any] | None = None,
    **member: Any,
) -> None:
    """A member who watches ``entities``."""
    with Vault(home) as vault, home.database.session() as session:
        add_member(vault, session, name, at=at, reach=reach, **member)
        for entity in entities:
            add_watch(session, find_member(session, name), entity, at=at, realtime=realtime, **(watch or {}))
