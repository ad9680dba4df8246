"""A process may be killed at any moment of an ingest, a late ingest, a release or a re-reading."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from duecare.registers.tables import COLUMNS, Tables
from duecare.settings import load
from duecare.store.home import Home
from duecare.store.packs import PackWriter
from duecare.store.upkeep import strays

from .. import program
from .listing import SOURCE, day
from .lives import write_snapshots

Live = Callable[..., dict[str, Any]]
_DATABASE = {
    "batches": "SELECT id, seq, source, kind, state, late, observed_at, recorded_at, parser, snapshot, filename, "
    "reason, screened FROM batches ORDER BY seq",
    "counts": "SELECT batch_id, section, kind, source, changes, entities FROM batch_counts ORDER BY 1, 2, 3",
    "evidence": "SELECT kind, subject, at, body FROM evidence ORDER BY id",
    "tables": "SELECT source, table_name FROM lake_versions ORDER BY 1, 2",
}


@pytest.fixture(scope="module")
def lives() -> Iterator[Live]:
    """Starts a life and kills it after so many seconds; ``None`` lets it end."""
    command = [sys.executable, "-m", "tests.registers.lives"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        orders, answers = process.stdin, process.stdout

        def live(home: Path, database: str, after: float | None, work: str = "live") -> dict[str, Any]:
            folder = str(home.parent / "files")
            order = {"home": str(home), "database": database, "folder": folder, "after": after, "work": work}
            orders.write(json.dumps(order) + "\n")
            orders.flush()
            answer: dict[str, Any] = json.loads(answers.readline())
            assert not answer["error"], answer["error"]
            return answer

        yield live
        orders.close()


def everything(home: Path, database: str = "") -> dict[str, list[Any]]:
    """All rows that are true in a home, in order."""
    found: dict[str, list[Any]] = {}
    with Home(load(home=home, database_url=database)) as opened:
        with opened.database.session() as session:
            for name, query in _DATABASE.items():
                found[name] = [tuple(map(str, row)) for row in session.execute(text(query))]
            tables = Tables(opened, SOURCE.name, session)
        connection = opened.lake.connection
        for name in COLUMNS:
            if name != "snapshots":
                found[name] = connection.execute(f"SELECT * FROM {tables.scan(name)} ORDER BY ALL").fetchall()
    return found


def _compare(found: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    for name, rows in expected.items():
        assert rows, f"{name}: the undisturbed life left nothing to compare"
        assert found[name] == rows, name


def _with_files(folder: Path) -> Path:
    (folder / "files").mkdir()
    write_snapshots(folder / "files")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the files that every life reads; homes are made beside them."""
    return _with_files(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(lives: Live, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Any]], float]:
    """What a life that nobody kills leaves, and how many seconds it took."""
    folder = _with_files(tmp_path_factory.mktemp("undisturbed"))
    seconds = lives(folder / "home", "", None)["seconds"]
    rows = everything(folder / "home")
    assert {row[4] for row in rows["batches"]} == {"committed"}
    assert len(rows["batches"]) == 10  # eight snapshots, two re-readings
    return rows, seconds


def test_fifty_kills_lose_and_repeat_nothing(
    lives: Live, undisturbed: tuple[dict[str, list[Any]], float], root: Path
) -> None:
    """Lives killed at seeded random moments, started again until they end, leave what an undisturbed life leaves."""
    expected, whole = undisturbed
    rng = random.Random(86010001594)
    kills = homes = 0
    while kills < 50:
        homes += 1
        home = root / f"home{homes}"
        tries = 0
        # Longer with each try, so that a machine that grew slower still lets a life end.
        while lives(home, "", rng.uniform(0.02, 0.3) * whole * (1 + tries / 8))["killed"]:
            kills, tries = kills + 1, tries + 1
        _compare(everything(home), expected)


def test_kills_while_tidying_lose_nothing(
    lives: Live, undisturbed: tuple[dict[str, list[Any]], float], root: Path
) -> None:
    """A home full of what killed writes and older versions left, tidied by processes that are killed, keeps all that is
    true; and the first that is not killed leaves nothing else."""
    expected, whole = undisturbed
    rng = random.Random(17009)
    kills = homes = 0
    while kills < 15:
        homes += 1
        home = root / f"home{homes}"
        lives(home, "", rng.uniform(0.3, 0.9) * whole)
        lives(home, "", None)
        with Home(load(home=home)) as opened, opened.writing("lake"):
            tables = Tables(opened, SOURCE.name, leased=True)
            for number in range(20):
                row = f"SELECT * REPLACE ('late {number}' AS batch) FROM {tables.scan('reads')}"
                tables.write("reads", [row], replace=number % 2 == 0)
        took = lives(shutil.copytree(home, root / f"measured{homes}"), "", None, "tidy")["seconds"]
        while lives(home, "", rng.uniform(0.3, 1) * took, "tidy")["killed"]:
            kills += 1
            _compare(everything(home), expected)
        _compare(everything(home), expected)
        assert not untidy(home)


def untidy(home: Path) -> list[Path]:
    """The files of the lake that no version that is true names."""
    with Home(load(home=home)) as opened:
        tables = Tables(opened, SOURCE.name)
        return [
            path
            for name, version in tables.versions.items()
            for path in strays(opened.lake, SOURCE.name, name, version)
        ]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_kills_where_the_database_is_a_server(
    lives: Live, undisturbed: tuple[dict[str, list[Any]], float], root: Path, database_url: str
) -> None:
    """The server's transaction decides what is true, as the embedded database's does in the kills above."""
    expected, whole = undisturbed
    rng = random.Random(1594)
    kills = 0
    while lives(root / "home", database_url, rng.uniform(0.05, 0.4) * whole * (1 + kills / 4))["killed"]:
        kills += 1
    assert kills > 2
    found = everything(root / "home", database_url)
    # The two databases print a time and a truth in their own ways.
    for name in ("facts", "held", "reads", "changes", "counts"):
        assert found[name] == expected[name], name
    assert [row[:5] for row in found["batches"]] == [row[:5] for row in expected["batches"]]
    assert [row[:2] for row in found["evidence"]] == [row[:2] for row in expected["evidence"]]


READ_A_PACK = """
import sys
from pathlib import Path
from duecare.registers.adapters.national_register import NationalRegister
from duecare.registers.ingest import ingest_pages
from duecare.settings import load
from duecare.store.home import Home
with Home(load(home=Path(sys.argv[1]))) as home:
    ingest_pages(home, NationalRegister(), Path(sys.argv[2]))
"""


def test_a_killed_crawl_leaves_no_process_behind(tmp_path: Path) -> None:
    """Pages are read on all cores; the processes that read them end with the ingest that started them."""
    pack = tmp_path / "pages.pack"
    body = b"<html><body>" + b"<div><p>text</p></div>" * 2000 + b"</body></html>"
    with PackWriter(pack) as writer:
        for number in range(3000):
            writer.add(f"{number:018d}", f"/{number}", day(0), 200, body)
    command = [sys.executable, "-c", READ_A_PACK, str(tmp_path / "home"), str(pack)]
    with subprocess.Popen(command) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        started: list[str] = []
        while not started and process.poll() is None:
            started = children.read_text().split()
        process.kill()
    assert started, "the pages were read before the process could be killed"
    until = time.monotonic() + 60
    while any(_runs(child) for child in started) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_runs(child) for child in started)


KILLED = """
import os, signal, sys
def kill(event, given):
    if event == "open" and str(given[0]).endswith("/plain") and str(given[1]).startswith("r"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
from duecare.cli import main
main()
"""


def test_what_a_killed_ingest_had_unpacked_goes_with_the_next(tmp_path: Path) -> None:
    """An ingest that is killed while it reads what it unpacked leaves it behind; the next one removes it."""
    packed, temporary = tmp_path / "2025-02-27.csv.gz", tmp_path / "temporary"
    temporary.mkdir()
    packed.write_bytes(gzip.compress(b"CIK,Ticker,Name,Exchange\n0000000001,AA,Alpha Inc,NYSE\n"))
    words = ["ingest", "us-sec-issuers-history", str(packed)]
    environment = {**os.environ, "DUECARE_HOME": str(tmp_path / "home"), "TMPDIR": str(temporary)}
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in temporary.rglob("*") if path.is_file()] != []
    done = program.run(*words, env=environment)
    assert done.returncode == 0, done.stderr
    assert list(temporary.iterdir()) == []


def _runs(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
