"""Screening: the first step between a change and an alert. It sorts, and holds what is out of line.

    never told   first observations, late snapshots, what only the parser or the scope moved: counted
    held         a section and kind of a batch that is out of line with its own history: waits for an operator
    verifying    sensitive, or disputed: waits for the authoritative source
    passed       the rest

The rule of this module: a batch is screened whole or not at all, in one transaction, in the order in which batches were
recorded; nothing of it can be told before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from duecare.errors import UseError
from duecare.evidence.outbox import record
from duecare.radar.alerts import await_alerts
from duecare.radar.baseline import HISTORY, Baseline, Counted, assess
from duecare.radar.candidates import Candidates, Group, Placed, Progress
from duecare.radar.judgement import Judge, Verdict
from duecare.radar.models import Hold, ScreeningSummary
from duecare.registers.batches import find
from duecare.registers.models import Batch, BatchCount
from duecare.rules.engine import Engine
from duecare.store.home import Home

REGULAR = ("file", "crawl")
"""Kinds of batches that make up the history: a re-reading or a single page says nothing of a day's usual number."""

_SHOWN = 30


@dataclass(frozen=True)
class Outcome:
    """What became of a batch. ``counts``: changes by outcome (passed, verifying, held, refused); ``holds``: ids.

    ``known``: it had been screened before, and nothing was done.
    """

    batch: str
    source: str
    counts: dict[str, int] = field(default_factory=dict)
    holds: tuple[int, ...] = ()
    known: bool = False

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "batch": self.batch,
            "source": self.source,
            "counts": self.counts,
            "holds": list(self.holds),
            "known": self.known,
        }


def screen(
    home: Home,
    batch_id: str,
    engine: Engine,
    *,
    screening: bool = True,
    progress: Progress = lambda done, total: None,
) -> Outcome:
    """Screen the changes of one committed batch. Doing it again changes nothing and says so (``known``).

    ``screening=False`` is for the replay's counter-proof only: it lets everything through as news of the day it was
    seen, as the system of case 1 did; no command or setting reaches it. Raises ``UnknownName``, and ``UseError`` where
    the batch is not committed.
    """
    with home.writing("radar"):
        with home.database.session() as session:
            batch = find(session, batch_id)
            if batch.state != "committed":
                raise UseError(
                    f"Batch {batch.id} is {batch.state}: {batch.reason or 'nothing of it was applied'}.",
                    hint="`duecare screen list` shows what waits for a decision.",
                )
            if batch.screened:
                return Outcome(batch.id, batch.source, known=True)
        with Candidates(home, batch) as candidates:
            return (_sort if screening else _let_through)(home, batch, candidates, Judge(engine), progress)


def pending(
    home: Home, engine: Engine, *, progress: Progress = lambda done, total: None, screening: bool = True
) -> list[Outcome]:
    """Screen every committed batch that was not screened yet, oldest first. ``screening``: as for ``screen``."""
    with home.database.session() as session:
        waiting = session.execute(
            select(Batch.id).where(Batch.state == "committed", Batch.screened.is_(False)).order_by(Batch.seq)
        ).scalars()
        names = list(waiting)
    outcomes = [screen(home, name, engine, progress=progress, screening=screening) for name in names]
    return [each for each in outcomes if not each.known]  # another process may have come first


def _sort(home: Home, batch: Batch, candidates: Candidates, judge: Judge, progress: Progress) -> Outcome:
    groups = candidates.groups()
    with home.database.session() as session:
        lines = _baselines(session, batch, groups, candidates)
    out = {name for name, (line, _) in lines.items() if line.out_of_line(home.settings.baseline_tail)}
    placed = _judge(groups, out, judge)
    told = [item for item in placed if item.verdict.state != "refused"]
    called = candidates.names(told)
    with home.database.session() as session:
        holds = _open_holds(session, home, batch, {name: lines[name] for name in out})
        waiting = [
            replace(item, hold=holds[item.group.section, item.group.situation.kind])
            if item.verdict.state == "held"
            else item
            for item in told
        ]
        candidates.store(session, waiting, called, progress=progress)
        return _close(session, home, batch, placed, tuple(holds.values()))


def _let_through(home: Home, batch: Batch, candidates: Candidates, _: Judge, progress: Progress) -> Outcome:
    """The system of case 1: nobody is asked, and every difference is news of the day on which it was seen."""
    placed = [Placed(group, Verdict("passed", [])) for group in candidates.groups()]
    called = candidates.names(placed)
    with home.database.session() as session:
        candidates.store(session, placed, called, dated_by_observation=True, progress=progress)
        return _close(session, home, batch, placed, ())


def _judge(groups: Sequence[Group], out: set[tuple[str, str]], judge: Judge) -> list[Placed]:
    placed = []
    for group in groups:
        situation = group.situation
        if (group.section, situation.kind) in out:
            situation = replace(situation, baseline="out_of_line")
        placed.append(Placed(replace(group, situation=situation), judge.verdict(situation)))
    return placed


def _baselines(
    session: Session, batch: Batch, groups: Sequence[Group], candidates: Candidates
) -> dict[tuple[str, str], tuple[Baseline, list[Counted]]]:
    """The baseline of each section and kind of the batch, and the history behind it.

    An old snapshot that arrives late has none: it is not of its day, and is never told. A re-reading has one, though
    nothing of it is told either: a parser that suddenly finds 8,023 liquidation rows is what an operator must see.
    """
    if batch.late and batch.kind in REGULAR:
        return {}
    earlier = _earlier(session, batch)
    observed: Counter[tuple[str, str]] = Counter()
    for group in groups:
        # Everything in the first batch of a source is seen for the first time: that is what a first batch is.
        if earlier or group.situation.kind != "first_observation":
            observed[group.section, group.situation.kind] += group.changes
    # A re-reading goes through everything that is stored: as many entities as the widest batch has read.
    widest: dict[str, int] = {}
    for row in earlier:
        for section, number in row.counts.get("reads", {}).items():
            widest[section] = max(number, widest.get(section, 0))
    reads = batch.counts.get("reads") or widest
    histories = _histories(session, earlier[1:], list(observed))
    sections, feed = candidates.sections, candidates.feed(session)
    made = {}
    for (section, kind), number in observed.items():
        history, rare = histories[section, kind], section in sections and sections[section].sensitive
        line = assess(history, number, _exposure(reads, section), rare=rare, feed=feed)
        made[section, kind] = line, history
    return made


def _earlier(session: Session, batch: Batch) -> list[Batch]:
    """The newest regular batches of the source that were recorded before, oldest first, and the one before those."""
    rows = session.execute(
        select(Batch)
        .where(
            Batch.source == batch.source,
            Batch.state == "committed",
            Batch.late.is_(False),
            Batch.kind.in_(REGULAR),
            Batch.seq < batch.seq,
        )
        .order_by(Batch.seq.desc())
        .limit(HISTORY + 1)
    ).scalars()
    return list(rows)[::-1]


def _histories(
    session: Session, earlier: Sequence[Batch], wanted: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], list[Counted]]:
    """What the ``earlier`` batches did, as far as it was accepted, oldest first.

    The first batch of a source is not among them: everything in it is a first observation. A section that an earlier
    batch did not read counts as none seen there, for that is what watchers had been told of it.
    """
    names = [row.id for row in earlier]
    counted = {
        (row.batch_id, row.section, row.kind): row.changes
        for row in session.execute(select(BatchCount).where(BatchCount.batch_id.in_(names))).scalars()
    }
    not_accepted = {
        (row.batch_id, row.section, row.kind)
        for row in session.execute(select(Hold).where(Hold.batch_id.in_(names), Hold.state != "released")).scalars()
    }
    return {
        (section, kind): [
            Counted(counted.get((row.id, section, kind), 0), _exposure(row.counts.get("reads", {}), section))
            for row in earlier
            if (row.id, section, kind) not in not_accepted
        ]
        for section, kind in wanted
    }


def _exposure(reads: Mapping[str, int], section: str) -> int:
    """How many entities were read for the section; where it was not read, how many were read at all."""
    return int(reads.get(section) or max(reads.values(), default=0))


def _open_holds(
    session: Session, home: Home, batch: Batch, lines: Mapping[tuple[str, str], tuple[Baseline, list[Counted]]]
) -> dict[tuple[str, str], int]:
    made = {}
    for (section, kind), (line, history) in sorted(lines.items()):
        hold = Hold(
            batch_id=batch.id,
            source=batch.source,
            section=section,
            kind=kind,
            observed=line.observed,
            expected=line.expected,
            low=line.low,
            high=line.high,
            tail=line.tail,
            history=[[item.changes, item.exposure] for item in history[-_SHOWN:]],
            state="held",
            opened_at=home.clock.now(),
            decided_by="",
            reason="",
        )
        session.add(hold)
        session.flush()
        made[section, kind] = hold.id
        body = {
            "batch": batch.id,
            "source": batch.source,
            "section": section,
            "kind": kind,
            "observed": line.observed,
            "exposure": line.exposure,
            "expected": line.expected,
            "low": line.low,
            "high": line.high,
            "tail": line.tail,
            "batches": line.batches,
        }
        record(session, "batch:hold", f"hold:{hold.id}", body, home.clock.now())
    return made


def _close(session: Session, home: Home, batch: Batch, placed: Sequence[Placed], holds: tuple[int, ...]) -> Outcome:
    """Count what became of every change, keep the evidence, and mark the batch as screened."""
    together: dict[tuple[str, str, str], tuple[int, dict[str, dict[str, Any]]]] = {}
    counts: Counter[str] = Counter()
    for item in placed:
        counts[item.verdict.state] += item.group.changes
        name = (item.group.section, item.group.situation.kind, item.verdict.state)
        number, reasons = together.get(name, (0, {}))
        reasons = {**reasons, **{reason["id"]: reason for reason in item.verdict.reasons}}
        together[name] = (number + item.group.changes, reasons)
    for (section, kind, outcome), (number, reasons) in together.items():
        session.add(
            ScreeningSummary(
                batch_id=batch.id,
                section=section,
                kind=kind,
                count=number,
                outcome=outcome,
                reasons=list(reasons.values()),
            )
        )
    session.get_one(Batch, batch.id).screened = True
    if counts["passed"]:
        await_alerts(session, batch.id)
    body = {"batch": batch.id, "source": batch.source, "counts": dict(counts), "holds": list(holds)}
    record(session, "batch:screen", batch.id, body, home.clock.now())
    return Outcome(batch.id, batch.source, dict(counts), holds)
