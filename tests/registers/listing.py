"""A register of the tests: a JSON file of rows, read by an adapter that does what its file says.

The file: ``{"coverage": {section: coverage}, "rows": [[section, entity, key, text, date]], "reads": [[entity, section,
state]]}``. There are two sections, ``basic`` (one row an entity) and ``people`` (keyed).
"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection

from duecare.registers.adapter import Coverage, Staged
from duecare.registers.sections import Category, RiskLevel, Section
from duecare.registers.sources import Source

SOURCE = Source(
    name="test-list",
    title_zh="测试名录",
    title_en="A list for tests",
    operator="the tests",
    address="https://list.invalid",
    legal_basis="made up here",
    licence="CC0",
    fresh_for=timedelta(days=7),
)
BASIC = Section("basic", "基本信息", "basic facts", ("name",), keyed=False)
PEOPLE = Section("people", "人员", "people", ("post",), Category.RISK, RiskLevel.WARNING, sensitive=True)


class ListAdapter:
    """Reads the tests' JSON. ``sections_read`` narrows what this parser version understands."""

    def __init__(self, version: str = "1", sections_read: tuple[str, ...] = ("basic", "people")) -> None:
        self.source = SOURCE
        self.version = version
        self.sections = (BASIC, PEOPLE)
        self.sections_read = sections_read

    def stage(self, path: Path, connection: DuckDBPyConnection) -> Staged:
        """Read the file at ``path``."""
        said = json.loads(path.read_text())
        relations = {}
        for section in self.sections:
            rows = [row for row in said["rows"] if row[0] == section.name and section.name in self.sections_read]
            (field,) = section.fields
            table = pa.table(
                {
                    "entity": pa.array([row[1] for row in rows], pa.string()),
                    "key": pa.array([row[2] for row in rows], pa.string()),
                    "effective_on": pa.array([row[4] and date.fromisoformat(row[4]) for row in rows], pa.date32()),
                    field: pa.array([row[3] for row in rows], pa.string()),
                }
            )
            if rows:
                relations[section.name] = connection.from_arrow(table)
        coverage = {name: Coverage(kind) for name, kind in said["coverage"].items() if name in self.sections_read}
        reads = None
        if said.get("reads") is not None:
            kept = [read for read in said["reads"] if read[1] in self.sections_read]
            reads = connection.from_arrow(
                pa.table(
                    {
                        "entity": pa.array([read[0] for read in kept], pa.string()),
                        "section": pa.array([read[1] for read in kept], pa.string()),
                        "state": pa.array([read[2] for read in kept], pa.string()),
                        "note": pa.array([None] * len(kept), pa.string()),
                    }
                )
            )
        return Staged(relations, coverage, reads)


def day(number: int) -> datetime:
    """Midnight UTC of the given day after 1 January 2024."""
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number)


def write_list(
    folder: Path,
    name: str,
    rows: list[tuple[Any, ...]],
    coverage: dict[str, str] | None = None,
    reads: list[tuple[str, str, str]] | None = None,
) -> Path:
    """A file of the tests' register; ``rows`` are (section, entity, key, text[, date])."""
    path = folder / f"{name}.json"
    said = {
        "coverage": coverage or {"basic": "whole", "people": "whole"},
        "rows": [[*row, None][:5] if len(row) == 4 else list(row) for row in rows],
        "reads": reads,
    }
    path.write_text(json.dumps(said))
    return path
