"""Real files: what is found in them agrees with an independent comparison, in whatever order they come."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from duecare.registers.adapter import adapter
from duecare.registers.changes import query
from duecare.registers.ingest import ingest_file
from duecare.registers.tables import Tables
from duecare.settings import load
from duecare.store.home import Home

SEC = "us-sec-issuers-history"
FILES: dict[str, tuple[str, int]] = {
    # source: files, and how many records of all of them may be set aside
    "cn-enterprise-registration-2002-2003": ("*.csv.gz", 4000),
    "de-registerbekanntmachungen": ("*.csv", 60),
    "opensanctions-ftm-sample": ("*.jsonl", 10),
    "uk-companies-house-sample": ("*.csv", 0),
    "uk-licensed-sponsors-history": ("*.json", 0),
    "uk-mutuals-register-history": ("*.csv", 20),
    "us-fed-account-holders-history": ("*.csv", 20),
    "us-sp500-constituents-history": ("*.csv", 0),
}


def rows(path: Path) -> list[dict[str, str]]:
    """The records of a file of issuers, by the csv module alone."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ingest(folder: Path, source: str, paths: Iterable[Path]) -> None:
    """Read ``paths`` into the home at ``folder``."""
    with Home(load(home=folder)) as home:
        for path in paths:
            outcome = ingest_file(home, adapter(source), path)
            assert outcome.state in ("committed", "known")
            assert not outcome.rejects


def facts(folder: Path) -> list[tuple[Any, ...]]:
    """All versions of facts about issuers, in order, without batch names."""
    with Home(load(home=folder)) as home:
        scan = Tables(home, SEC).scan("facts")
        return home.lake.connection.execute(
            "SELECT section, entity, key, value, effective_on, first_observed, not_before, snapshot "
            f"FROM {scan} ORDER BY ALL"
        ).fetchall()


def test_sec_pair_agrees_with_the_csv_module(data: Path, tmp_path: Path) -> None:
    """From one day to the next: exactly the new, gone and renamed issuers and the new, gone and moved listings."""
    old, new = (data / SEC / f"2025-02-{day}.csv" for day in (27, 28))
    ingest(tmp_path, SEC, [old, new])
    with Home(load(home=tmp_path)) as home:
        found = [one for one in query(home, source=SEC) if one["not_after"].date().isoformat() == "2025-02-28"]

    def told(section: str, test: Any) -> set[tuple[str, str]]:
        return {(one["entity"], one["key"]) for one in found if one["section"] == section and test(one)}

    names = [{row["CIK"]: row["Name"].strip() for row in rows(path)} for path in (old, new)]
    places = [{(row["CIK"], row["Ticker"].strip()): row["Exchange"] for row in rows(path)} for path in (old, new)]
    for section, before, after in (
        ("basic", *({(cik, ""): name for cik, name in each.items()} for each in names)),
        ("listings", *places),
    ):
        assert told(section, lambda one: one["before"] is None) == after.keys() - before.keys()
        assert told(section, lambda one: one["kind"] == "lapse") == before.keys() - after.keys()
        both = {key for key in before.keys() & after.keys() if before[key] != after[key]}
        assert told(section, lambda one: one["before"] and one["after"]) == both
    assert len(names[1].keys() - names[0].keys()) == 18
    assert len(names[0].keys() - names[1].keys()) == 22
    assert all(one["not_before"].date().isoformat() == "2025-02-27" and not one["late"] for one in found)


def test_nine_sec_snapshots_in_any_order(data: Path, tmp_path: Path) -> None:
    """In date order, in reverse, and twice, the nine copies of the list end in the same facts."""
    paths = sorted((data / SEC).glob("*.csv"))
    assert len(paths) == 9
    ingest(tmp_path / "forward", SEC, paths)
    ingest(tmp_path / "reverse", SEC, reversed(paths))
    forward = facts(tmp_path / "forward")
    assert len(forward) > 20_000
    assert facts(tmp_path / "reverse") == forward
    ingest(tmp_path / "forward", SEC, paths)
    assert facts(tmp_path / "forward") == forward


@pytest.mark.parametrize("source", sorted(FILES))
def test_every_real_file_is_read(data: Path, tmp_path: Path, source: str) -> None:
    """Every file under ``data/`` is taken in; the records set aside are few, each with its line and reason."""
    pattern, few = FILES[source]
    paths = sorted((data / source).glob(pattern))
    assert len(paths) == len([path for path in (data / source).iterdir() if path.is_file()])
    set_aside = 0
    with Home(load(home=tmp_path)) as home:
        for path in paths:
            outcome = ingest_file(home, adapter(source), path)
            assert outcome.state == "committed"
            assert outcome.rows > 0
            set_aside += outcome.rejects
            if outcome.rejects:
                with Path(outcome.rejects_file).open(newline="", encoding="utf-8") as file:
                    kept = list(csv.DictReader(file))
                assert len(kept) == outcome.rejects
                assert all(int(row["line"]) > 0 and row["reason"] for row in kept)
    assert set_aside <= few
