"""What an adapter is: the one thing to write for a new register.

A *file adapter* turns a file of many entities into one relation for each section, as set work in DuckDB. A *page
adapter* turns one page about one entity into rows. Both say which sections they read, **including those found empty**.

The rule of this module: "read and empty" and "not read" are different facts. Case 1 happened because one system did
not tell them apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from duckdb import DuckDBPyConnection, DuckDBPyRelation

from duecare.errors import UnknownName
from duecare.identifiers import Kind
from duecare.registers.sections import Section
from duecare.registers.sources import Source


class Coverage(StrEnum):
    """What a staged section was read for.

    ``WHOLE``: the complete list; an entity or row that is absent is gone. ``PARTIAL``: a list with holes, such as one
    of which records were set aside; what it shows was read, what it does not show was not. ``LISTED``: only for the
    entities named in ``Staged.reads`` (or, without reads, those that have rows). ``ADDITIONS``: a feed of new notices;
    absence says nothing, and each row is an event by nature.
    """

    WHOLE = "whole"
    PARTIAL = "partial"
    LISTED = "listed"
    ADDITIONS = "additions"


LISTS = (Coverage.WHOLE, Coverage.PARTIAL)
"""What is read of no entity in particular."""

ABSENCE_COUNTS = (Coverage.WHOLE, Coverage.LISTED)
"""What is read so that a row which is not shown is gone."""


class ReadState(StrEnum):
    """What a parser found of one section of one entity."""

    READ = "read"
    EMPTY = "empty"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Staged:
    """A file, read.

    ``rows``: section name → relation with columns ``entity`` (text), ``key`` (text, ``''`` where the section is not
    keyed), ``effective_on`` (date or null), the section's ``fields`` (text or null; never ``''``), and optionally
    ``correction`` (boolean: the source itself says that this replaces an error). ``(entity, key)`` is unique.

    ``reads``: relation ``entity, section, state, note``; needed where a section is ``LISTED`` and may be empty or
    unreadable. ``rejects``: relation ``line`` (bigint, 1 is the first line of the file), ``reason``, ``text``.
    """

    rows: Mapping[str, DuckDBPyRelation]
    coverage: Mapping[str, Coverage]
    reads: DuckDBPyRelation | None = None
    rejects: DuckDBPyRelation | None = None


@dataclass(frozen=True)
class Row:
    """One fact as a page says it: its key in the section, its fields, the register's own date."""

    key: str
    value: Mapping[str, str | None]
    effective_on: date | None = None


@dataclass(frozen=True)
class Page:
    """Bytes as received from one address about one entity. ``fetched_at`` is aware, in UTC."""

    entity: str
    url: str
    fetched_at: datetime
    body: bytes
    status: int = 200


@dataclass(frozen=True)
class PageRead:
    """What a parser read in a page: sections found (an empty list means *read, none*) and those it could not read."""

    entity: str
    sections: Mapping[str, Sequence[Row]]
    unreadable: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Adapter(Protocol):
    """What both kinds share. ``version`` names the parser; raise it whenever the same bytes may be read differently."""

    source: Source
    version: str
    sections: tuple[Section, ...]


@runtime_checkable
class FileAdapter(Adapter, Protocol):
    """Reads a file of many entities."""

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read ``path`` into relations on ``connection``. Raises ``BadInput`` where the file is not of this kind,
        is empty, or is cut short."""
        ...


@runtime_checkable
class PageAdapter(Adapter, Protocol):
    """Reads a page about one entity."""

    def read(self, page: Page) -> PageRead:
        """Read ``page``. A page that cannot be understood at all yields every section unreadable."""
        ...

    def address(self, site: str, entity: str) -> str:
        """The address of the page about ``entity`` on ``site``."""
        ...


@runtime_checkable
class CodedAdapter(PageAdapter, Protocol):
    """A page adapter that says of what kind its codes are, so that what is none is never asked for."""

    code: Kind


def composite(*parts: str | None) -> str:
    """One text for a key of several columns, such that two keys are equal only if every column is.

    >>> composite("a", "bc") == composite("ab", "c")
    False
    """
    return json.dumps(list(parts), ensure_ascii=False, separators=(",", ":"))


COMPOSITE_SQL = "to_json([{}])::varchar"
"""The same in DuckDB: ``COMPOSITE_SQL.format("a, b")`` equals ``composite(a, b)`` for text columns."""


def adapters() -> dict[str, Adapter]:
    """Every installed adapter by the name of its source; those of other packages come through the same door."""
    found: dict[str, Adapter] = {}
    for entry in _installed():
        found[entry.name] = entry.load()()
    return dict(sorted(found.items()))


def adapter(name: str) -> Adapter:
    """The adapter of the source called ``name``. Raises ``UnknownName``."""
    for entry in _installed():
        if entry.name == name:
            loaded: Adapter = entry.load()()
            return loaded
    raise UnknownName("source", name, sorted(entry.name for entry in _installed()))


@cache
def _installed() -> tuple[EntryPoint, ...]:
    # Looking through every installed package takes as long as a small batch.
    return tuple(entry_points(group="duecare.adapters"))
