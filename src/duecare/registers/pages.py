"""Stored pages: the bytes as received, by their hash, with where and when they were received.

The rule of this module: what a fact or an alert names as its snapshot can be shown, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import select

from duecare.errors import BadInput
from duecare.registers.models import Batch
from duecare.registers.tables import Tables, known_sources
from duecare.store.home import Home
from duecare.store.packs import Packed, read_at

SHORTEST = 8
"""So many hex digits at least are asked for where a hash is given by its beginning."""
_PLACES = {
    "entity": pa.string(),
    "address": pa.string(),
    "sha256": pa.string(),
    "fetched_at": pa.timestamp("us", "UTC"),
    "frame_offset": pa.int64(),
    "frame_length": pa.int64(),
}


@dataclass(frozen=True)
class StoredPage:
    """A page of a crawl, or a whole file. ``address`` is where it came from: a URL, or the name of a file.

    ``fetched_at`` is when these bytes were first received, ``last_fetched_at`` when they were last (UTC). ``entity`` is
    empty for a file of many.
    """

    sha256: str
    source: str
    entity: str
    address: str
    fetched_at: datetime
    last_fetched_at: datetime
    body: bytes

    def as_json(self) -> dict[str, Any]:
        """For ``--json``: everything but the bytes, and how many they are."""
        return {
            "sha256": self.sha256,
            "source": self.source,
            "entity": self.entity,
            "address": self.address,
            "fetched_at": self.fetched_at.isoformat(),
            "last_fetched_at": self.last_fetched_at.isoformat(),
            "size": len(self.body),
        }


class Places:
    """Where the pages of one pack are, noted as they are read, for the table ``snapshots``."""

    def __init__(self) -> None:
        self._columns: dict[str, list[object]] = {name: [] for name in _PLACES}

    def note(self, page: Packed) -> None:
        """Note one page."""
        values = (page.entity, page.url, page.sha256, page.fetched_at, page.offset, page.length)
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)

    def table(self) -> pa.Table:
        """All of them."""
        return pa.table(self._columns, schema=pa.schema(_PLACES))


def write_places(home: Home, tables: Tables, pages: str, batch: str, pack: str) -> None:
    """Add the places in the workshop's table ``pages`` to the table ``snapshots``. ``pack``: the hash of the pack."""
    # In the order of the hashes, so that one is found without reading all of them.
    tables.write(
        "snapshots",
        [
            f"""SELECT '{batch}' AS batch, entity, address, sha256, fetched_at, '{pack}' AS pack, frame_offset,
            frame_length FROM {pages} ORDER BY sha256"""
        ],
        ordered=True,
    )


def full_hash(given: str, among: Iterable[str]) -> str | None:
    """The one hash in ``among``, all of which begin with ``given``; ``None`` where there is none.

    Raises ``BadInput`` where there are several."""
    found = sorted(set(among))
    if len(found) > 1:
        raise BadInput(f"{len(found)} snapshots begin with {given}.", hint=f"Give more digits: {', '.join(found[:5])}.")
    return found[0] if found else None


def hash_in(given: str) -> str:
    """The hash, or its beginning, that ``given`` is or that a snapshot link ends in. Raises ``BadInput``."""
    digits = given.strip().rstrip("/").rsplit("/", 1)[-1].lower()
    if not SHORTEST <= len(digits) <= 64 or digits.strip("0123456789abcdef"):
        raise BadInput(
            f"{given!r} is no snapshot's hash.",
            hint=f"Give its SHA-256 in hex (the first {SHORTEST} digits do), or the link of an alert.",
        )
    return digits


def find_page(home: Home, given: str) -> StoredPage | None:
    """The page of a crawl, or the file, whose SHA-256 is or begins with ``given``; ``None`` where none was read.

    ``given`` may be a snapshot link. Raises ``BadInput`` where it is no hash, or where several begin so.
    """
    digits = hash_in(given)
    places = _places(home, digits)
    with home.database.session() as session:
        files = list(
            session.execute(
                select(Batch)
                .where(Batch.snapshot.startswith(digits), Batch.kind != "reread")
                .order_by(Batch.observed_at)
            ).scalars()
        )
    name = full_hash(given, [row["sha256"] for row in places] + [row.snapshot for row in files])
    if name is None:
        return None
    if not places:
        times = [row.observed_at for row in files]
        body = home.snapshots.get(name)
        return StoredPage(name, files[0].source, "", files[0].filename, times[0], times[-1], body)
    first, times = places[0], [row["fetched_at"] for row in places]
    with home.snapshots.stored(first["pack"]) as path:
        page = read_at(path, first["frame_offset"], first["frame_length"])
    return StoredPage(name, first["source"], page.entity, page.url, times[0], times[-1], page.body)


def _places(home: Home, digits: str) -> list[dict[str, Any]]:
    """The rows of ``snapshots`` of all sources whose hash begins with ``digits``, oldest first."""
    with home.readers.reading():
        with home.database.session() as session:
            tables = [Tables(home, source, session, leased=True) for source in known_sources(session)]
        scans = [f"SELECT '{each.source}' AS source, * FROM {each.scan('snapshots')}" for each in tables]
        if not scans:
            return []
        cursor = home.lake.connection.cursor().execute(
            f"""SELECT source, sha256, fetched_at, pack, frame_offset, frame_length FROM ({" UNION ALL ".join(scans)})
            WHERE sha256 >= ? AND sha256 < ? ORDER BY fetched_at, source, pack""",
            [digits, digits + "g"],
        )
        columns = [column[0] for column in cursor.description or []]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
