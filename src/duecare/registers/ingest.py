"""The way in: a file or a crawl becomes a snapshot, reads, facts and changes.

The rule of this module: bad input loses nothing. What cannot be read is refused before anything is written; what covers
too little is held; what is known already is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from duecare.clock import BEIJING, day_received, utc
from duecare.errors import BadInput, UseError
from duecare.evidence.outbox import record
from duecare.registers import fold, held
from duecare.registers.adapter import Adapter, Coverage, FileAdapter, Page, PageAdapter
from duecare.registers.batches import (
    Arrival,
    Outcome,
    count_changes,
    find,
    last_parser,
    record_batch,
    total,
)
from duecare.registers.codes import code_of
from duecare.registers.detection import Detected, detect
from duecare.registers.floor import shortfall
from duecare.registers.models import Batch
from duecare.registers.pages import Places, write_places
from duecare.registers.reading import Stage, StagedSection, open_workshop, prepare, read_pages, unreadable
from duecare.registers.tables import READABLE, Tables
from duecare.registers.tidy import tidy_if_due
from duecare.store.home import Home
from duecare.store.packs import PackWriter, read_all

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Released:
    """Who lets a held batch in below the floor, and why."""

    by: str
    reason: str


_DATE_IN_NAME = re.compile(
    r"(?<!\d)(?:(?P<year>(?:20|19)\d\d)-(?P<month>\d\d)-(?P<day>\d\d)|"
    r"(?P<_year>(?:20|19)\d\d)(?P<_month>0[1-9]|1[0-2])(?P<_day>0[1-9]|[12]\d|3[01]))(?!\d)"
)


def observed_in_name(filename: str) -> datetime | None:
    """The day named in a file's name (``2025-02-27.csv``, ``BasicCompanyData-2026-11-01.zip``), as ``day_received``.

    Raises ``BadInput`` where it names a day that there is not."""
    found = _DATE_IN_NAME.search(filename)
    if found is None:
        return None
    year, month, day = (int(part) for part in found.groups() if part)
    try:
        return day_received(date(year, month, day))
    except ValueError:
        raise BadInput(
            f"{filename} names a day that there is not: {found[0]}.",
            hint="Give the moment the file was received with --observed-at, or rename it.",
        ) from None


def ingest_file(
    home: Home,
    adapter: Adapter,
    path: Path,
    observed_at: datetime | None = None,
    progress: Progress = lambda step: None,
) -> Outcome:
    """Read the file at ``path`` as one batch of the adapter's source.

    ``observed_at`` is when the file was received; without it the day in the file's name counts, else now. Raises
    ``BadInput`` where the file is missing, empty, cut short or of another kind; nothing is changed then.
    """
    must_be_file(path)
    now = home.clock.now()
    at = utc(observed_at) if observed_at else observed_in_name(path.name) or now
    if now < at == day_received(now.astimezone(BEIJING).date()):
        at = now  # today has begun in Beijing, and in UTC not yet
    _credible(home, adapter, at)
    if isinstance(adapter, PageAdapter):
        return _ingest_page_file(home, adapter, path, at, progress)
    with home.writing("lake", wait=600):
        progress(f"keeping {path.name}")
        with home.snapshots.unless_refused(path) as digest:
            arrival = Arrival(adapter.source.name, "file", digest, path.name, at, adapter.version)
            return _apply(home, adapter, arrival, progress)


def must_be_file(path: Path) -> None:
    """Raises ``BadInput`` where there is nothing to read at ``path``."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder.", hint=f"Give the files in it: {path}/*. Nothing was read.")
    if not path.is_file():
        raise BadInput(f"There is no file {path}.", hint="Give the path of a file that can be read.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint="Nothing was read.") from None
    if empty:
        raise BadInput(f"{path} is empty.", hint="An empty read closes nothing; fetch the file again.")


def ingest_pages(
    home: Home,
    adapter: PageAdapter,
    pack: Path,
    progress: Progress = lambda step: None,
    *,
    reread_first: bool = True,
) -> Outcome:
    """Read a crawl: a pack of pages, kept whole. Raises ``BadInput`` where it has no page.

    ``reread_first=False`` is for the replay's counter-proof only: it compares what two parsers read, as the system of
    case 1 did; no command or setting reaches it.
    """
    latest: datetime | None = None
    for packed in read_all(pack):
        latest = packed.fetched_at if latest is None else max(latest, packed.fetched_at)
    if latest is None:
        raise BadInput(f"The pack {pack} holds no page.", hint="An empty crawl closes nothing; crawl again.")
    with home.writing("lake", wait=600), home.snapshots.unless_refused(pack) as digest:
        arrival = Arrival(adapter.source.name, "crawl", digest, pack.name, utc(latest), adapter.version)
        return _apply(home, adapter, arrival, progress, reread_first=reread_first)


def release(home: Home, batch: str, by: str, reason: str, progress: Progress = lambda step: None) -> Outcome:
    """Apply a batch that was held below the floor after all. Who and why is kept."""
    from duecare.registers.catalogue import adapter_for

    arrival = _held(home, batch)
    with home.writing("lake", wait=600):
        return _apply(home, adapter_for(home, arrival.source), arrival, progress, released=_Released(by, reason))


def reject(home: Home, batch: str, by: str, reason: str) -> None:
    """Put a held batch aside for good; its snapshot is kept. Who and why is kept."""
    arrival = _held(home, batch)
    with home.database.session() as session:
        row = find(session, arrival.id)
        row.state, row.reason = "rejected", f"{row.reason} Rejected by {by}: {reason}"
        body = {"batch": row.id, "source": row.source, "by": by, "reason": reason}
        record(session, "batch:reject", row.id, body, home.clock.now())


@contextmanager
def stage_arrival(
    home: Home, adapter: Adapter, arrival: Arrival, prefix: str = "s"
) -> Iterator[tuple[Stage, int, str]]:
    """Read the kept bytes of ``arrival`` into the engine: the stage, the count of rejects and their file. The stage
    may read the bytes lazily, so they stay for as long as the block lasts."""
    with home.snapshots.restored(arrival.snapshot, arrival.filename) as path:
        places = Places()
        if isinstance(adapter, PageAdapter):
            staged = read_pages(home, adapter, _pages(path, places))
        elif isinstance(adapter, FileAdapter):
            staged = adapter.stage(path, home.lake.connection)
        else:
            raise UseError(f"The adapter of {arrival.source} reads neither files nor pages.")
        made = prepare(home, staged, adapter.sections, arrival.observed_at, arrival.snapshot, prefix)
        if isinstance(adapter, PageAdapter):
            made = replace(made, pages=f"work.{prefix}_pages")
            home.lake.connection.from_arrow(places.table()).create(made.pages)
        rejects, file = 0, ""
        if staged.rejects is not None:
            rejects, file = _keep_rejects(home, staged.rejects, arrival)
        yield made, rejects, file


def _pages(pack: Path, places: Places) -> Iterator[tuple[Page, str]]:
    for packed in read_all(pack):
        places.note(packed)
        yield Page(packed.entity, packed.url, packed.fetched_at, packed.body, packed.status), packed.sha256


def _apply(
    home: Home,
    adapter: Adapter,
    arrival: Arrival,
    progress: Progress,
    *,
    released: _Released | None = None,
    reread_first: bool = True,
) -> Outcome:
    """Read ``arrival``, whose bytes are kept, and apply it. The caller holds the right to write the lake."""
    known = _known(home, arrival, released)
    if known is not None:
        return known
    with home.database.session() as session:
        stale = last_parser(session, arrival.source)
    if reread_first and stale is not None and stale != adapter.version:
        # Two parsers cannot be compared: what is stored is read again by the new one before anything new is.
        progress(f"reading what is stored again with parser {adapter.version}")
        fold.reread(home, adapter, stage_arrival, progress)
    progress("reading")
    open_workshop(home.lake.connection)
    with home.lake.drafting(), stage_arrival(home, adapter, arrival) as (made, rejects, file):
        outcome = _commit(home, adapter, arrival, made, progress, released, rejects, file)
    progress("tidying")
    tidy_if_due(home, arrival.source)
    return outcome


def _commit(
    home: Home,
    adapter: Adapter,
    arrival: Arrival,
    made: Stage,
    progress: Progress,
    released: _Released | None,
    rejects: int,
    file: str,
) -> Outcome:
    tables = Tables(home, arrival.source, leased=True)
    rows = {item.section.name: item.rows for item in made.sections}
    counts: dict[str, Any] = {"rows": rows, "reads": _reads(home, made), "rejects": rejects}
    sections = {item.section.name: item.coverage.value for item in made.sections}
    late = fold.is_late(home, tables, made)
    why = "" if released else shortfall(home, tables, made, home.settings.lapse_floor, late=late)
    lost = unreadable(home.lake.connection, made)
    if lost:
        sections_lost = {each.section: each.entities for each in lost if each.section}
        counts["unreadable"] = {"pages": len(lost) - len(sections_lost), "sections": sections_lost}
    outcome = Outcome(
        arrival.id, arrival.source, "held", arrival.observed_at, sum(rows.values()), rejects, file, {}, why,
        partial=tuple(item.section.name for item in made.sections if item.coverage is Coverage.PARTIAL),
        unreadable=lost,
    )  # fmt: skip
    if why:
        with home.database.session() as session:
            record_batch(
                session, arrival, state="held", at=home.clock.now(), late=False, sections=sections,
                counts=counts, reason=why,
            )  # fmt: skip
        return outcome
    progress("comparing")
    if late:
        fold.insert(home, tables, made, arrival.id, adapter.version, adapter.source.fresh_for)
        changed = "work.final_changes"
    else:
        found = detect(home, tables, made, adapter.source.fresh_for)
        _write_in_order(home, tables, made, arrival, found)
        changed = found.rows
    if made.pages:
        write_places(home, tables, made.pages, arrival.id, arrival.snapshot)
    progress("committing")
    with home.database.session() as session:
        batch = record_batch(
            session, arrival, state="committed", at=home.clock.now(), late=late, sections=sections, counts=counts
        )
        per_kind = count_changes(home, session, arrival.id, arrival.source, changed)
        batch.counts = {**counts, "changes": per_kind}
        tables.declare(session)
        if released is not None:
            # In the same transaction: a process killed here leaves no release without its evidence.
            body = {"batch": arrival.id, "source": arrival.source, "by": released.by, "reason": released.reason}
            record(session, "batch:release", arrival.id, body, home.clock.now())
    return replace(outcome, state="committed", changes=total(per_kind), late=late)


def _write_in_order(home: Home, tables: Tables, made: Stage, arrival: Arrival, found: Detected) -> None:
    """The newest read: versions and changes are appended, what is held is rewritten where it differs."""
    seq = fold.write_reads(home, tables, made.reads, arrival.id, arrival.parser)
    changed = f"{found.rows} WHERE kind IS NOT NULL"
    # In the order of entities, so that only a part of the file is read where one entity is asked for.
    tables.write(
        "facts",
        [
            f"""SELECT section, entity, key, becomes AS hash, after AS value, after_on AS effective_on,
            observed_at AS first_observed, not_before, snapshot, '{arrival.id}' AS batch FROM {changed}"""
        ],
        ordered=True,
    )
    held.add(tables, {item.section.name: _newly_held(found, item) for item in found.sections}, seq)
    tables.write(
        "changes",
        [
            f"""SELECT md5(concat_ws(chr(31), '{arrival.id}', section, entity, key)) AS id, '{arrival.id}' AS batch,
            '{arrival.source}' AS source, entity, section, key, kind,
            CASE WHEN kind = 'first_observation' THEN 'scope' ELSE 'source' END AS moved,
            before, after, CASE WHEN kind = 'lapse' THEN NULL ELSE after_on END AS effective_on,
            not_before, observed_at AS not_after, false AS late, snapshot FROM {changed}"""
        ],
        ordered=True,
    )


def _newly_held(found: Detected, item: StagedSection) -> str:
    """SQL of what is held otherwise now of a section: ``entity, key, hash``."""
    # A notice that was repeated counts for nothing; elsewhere every hash that differs is the newer one.
    counts = "NOT same" if item.coverage is Coverage.ADDITIONS else "true"
    return f"(SELECT entity, key, becomes AS hash FROM {found.of(item)} WHERE {counts})"


def _reads(home: Home, made: Stage) -> dict[str, int]:
    """Of how many entities each section was read; of a whole list, about as many as it names."""
    listed = dict(
        home.lake.connection.execute(
            f"SELECT section, count(*) FROM {made.reads} WHERE {READABLE} GROUP BY ALL"
        ).fetchall()
    )
    return {
        item.section.name: listed.get(item.section.name, 0) if item.coverage is Coverage.LISTED else item.entities
        for item in made.sections
    }


def _known(home: Home, arrival: Arrival, released: _Released | None) -> Outcome | None:
    with home.database.session() as session:
        row = session.get(Batch, arrival.id)
        if row is None or (row.state == "held" and released is not None):
            return None
        state = "known" if row.state == "committed" else row.state
        rows = sum(row.counts.get("rows", {}).values())
        return Outcome(
            row.id, row.source, state, row.observed_at, rows, row.counts.get("rejects", 0), "", {}, row.reason, row.late
        )


def _held(home: Home, batch: str) -> Arrival:
    with home.database.session() as session:
        row = find(session, batch)
        if row.state != "held":
            raise UseError(
                f"Batch {row.id} is {row.state}, not held.", hint="`duecare screen list` shows what is held."
            )
        return Arrival(row.source, row.kind, row.snapshot, row.filename, row.observed_at, row.parser)


def _ingest_page_file(home: Home, adapter: PageAdapter, path: Path, at: datetime, progress: Progress) -> Outcome:
    """A single saved page, named by its entity (``91500000MA5U0000XN.html``), or a pack of them."""
    if path.suffix == ".pack":
        return ingest_pages(home, adapter, path, progress)
    if path.suffix.lower() not in (".html", ".htm"):
        raise BadInput(
            f"{path.name} is neither a page (.html, named by the company's code) nor a pack (.pack).",
            hint=f"`duecare crawl {adapter.source.name} --site ADDRESS` makes a pack.",
        )
    entity, body = _entity_in_name(adapter, path), path.read_bytes()
    read = adapter.read(Page(entity, path.name, at, body))
    if not read.sections:
        reason = next(iter(read.unreadable.values()), "it says nothing of any company")
        raise BadInput(
            f"{path.name} cannot be read as the page about {entity}: {reason}.",
            hint="Save that company's page anew, whole and as received. Nothing was kept of this one.",
        )
    folder = home.path / "incoming"
    folder.mkdir(exist_ok=True)
    pack = folder / f"{path.stem}-{at:%Y%m%dT%H%M%S}.pack"
    pack.unlink(missing_ok=True)
    with PackWriter(pack) as writer:
        writer.add(entity=entity, url=path.name, fetched_at=at, status=200, body=body)
    try:
        return ingest_pages(home, adapter, pack, progress)
    finally:
        pack.unlink(missing_ok=True)


def _entity_in_name(adapter: PageAdapter, path: Path) -> str:
    """The company's code in the name of a page file (``91500000MA5U0000XN-2019-02-20.html``)."""
    try:
        return code_of(adapter, _DATE_IN_NAME.sub("", path.stem).strip("-_ "))
    except BadInput as error:
        raise BadInput(
            f"{path.name} is not named by its company: {error.message}",
            hint=f"{error.hint} Name the file CODE.html, or CODE-2025-02-28.html by the day it was received.",
        ) from None


def _keep_rejects(home: Home, rejects: Any, arrival: Arrival) -> tuple[int, str]:
    """Write the rows set aside to a readable file; returns how many there are and where."""
    folder = home.path / "rejects" / arrival.source
    path = folder / f"{arrival.observed_at:%Y-%m-%d}-{arrival.id[:8]}.csv"
    rejects.create_view("staged_rejects", replace=True)
    connection = home.lake.connection
    number: int = (connection.execute("SELECT count(*) FROM staged_rejects").fetchone() or (0,))[0]
    if not number:
        return 0, ""
    folder.mkdir(parents=True, exist_ok=True)
    quoted = str(path).replace("'", "''")
    connection.execute(
        f"COPY (SELECT line, reason, text FROM staged_rejects ORDER BY line) TO '{quoted}' (FORMAT csv, HEADER)"
    )
    return number, str(path)


def _credible(home: Home, adapter: Adapter, at: datetime) -> None:
    first = adapter.source.first_published
    if at.date() < first:
        raise BadInput(
            f"The file was not received on {at:%Y-%m-%d}: none of {adapter.source.name} is older than {first}.",
            hint="Give the moment it was received with --observed-at, not a date of which it tells.",
        )
    if at > home.clock.now():
        raise BadInput(
            f"The file cannot have been received on {at:%Y-%m-%d %H:%M} UTC: it is {home.clock.now():%Y-%m-%d %H:%M}.",
            hint="Give the moment it was received with --observed-at.",
        )
