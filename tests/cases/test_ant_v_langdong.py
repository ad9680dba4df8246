"""Case 1, replayed whole: the judgment's 17,009 rows, over real HTTP and SMTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from duecare.cases.ant_v_langdong.replay import replay
from duecare.cases.ant_v_langdong.world import JudgmentRegister, facts
from duecare.cases.court import Verdict
from duecare.cli.cases import court

_REQUIRED = {
    "first_observation", "held", "verified", "carried", "objection", "sources", "wave", "counter_proof", "retracted",
}  # fmt: skip


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """The replay, run once."""
    return replay(court(tmp_path_factory.mktemp("case")))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_requirement_holds(verdict: Verdict) -> None:
    """Each line of what case 1 requires holds when its facts are replayed."""
    assert {check.id for check in verdict.checks} == _REQUIRED
    assert [check.id for check in verdict.checks if not check.holds] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_check_can_fail(verdict: Verdict) -> None:
    """With the screen off, the very same pages give the judgment's 17,009 false alerts."""
    check = next(check for check in verdict.checks if check.id == "counter_proof")
    assert "8,023 dated 2019-05-05, 8,986 dated 2019-05-06" in check.now


def test_world_has_the_judgments_figures(tmp_path: Path) -> None:
    """The register of the replay shows 8,023 and 8,986 rows, all undated, of companies that trade."""
    said = facts()
    register = JudgmentRegister(said)
    day = said["push"]["second_day"]
    for codes, rows in ((register.first, 8023), (register.second, 8986)):
        states = [register.state(code, day) for code in codes]
        assert sum(len(state["liquidation"]) for state in states) == rows
        assert {state["basic"][0]["status"] for state in states} == {said["company"]["status"]}
        assert not any(entry.get("date") for state in states for entry in state["liquidation"])
