"""Case 2, replayed whole: over real HTTP, with a real SMS gateway and a witness in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from duecare.cases.court import Verdict
from duecare.cases.guo_v_safari_park import world
from duecare.cases.guo_v_safari_park.replay import replay
from duecare.cli.cases import court
from duecare.systems.passes.cards import id_card_number

_REQUIRED = {
    "agreed", "separate", "alternative", "photo", "offer", "enters", "refund", "purpose_ended", "copies", "schedule",
    "certificates", "page", "counter_proof",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("case")


@pytest.fixture(scope="module")
def verdict(folder: Path) -> Verdict:
    """The replay, run once."""
    return replay(court(folder))


def test_every_requirement_holds(verdict: Verdict) -> None:
    """Each line of what case 2 requires holds when its facts are replayed."""
    assert {check.id for check in verdict.checks} == _REQUIRED
    assert [check for check in verdict.checks if not check.holds] == []


def test_the_check_can_fail(verdict: Verdict) -> None:
    """Without the rules the decliner is refused, the photo serves recognition, and the fingerprint is kept."""
    check = next(check for check in verdict.checks if check.id == "counter_proof")
    assert "Photo used for faces: yes" in check.now
    assert "card and ID card at the gate: refused" in check.now
    assert "fingerprint after its time: still opens" in check.now


def test_nobody_can_be_read_from_what_is_left(verdict: Verdict, folder: Path) -> None:
    """No number or name of the holders stands in any file of the park, but where the gateway got their messages."""
    needles = [
        each.encode()
        for number in range(4)
        for person in [world.buyer(number, world.FINGERPRINT_WAY)]
        for each in (person.id_number, person.phone)
    ]
    for path in (folder / "with-care").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(needle in data for needle in needles), path


def test_the_invented_people_have_sound_numbers() -> None:
    """The check characters are right, so that the counter would take them."""
    for number in range(4):
        assert id_card_number(world.buyer(number, world.ID_CARD_WAY).id_number)
