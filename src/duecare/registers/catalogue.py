"""The sources known to a home: those of the installed adapters and those that the home maps from CSV by a TOML file.

The rule of this module: a mapped source is as good as an adapter; it is found by name through the same call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from duecare.errors import BadInput, UnknownName, UseError
from duecare.registers.adapter import Adapter, adapters
from duecare.registers.adapter import adapter as installed
from duecare.registers.models import Batch
from duecare.store.home import Home


@dataclass(frozen=True)
class SourceState:
    """A source with the age of what is held of it. ``state``: ``empty``, ``fresh`` or ``stale``."""

    adapter: Adapter
    last_observed: datetime | None
    batches: int
    held_batches: int
    state: str

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        source = self.adapter.source
        return {
            "source": source.name,
            "title_zh": source.title_zh,
            "title_en": source.title_en,
            "operator": source.operator,
            "address": source.address,
            "legal_basis": source.legal_basis,
            "licence": source.licence,
            "robots": source.robots,
            "rate": {
                "requests": source.rate.requests,
                "seconds": source.rate.seconds,
                "concurrent": source.rate.concurrent,
            },
            "fresh_for_days": source.fresh_for.total_seconds() / 86400,
            "authoritative_for": list(source.authoritative_for),
            "sections": [section.name for section in self.adapter.sections],
            "parser": self.adapter.version,
            "last_observed": self.last_observed.isoformat() if self.last_observed else None,
            "batches": self.batches,
            "held_batches": self.held_batches,
            "state": self.state,
        }


def all_adapters(home: Home) -> dict[str, Adapter]:
    """Every source that can be read here, by name."""
    found = adapters()
    for path in sorted((home.path / "sources").glob("*.toml")):
        from duecare.registers.adapters.csv_mapping import CsvMapping

        mapping = CsvMapping(path)
        found[mapping.source.name] = mapping
    return dict(sorted(found.items()))


def adapter_for(home: Home, name: str) -> Adapter:
    """The adapter of the source called ``name``. Raises ``UnknownName``."""
    try:
        return installed(name)
    except UnknownName:
        found = all_adapters(home)
    if name not in found:
        raise UnknownName("source", name, sorted(found))
    return found[name]


def title_of(home: Home, name: str) -> tuple[str, str]:
    """What the source called ``name`` is called in Chinese and English; its name where it is not installed."""
    try:
        source = adapter_for(home, name).source
    except UnknownName:
        return name, name
    return source.title_zh, source.title_en


def add_mapping(home: Home, path: Path) -> Adapter:
    """Keep the TOML mapping at ``path`` in the home. Raises ``BadInput`` where it cannot be read."""
    if not path.is_file():
        raise BadInput(f"There is no file {path}.", hint="Give the path of a TOML mapping.")
    from duecare.registers.adapters.csv_mapping import CsvMapping

    mapping = CsvMapping(path)
    name = mapping.source.name
    if name in adapters():
        raise UseError(f"{name!r} is the name of an installed source.", hint="Give the mapping another name.")
    folder = home.path / "sources"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_bytes(path.read_bytes())
    return mapping


def unreadable(home: Home) -> list[dict[str, Any]]:
    """Of each source whose newest crawl had what could not be read: how many pages, and sections of how many pages."""
    newest = select(func.max(Batch.seq)).where(Batch.kind == "crawl", Batch.state == "committed").group_by(Batch.source)
    with home.database.session() as session:
        rows = session.scalars(select(Batch).where(Batch.seq.in_(newest)).order_by(Batch.source)).all()
        return [
            {
                "what": "unreadable",
                "source": row.source,
                "batch": row.id,
                "observed_at": row.observed_at.isoformat(),
                **row.counts["unreadable"],
            }
            for row in rows
            if "unreadable" in row.counts
        ]


def states(home: Home) -> list[SourceState]:
    """Every source and how fresh what we hold of it is. A crawl of which nothing could be read refreshes nothing."""
    with home.database.session() as session:
        rows = session.execute(select(Batch.source, Batch.state, func.count()).group_by(Batch.source, Batch.state))
        counts = {(row.source, row.state): row[2] for row in rows}
        latest = {source: _last_read(session, source) for source, state in counts if state == "committed"}
    made = []
    for name, adapter in all_adapters(home).items():
        last = latest.get(name)
        if last is None:
            state = "empty"
        elif home.clock.now() - last > adapter.source.fresh_for:
            state = "stale"
        else:
            state = "fresh"
        made.append(
            SourceState(adapter, last, counts.get((name, "committed"), 0), counts.get((name, "held"), 0), state)
        )
    return made


def _last_read(session: Session, source: str) -> datetime | None:
    """When the newest batch of ``source`` was observed of which anything could be read."""
    newest = (
        select(Batch.observed_at, Batch.counts)
        .where(Batch.source == source, Batch.state == "committed")
        .order_by(Batch.observed_at.desc())
    )
    for row in session.execute(newest.execution_options(yield_per=20)):
        if "unreadable" not in row.counts or any(row.counts["reads"].values()):
            return row.observed_at  # type: ignore[no-any-return]
    return None
