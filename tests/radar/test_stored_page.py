"""What an alert or a verification names as its snapshot leads to the bytes as received."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from official import TEAM, Official, official_site, page, quick
from planted import SOURCE, change, open_home, plant
from sqlalchemy import select

import duecare
from duecare.clock import BEIJING
from duecare.errors import UnknownName
from duecare.radar.models import Alert, Verification
from duecare.radar.pages import stored_page
from duecare.radar.reader import Lexicon, Reader
from duecare.radar.screen import pending
from duecare.radar.verify import verify
from duecare.radar.wording import letter, row
from duecare.registers.adapters.national_register import NationalRegister
from duecare.rules.engine import Engine
from duecare.settings import load
from duecare.store.home import Home

FINES = """[source]
name = "fines"
title = "Fines"
operator = "Example Registry"
address = "https://registry.example/list.csv"
legal_basis = "Public register under an example act."
licence = "CC0-1.0"
fresh_for_days = 30

[entity]
columns = ["code"]

[[section]]
name = "fines"
key = ["number"]
sensitive = true
[section.fields]
fine = "fine"
"""


@pytest.fixture
def site() -> Iterator[Official]:
    """The official site."""
    with official_site() as opened:
        yield opened


@pytest.fixture
def home(tmp_path: Path, database_url: str) -> Iterator[Home]:
    """A home with a first batch, which is no history."""
    with open_home(tmp_path, database_url) as opened:
        plant(opened, [], day=0)
        yield opened


def test_the_page_a_verification_looked_at_is_found(home: Home, site: Official) -> None:
    """It is the page as the official site gave it then, with its address and the time of the look."""
    site.pages["C1"] = page("C1", liquidation=[TEAM[0]])
    plant(home, [change("C1", "liquidation", key="k", after=TEAM[0])], day=1)
    engine = Engine.load()
    pending(home, engine)
    verify(home, engine, quick, sites={SOURCE: site.url})
    with home.database.session() as session:
        look = session.execute(select(Verification)).scalar_one()
    found = stored_page(home, look.snapshot[:10])
    address = NationalRegister().address(site.url, "C1")
    assert found.body == httpx.get(address, trust_env=False).content
    assert (found.address, found.fetched_at, found.entity, found.source) == (address, look.at, "C1", SOURCE)


def test_the_link_of_an_alert_leads_to_the_list_that_shows_it(tmp_path: Path) -> None:
    """The link in a letter, given as it is, finds the file in which the change was first seen."""
    paths = []
    for day, name in (("2025-01-01", "Apple Inc."), ("2025-02-01", "Apfel Inc.")):
        paths.append(tmp_path / f"{day}.csv")
        paths[-1].write_text(f"CIK,Ticker,Name,Exchange\n0000320193,AAPL,{name},Nasdaq\n")
    with duecare.open(tmp_path / "home") as companies:
        for path in paths:
            companies.ingest("us-sec-issuers-history", path)
        assert companies.walk().raised.alerts == 1
    with Home(load(home=tmp_path / "home", public_url="https://duecare.invalid")) as home:
        with home.database.session() as session:
            alert = session.execute(select(Alert)).scalar_one()
        link = row(alert, Reader("zh", BEIJING), Lexicon.of(home)).snapshot_link
        assert link.startswith("https://duecare.invalid/snapshots/")
        assert stored_page(home, link).body == paths[1].read_bytes()
        with pytest.raises(UnknownName, match="no snapshot"):
            stored_page(home, "0" * 64)


def test_an_alert_that_a_list_verified_names_the_list(tmp_path: Path) -> None:
    """What was verified by a newer list says which, by the name of its file, also after the lists were read anew."""
    home = tmp_path / "home"
    (home / "sources").mkdir(parents=True)
    (home / "sources" / "fines.toml").write_text(FINES)
    with duecare.open(home) as companies:
        for day, name in (("01-01", "A,1,none"), ("02-01", "A,1,large"), ("03-01", "A,1,large\nB,1,none")):
            path = tmp_path / f"fines-2025-{day}.csv"
            path.write_text(f"code,number,fine\n{name}\n")
            companies.ingest("fines", path)
        assert companies.walk().raised.alerts == 1
    with Home(load(home=home)) as opened:
        with opened.database.session() as session:
            alert = session.execute(select(Alert)).scalar_one()
        assert alert.verification == "verified"
        told = letter(alert, Reader("zh", BEIJING), Lexicon.of(opened))
        for form in (told.text, told.html, told.markdown, told.short):
            assert "已核实（名单 fines-2025-03-01.csv）" in form
        assert "数据来源：Fines\n" in told.text
