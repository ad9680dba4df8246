"""What is longer than any list has it, or is no name, is refused where it comes in and not where it is kept."""

from __future__ import annotations

import gzip
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from duckdb import DuckDBPyConnection

from duecare.errors import BadInput, UseError
from duecare.radar import models as radar
from duecare.radar.deciders import LONGEST_NAME
from duecare.registers import files
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


def test_an_archive_that_unpacks_to_what_no_list_does_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less than three megabytes can unpack to three gigabytes: it stops at a hundred times the archive's size."""
    monkeypatch.setattr(files, "_SMALL", 1 << 20)
    nothing = b"\n" * (9 << 20)
    packed = tmp_path / "list.csv.gz"
    packed.write_bytes(gzip.compress(nothing))
    zipped = tmp_path / "list.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("list.csv", nothing)
    for path in (packed, zipped):
        with pytest.raises(BadInput, match="more than 100 times its size"), files.unpacked(path, suffixes=(".csv",)):
            pass
    packed.write_bytes(gzip.compress(nothing[: 1 << 20]))
    with files.unpacked(packed, suffixes=(".csv",)) as plain:
        assert plain.size == 1 << 20


def test_an_archive_for_which_the_disk_has_no_room_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is never filled to the brim: others write to it too."""
    monkeypatch.setattr(files, "_SMALL", 1 << 10)
    monkeypatch.setattr(files, "_LEFT_FREE", 1 << 60)
    packed = tmp_path / "list.csv.gz"
    packed.write_bytes(gzip.compress(random.Random(1).randbytes(1 << 16)))
    with pytest.raises(UseError, match="does not fit on the disk"), files.unpacked(packed, suffixes=(".csv",)):
        pass


def test_an_archive_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    """A password, an archive of nothing, a damaged one of any packing: each is said in a sentence."""
    path = tmp_path / "list.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("list.csv", b"a,b\n1,2\n")
    encrypted = bytearray(path.read_bytes())
    encrypted[6] |= 1
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    with zipfile.ZipFile(path, "w"):
        pass
    nothing = path.read_bytes()
    cases = [("is encrypted", bytes(encrypted)), ("holds nothing", nothing)]
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("list.csv", bytes(range(256)) * 99)
        damaged = bytearray(path.read_bytes())
        damaged[60:90] = bytes(30)
        cases.append(("cut short or damaged", bytes(damaged)))
    for says, body in cases:
        path.write_bytes(body)
        with pytest.raises(BadInput, match=says), files.unpacked(path, suffixes=(".csv",)):
            pass
