"""What is longer than any list has it, or is no name, is refused where it comes in and not where it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from duckdb import DuckDBPyConnection

from duecare.radar import models as radar
from duecare.radar.deciders import LONGEST_NAME
from duecare.registers import models as registers
from duecare.registers.adapters.csv_mapping import CsvMapping
from duecare.registers.sources import LONGEST_CODE, LONGEST_SECTION, LONGEST_SOURCE
from duecare.store.database import Base

MAPPING = (Path(__file__).parents[1] / "data" / "mapped" / "mapping.toml").read_text()


@pytest.fixture
def connection() -> Iterator[DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


@pytest.mark.parametrize(
    ("column", "longest"),
    [
        ("entity", LONGEST_CODE),
        ("source", LONGEST_SOURCE),
        ("section", LONGEST_SECTION),
        ("decided_by", LONGEST_NAME),
    ],
)
def test_the_database_has_room_for_what_is_let_in(column: str, longest: int) -> None:
    """SQLite takes a text of any length, PostgreSQL only what its column has room for: both are asked for the same."""
    tables = [
        model.class_.__table__
        for model in Base.registry.mappers
        if model.class_.__module__ in (radar.__name__, registers.__name__)
    ]
    lengths = {table.name: table.c[column].type.length for table in tables if column in table.c}
    assert lengths
    assert all(length is None or length >= longest for length in lengths.values()), lengths


def test_a_code_longer_than_any_is_set_aside(connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """One code that no column takes is a reject of its own, and the longest that one takes is read."""
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(MAPPING.replace('code = "uk_company"', ""))
    longest, longer = "长" * LONGEST_CODE, "长" * (LONGEST_CODE + 1)
    path = tmp_path / "list.csv"
    lines = ["Name;Number;Kind;Entered;Note", *(f"N;{code};a;05/06/2020;x" for code in (longest, longer, "1"))]
    path.write_text("\n".join(lines) + "\n", encoding="gb18030")
    mapping.write_text(mapping.read_text().replace("latin-1", "gb18030"))
    staged = CsvMapping(mapping).stage(path, connection)
    for rows in staged.rows.values():
        assert {row[0] for row in rows.fetchall()} == {longest, "1"}
    assert staged.rejects is not None
    assert [each[:2] for each in staged.rejects.fetchall()] == [(3, "a code of more than 300 characters")]
