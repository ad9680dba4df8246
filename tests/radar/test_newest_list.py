"""Notices of error about what a source publishes in lists: what is looked up there, and who must act."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from owed import NOW, open_home

import duecare.demo
from duecare.clock import SetClock
from duecare.demo.world import OPEN_DATA_COLUMNS
from duecare.radar.notices import decide, listed, look_up, open_notice, tasks
from duecare.registers.catalogue import add_mapping
from duecare.registers.ingest import ingest_file
from duecare.store.home import Home

MAPPING = Path(duecare.demo.__file__).with_name("open_data.toml")


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Iterator[Home]:
    """A home that read one list with two companies."""
    with open_home(tmp_path, database_url) as opened:
        publish(opened, *opened_codes())
        yield opened


def opened_codes() -> list[str]:
    """Two codes of the demo's world, which are well formed."""
    from duecare.demo.world import World

    return list(World(size=20).codes[:2])


def publish(home: Home, *codes: str) -> None:
    """The list of a day later, with these companies; the last of them moves every day."""
    assert isinstance(home.clock, SetClock)
    home.clock.advance(timedelta(days=1))
    path = home.path / f"companies-{home.clock.now():%Y-%m-%d}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, list(OPEN_DATA_COLUMNS))
        rows.writeheader()
        for place, code in enumerate(codes):
            where = "某街1号" if place == 0 and len(codes) > 1 else f"某街{home.clock.now():%d}号"
            fields = {"code": code, "name": f"{code[-4:]}有限公司", "address": where, "status": "存续",
                      "established_on": "2013-08-05"}  # fmt: skip
            rows.writerow({column: fields.get(field, "") for column, field in OPEN_DATA_COLUMNS.items()})
    ingest_file(home, add_mapping(home, MAPPING), path, home.clock.now())


def test_nothing_to_compare_with_is_an_operators_task(home: Home) -> None:
    """One list and no other source: the look says so, in both languages, and that a person must act."""
    code = opened_codes()[0]
    number = open_notice(home, code, "basic", "住所有误")
    assert listed(home)[0]["who_acts"] == "system"
    assert tasks(home) == []
    assert look_up(home) == 1
    [task] = tasks(home)
    assert (task["id"], task["verification"], task["contradictions"][0]["id"]) == (number, "unavailable", "operator")
    assert "值班员" in task["next_zh"]
    assert "an operator asks" in task["next_en"]
    decide(home, number, "refused", by="Z", reason="来源的主管单位确认无误")
    assert tasks(home) == []
    assert listed(home)[0]["who_acts"] == "nobody"


@pytest.mark.parametrize("still", [True, False])
def test_the_next_list_is_looked_at(home: Home, still: bool) -> None:
    """A list read since says it still, or says it no more; then an operator decides."""
    code, other = opened_codes()
    open_notice(home, code, "basic", "住所有误")
    look_up(home)
    publish(home, *([code, other] if still else [other]))
    assert look_up(home) == 1
    [notice] = listed(home)
    assert notice["verification"] == ("verified" if still else "contradicted")
    assert (f"{home.clock.now():%Y-%m-%d}" in notice["found"]) is still
    assert "--decide" in notice["next_en"]
    assert look_up(home) == 0, "answered"


@pytest.mark.parametrize("same", [True, False])
def test_another_source_is_called_by_its_title(home: Home, tmp_path: Path, same: bool) -> None:
    """What another source has of the same company is compared; it and the fields are named as a reader knows them."""
    code = opened_codes()[0]
    (newest,) = home.path.glob("companies-*.csv")
    text = newest.read_text(encoding="utf-8")
    path = tmp_path / "other.csv"
    path.write_text(text if same else text.replace("某街1号", "某街99号"), encoding="utf-8")
    mapping = tmp_path / "other.toml"
    words = MAPPING.read_text(encoding="utf-8").replace('"demo-open-data"', '"other-list"')
    mapping.write_text(
        words.replace("企业登记基本信息开放数据（演示）", "另一名录").replace("Open data on", "Other"), "utf-8"
    )
    ingest_file(home, add_mapping(home, mapping), path, home.clock.now())
    open_notice(home, code, "basic", "住所有误", source="demo-open-data")
    look_up(home)
    (notice,) = listed(home)
    assert notice["verification"] == ("verified" if same else "contradicted")
    if not same:
        (point,) = notice["contradictions"]
        assert point["zh"] == "数据来源《另一名录》所载不同：住所。"
        assert point["en"] == "The source Other company registrations (demo) says otherwise: registered address."


def test_without_a_new_list_nothing_is_looked_up_again(home: Home) -> None:
    """The same answer is not kept again and again."""
    open_notice(home, opened_codes()[0], "basic", "住所有误")
    assert look_up(home) == 1
    assert isinstance(home.clock, SetClock)
    home.clock.advance(timedelta(days=2))
    assert home.clock.now() > NOW
    assert look_up(home) == 0
