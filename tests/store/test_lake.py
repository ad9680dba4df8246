"""The lake: a version that was declared true can be read, whatever was written after it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from duecare.store.lake import NEW, File, Lake
from duecare.store.readers import Readers
from duecare.store.upkeep import SMALL, shorten_log, strays, sweep, to_merge

COLUMNS = "section VARCHAR, number BIGINT"


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """An empty lake."""
    opened = Lake(tmp_path / "lake", threads=1)
    yield opened
    opened.close()


def write(lake: Lake, version: int, number: int, *, replace: bool = False) -> int:
    """Add a file with one row."""
    return lake.write("s", "t", version, [f"SELECT 'a' AS section, {number}::bigint AS number"], replace=replace)


def numbers(lake: Lake, version: int) -> list[int]:
    """The rows of a version, as a process that just opened the lake sees them."""
    with_no_memory = Lake(lake.root, threads=1)
    scan = with_no_memory.scan("s", "t", version, COLUMNS)
    rows = with_no_memory.connection.execute(f"SELECT number FROM {scan} ORDER BY number").fetchall()
    with_no_memory.close()
    return [number for (number,) in rows]


def test_a_version_that_is_true_outlives_the_age_of_its_log(lake: Lake) -> None:
    """A table that lay idle for two months is written to: until the new version is declared, the old one is there."""
    version = NEW
    for number in range(101):  # a checkpoint is due after a hundred
        true, version = version, write(lake, version, number)
        assert number < 97 or numbers(lake, true) == list(range(number))
        for path in (lake.folder("s", "t") / "_delta_log").iterdir():
            os.utime(path, (time.time() - 60 * 86400,) * 2)


def test_what_was_never_declared_is_undone(lake: Lake) -> None:
    """A version that replaced everything and was never declared takes nothing with it when its files are swept."""
    true = write(lake, write(lake, NEW, 1), 2)
    write(lake, true, 3, replace=True)
    assert len(strays(lake, "s", "t", true)) == 1
    settled = lake.settled("s", "t", true).version()
    assert sweep(lake, "s", "t", settled).files == 1
    assert numbers(lake, settled) == [1, 2]
    assert numbers(lake, write(lake, settled, 4)) == [1, 2, 4]


def test_a_log_is_shortened_to_what_is_true(lake: Lake) -> None:
    """After a checkpoint the commits before it are gone; the table reads the same and goes on."""
    version = NEW
    for number in range(40):
        version = write(lake, version, number)
    removed = shorten_log(lake, "s", "t", version)
    assert removed.files == 39
    assert numbers(lake, version) == list(range(40))
    assert numbers(lake, write(lake, version, 40)) == list(range(41))


def test_merged_files_say_the_same(lake: Lake) -> None:
    """Small files become one, in order; the version before can be read until its files are swept."""
    version = NEW
    for number in range(20):
        version = write(lake, version, 19 - number)
    small = to_merge(lake.members("s", "t", version))
    merged = lake.merge("s", "t", version, small, "section, number")
    assert len(lake.files("s", "t", merged)) == 1
    assert numbers(lake, version) == numbers(lake, merged) == list(range(20))
    assert sweep(lake, "s", "t", merged).files == 20
    assert numbers(lake, merged) == list(range(20))


def test_large_files_are_left_alone_by_small_ones() -> None:
    """A file joins a merge only while it is no larger than all smaller ones together, or small in any case."""
    large = [File("large", 100 * SMALL, None), File("larger", 1000 * SMALL, None)]
    few = [File(f"{n}", 10, None) for n in range(15)]
    many = [File(f"{n}", SMALL, None) for n in range(64)]
    assert to_merge([*large, *few]) == []
    assert {each.name for each in to_merge([*large, *many])} == {each.name for each in many}
    assert {each.name for each in to_merge([*large, *many, *(File(f"m{n}", SMALL, None) for n in range(40))])} >= {
        "large"
    }


def test_nothing_is_removed_while_somebody_reads(tmp_path: Path) -> None:
    """Readers share; whoever removes files is alone, or is told that it is not."""
    one, other = Readers(tmp_path / "lock"), Readers(tmp_path / "lock")
    with one.reading(), other.reading(), other.alone() as alone:
        assert not alone
    with other.alone() as alone:
        assert alone
    one.keep()
    with other.alone(wait=0.05) as alone:
        assert not alone
    one.close()
    with other.alone() as alone:
        assert alone
