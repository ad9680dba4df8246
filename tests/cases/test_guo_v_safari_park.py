"""Case 2, replayed whole: over real HTTP, with a real SMS gateway and a witness in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from duecare.cases.court import Check, Court
from duecare.cases.guo_v_safari_park import findings, replay, world
from duecare.cases.guo_v_safari_park.conduct import AsItWas, ByTheRules, Conduct
from duecare.cases.guo_v_safari_park.observed import Years
from duecare.cli.cases import court
from duecare.systems.passes.cards import id_card_number

_REQUIRED = [
    "agreed", "separate", "implied", "alternative", "photo", "offer", "binds", "accepts", "keeps", "enters", "refund",
    "purpose_ended", "copies", "withdrawal", "schedule", "certificates", "page",
]  # fmt: skip
_INDEPENDENT = Path(__file__).parents[1] / "evidence" / "independent_verifier.py"


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Court:
    """The means of the replay, over a folder that stays."""
    return court(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def lived(held: Court) -> Mapping[str, Years]:
    """The years in both parks, lived once."""
    parks: tuple[Conduct, ...] = (ByTheRules(), AsItWas())
    return {park.name: replay.live(held, world.facts(), park) for park in parks}


@pytest.fixture(scope="module")
def ours(lived: Mapping[str, Years]) -> Mapping[str, Check]:
    return {check.id: check for check in findings.weigh(world.facts(), lived["with-care"])}


@pytest.fixture(scope="module")
def theirs(lived: Mapping[str, Years]) -> Mapping[str, Check]:
    return {check.id: check for check in findings.weigh(world.facts(), lived["without-rules"])}


@pytest.mark.parametrize("name", _REQUIRED)
def test_the_requirement_holds(ours: Mapping[str, Check], name: str) -> None:
    """Each line of what case 2 requires holds when its facts are replayed."""
    assert ours[name].holds, ours[name]


@pytest.mark.parametrize("name", _REQUIRED)
def test_the_check_fails_without_the_rules(theirs: Mapping[str, Check], name: str) -> None:
    """Without the rules the same check shows the breach; but for what was lawful then too, and is said to be so."""
    assert theirs[name].holds is (name in findings.HELD_THEN_TOO), theirs[name]


def test_nothing_is_required_that_is_not_listed_here(ours: Mapping[str, Check], theirs: Mapping[str, Check]) -> None:
    """Both parks are weighed by the same checks, in the order of the requirements."""
    assert list(ours) == list(theirs) == _REQUIRED
    assert set(findings.HELD_THEN_TOO) == {"agreed"}


def test_the_counter_proof_holds_only_if_every_check_fails(theirs: Mapping[str, Check]) -> None:
    """One check that held without the rules would break it, and so would a park in which nothing runs."""
    assert findings.counter_proof(list(theirs.values())).holds
    for name in _REQUIRED:
        others = [check for check in theirs.values() if check.id != name]
        turned = Check(name, "", "", "", holds=not theirs[name].holds)
        assert not findings.counter_proof([*others, turned]).holds
    assert not findings.counter_proof([]).holds


def test_the_command_says_what_both_parks_showed(
    held: Court, lived: Mapping[str, Years], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is the checks of the first park, and that those of the second fail."""
    monkeypatch.setattr(replay, "live", lambda court, said, conduct: lived[conduct.name])
    verdict = replay.replay(held)
    assert [check.id for check in verdict.checks] == [*_REQUIRED, "counter_proof"]
    assert verdict.holds
    assert verdict.as_json()["holds"] is True
    assert {*verdict.as_json()["checks"][0]} == {"id", "requirement", "then", "now", "holds"}


def test_the_certificates_hold_for_a_stranger(held: Court, ours: Mapping[str, Check]) -> None:
    """Of the operator nothing is left, and the script that was written from the documented format alone agrees."""
    folder = held.folder / "with-care"
    assert ours["certificates"].holds
    assert not any((folder / name).exists() for name in ("home", "backup", "restored"))
    stranger = folder / "stranger"
    files = sorted(stranger.glob("*.certificate.json"))
    assert len(files) == 5
    for path in [*files, stranger / "forged.json"]:
        words = [str(_INDEPENDENT), str(path), str(stranger / "log.pub"), str(stranger / "witness.pub")]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is (path in files), done.stdout + done.stderr


def test_nobody_can_be_read_in_the_clear(held: Court, lived: Mapping[str, Years]) -> None:
    """No name or number of a holder stands in any file of the park, of its gate or of the witness."""
    assert lived["with-care"].visit.in_the_clear == 0
    folder = held.folder / "with-care"
    files = [path for name in ("gate", "witness") for path in (folder / name).rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        assert not any(needle in data for needle in world.words_of_people()), path
    texts = b"".join(path.read_bytes() for path in (folder / "messages").glob("*.json"))
    assert any(needle in texts for needle in world.words_of_people())  # the gateway did get numbers


def test_the_invented_people_have_sound_numbers() -> None:
    """The check characters are right, so that the counter would take them, and no two are alike."""
    numbers = [world.buyer(number, world.ID_CARD_WAY).id_number for number in range(8)]
    assert [id_card_number(each) for each in numbers] == numbers
    assert len(set(numbers)) == len(numbers)
