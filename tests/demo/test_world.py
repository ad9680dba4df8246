"""The demo's world: the same for everyone, plausible, and alive for thirty days."""

from __future__ import annotations

import csv
import hashlib
import pickle
import subprocess
import sys
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path

import duckdb
import pytest
from stdnum.cn import uscc as stdnum_uscc

from duecare.demo.report import render
from duecare.demo.words import GONE, TRADING, WINDING_UP
from duecare.demo.world import DAYS, OPEN_DATA_COLUMNS, START, World, uscc
from duecare.errors import BadInput, UnknownName
from duecare.registers.adapters.csv_mapping import CsvMapping
from duecare.registers.adapters.national_register import HEADINGS
from duecare.registers.sections import CATALOGUE


@pytest.fixture(scope="module")
def world() -> World:
    return World(seed=11, size=1500)


def _days() -> list[date]:
    return [START + timedelta(days=number) for number in range(DAYS)]


def test_the_same_seed_gives_the_same_world_in_any_process(world: World) -> None:
    """Another process renders the same pages byte for byte; another seed gives another world."""
    code = (
        "import hashlib; from duecare.demo.world import World; from duecare.demo.report import render\n"
        "w = World(seed=11, size=1500)\n"
        "print(hashlib.sha256(b''.join(render(w.state(c, w.last_day)) for c in w.codes[:200])).hexdigest())"
    )
    ours = hashlib.sha256(b"".join(render(world.state(c, world.last_day)) for c in world.codes[:200])).hexdigest()
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert ours == theirs
    assert World(seed=12, size=20).codes != World(seed=11, size=20).codes
    assert pickle.loads(pickle.dumps(world)).codes == world.codes


def test_companies_have_codes_that_check_and_names_of_their_own(world: World) -> None:
    """Every code has a right check character; no two companies share a code or a name; every field is there."""
    assert len(world.codes) == len({company.name for company in world.companies}) == 1500
    assert all(stdnum_uscc.is_valid(code) for code in world.codes)
    assert all(set(company.basic) == set(CATALOGUE["basic"].fields) for company in world.companies)
    assert stdnum_uscc.is_valid(uscc("330100", 31**8 - 1))


def test_updated_names_exactly_the_pages_that_differ() -> None:
    """On each day, the pages that differ from the day before are those of the companies updated that day."""
    world = World(seed=17, size=400)
    before = {code: render(world.state(code, START - timedelta(days=1))) for code in world.codes}
    for day in _days():
        now = {code: render(world.state(code, day)) for code in world.codes}
        assert {code for code in world.codes if now[code] != before[code]} == set(world.updated(day))
        before = now
    assert world.updated(START - timedelta(days=1)) == ()


def test_everything_happens_to_somebody() -> None:
    """In a world of full size every kind of life event occurs, and the gone stay gone without further news."""
    world = World(seed=1)
    kinds = {happening.kind for code in world.codes for happening in world.happenings(code)}
    assert {"address", "penalty", "listed", "delisted", "annual_report", "gone", "liquidation", "transfer"} <= kinds
    gone = [code for code in world.codes if any(happening.kind == "gone" for happening in world.happenings(code))]
    assert gone
    for code in gone:
        assert world.happenings(code)[-1].kind == "gone"
        assert world.state(code, world.last_day)["basic"][0]["status"] == GONE
    assert 40 < len(world.updated(START)) < 200
    assert len(world.standing_liquidations) > 300


def test_one_watched_company_really_goes_into_liquidation(world: World) -> None:
    """Its status turns on a day, with its team and a dated entry; the day before there was none of it."""
    code, day = world.cast["liquidating"], world.liquidation_day
    before, after = world.state(code, day - timedelta(days=1)), world.state(code, day)
    assert code in world.watched
    assert (before["basic"][0]["status"], after["basic"][0]["status"]) == (TRADING, WINDING_UP)
    assert (len(before["liquidation"]), len(after["liquidation"])) == (0, 3)
    (entry,) = [entry for entry in after["changes"] if entry not in before["changes"]]
    assert (entry["item"], entry["date"]) == ("清算组备案", day.isoformat())


def test_one_watched_company_has_members_for_years_and_trades_on(world: World) -> None:
    """The facts of case 1: three undated members before the first day and after the last, 存续, only 2014 says 清算."""
    code = world.cast["trading_on"]
    assert code in world.watched
    first, last = world.state(code, START - timedelta(days=1)), world.state(code, world.last_day)
    assert first["liquidation"] == last["liquidation"]
    assert [entry["role"] for entry in last["liquidation"]] == ["负责人", "成员", "成员"]
    assert all(set(entry) == {"name", "role"} for entry in last["liquidation"])
    assert last["basic"][0]["status"] == TRADING
    assert {report["year"] for report in last["annual_reports"] if report["state"] == "清算"} == {"2014"}
    assert max(report["year"] or "" for report in last["annual_reports"]) == "2025"
    assert len(last["annual_reports"]) > len(first["annual_reports"])


def test_a_state_has_every_section_of_the_page(world: World) -> None:
    """Sections without entries are there and empty; entries have the catalogue's fields."""
    for code in world.codes[:200]:
        state = world.state(code, world.last_day)
        assert set(state) == set(HEADINGS)
        for name, entries in state.items():
            assert all(set(entry) == set(CATALOGUE[name].fields) for entry in entries)


def test_the_open_data_file_has_every_company_as_on_that_day(world: World, tmp_path: Path) -> None:
    """One line a company, and what changed until that day is in it."""
    changed = next(code for code in world.updated(START) if world.happenings(code)[0].kind == "address")
    path = world.bulk_csv(START, tmp_path)
    assert path.name == "companies-2026-10-01.csv"
    with path.open(encoding="utf-8", newline="") as file:
        lines = {line["统一社会信用代码"]: line for line in csv.DictReader(file)}
    assert set(lines) == set(world.codes)
    basic = world.state(changed, START)["basic"][0]
    assert lines[changed] == {column: basic[field] or "" for column, field in OPEN_DATA_COLUMNS.items()}
    assert lines[changed]["住所"] != world.company(changed).basic["address"]


def test_what_cannot_be_is_refused(world: World) -> None:
    """A world too small for its cast, and a company that is not in it."""
    with pytest.raises(BadInput, match="too small"):
        World(size=3)
    with pytest.raises(UnknownName, match="no company '9133'"):
        world.state("9133", START)


def test_the_open_data_file_is_read_through_its_mapping(world: World, tmp_path: Path) -> None:
    """The mapping beside the world reads the file as a register: every company, none set aside, all fields."""
    mapping = CsvMapping(Path(str(files("duecare.demo") / "open_data.toml")))
    connection = duckdb.connect()
    staged = mapping.stage(world.bulk_csv(world.last_day, tmp_path), connection)
    assert staged.rejects is None or staged.rejects.fetchall() == []
    rows = staged.rows["basic"].project("entity, name, address").fetchall()
    states = {code: world.state(code, world.last_day)["basic"][0] for code in world.codes}
    assert set(rows) == {(code, basic["name"], basic["address"]) for code, basic in states.items()}
    assert set(staged.rows["status"].project("entity, status").fetchall()) == {
        (code, basic["status"]) for code, basic in states.items()
    }
