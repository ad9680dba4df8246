"""A park on either database: opened, with a pass sold, served over real HTTP, and a gate that asks it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from duecare.clock import SetClock
from duecare.settings import load
from duecare.store.home import Home
from duecare.systems.passes import changes, gates, sales
from duecare.systems.passes.device import Gate
from duecare.systems.passes.park import Park
from duecare.systems.passes.sales import Sold
from duecare.systems.passes.server import serving

from .people import FINGERS, HE, SHE

BOUGHT = datetime(2019, 4, 27, 2, tzinfo=UTC)


@pytest.fixture
def clock() -> SetClock:
    """The day of the purchase, at ten in the park."""
    return SetClock(BOUGHT)


@pytest.fixture
def home(tmp_path: Path, database_url: str, clock: SetClock) -> Iterator[Home]:
    settings = load(
        home=tmp_path / "home",
        database_url=database_url,
        controller_name="某野生动物世界有限公司",
        controller_code="91330100000000000X",
        controller_address="某市某区某路1号",
        controller_contact="privacy@park.example",
    )
    with Home(settings, clock) as opened:
        yield opened


@pytest.fixture
def park(home: Home) -> Iterator[Park]:
    """A park that sells passes with card and ID card, and card and fingerprint; tickets too."""
    with Park.open(home) as opened:
        changes.publish(opened, FINGERS)
        changes.open_tickets(opened)
        yield opened


@pytest.fixture
def sold(park: Park) -> Sold:
    """A pass for two: one holder chose fingerprints, and one card and ID card."""
    return sales.sell(park, "pass_for_two", [HE, SHE], screen="counter 1", actor="clerk")


@pytest.fixture
def centre(park: Park) -> Iterator[str]:
    """The address at which the park is served."""
    with serving(park) as address:
        yield address


@pytest.fixture
def gate(park: Park, centre: str, tmp_path: Path, clock: SetClock) -> Iterator[Gate]:
    """A gate that the park knows."""
    made = Gate.make(tmp_path / "gate", "east", centre, str(gates.centre_key(park).verifier), clock)
    with park.home.database.session() as session:
        gates.add_gate(session, made.key, park.now())
    with made:
        yield made
