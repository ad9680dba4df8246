"""Tests of ``duecare screen`` and ``duecare correct`` as a person and a script use them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from official import TEAM
from planted import SOURCE, START, change, open_home, plant, show, wave
from typer.testing import CliRunner

from duecare.cli.company import company
from duecare.cli.correct import correct
from duecare.cli.screen import screen
from duecare.errors import BadInput, UnknownName
from duecare.registers.models import Batch

app = typer.Typer()
app.add_typer(screen, name="screen")
app.command(name="correct")(correct)
app.command(name="company")(company)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    """A home with a wave that will be held, a batch below the floor, and a company that shows a liquidation."""
    with open_home(tmp_path, "") as home:
        for day in range(3):
            plant(home, [change("Q", "basic", after={"address": str(day)})] if day else [], day=day)
        plant(home, wave(300), day=5)
        held = plant(home, [], day=6)
        with home.database.session() as session:
            row = session.get_one(Batch, held)
            row.state, row.reason = "held", "Section basic has 3 rows where 900 are held."
        show(home, "A", "basic", {"name": "甲公司"}, at=START)
        show(home, "A", "liquidation", TEAM[0], key="成员甲", at=START, seq=2)
        yield str(home.path)


def run(folder: str, *words: str) -> str:
    """Run a command in the home; what it printed."""
    result = CliRunner().invoke(app, [*words, "--home", folder])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def said(folder: str, *words: str) -> Any:
    """The same with ``--json``."""
    return json.loads(run(folder, *words, "--json"))


def test_a_hold_is_listed_shown_and_decided(folder: str) -> None:
    """Screening holds the wave; list and show explain it; release and reject decide it and the list is shorter."""
    assert said(folder, "screen")["screened"][-1]["counts"] == {"held": 300}
    first, second = said(folder, "screen", "list")
    assert (first["observed"], first["left"], second["what"]) == (300, 300, "batch")
    assert "900 are held" in second["why"]
    shown = said(folder, "screen", "show", "1")
    assert (len(shown["samples"]), bool(shown["reasons"])) == (20, True)
    assert "日期不详" in run(folder, "screen", "show", "1")
    decided = said(
        folder,
        "screen",
        "release",
        "1",
        "--entity",
        "C000001",
        "--by",
        "zhang",
        "--reason",
        "known",
    )
    assert (decided[0]["changes"], decided[0]["left"]) == ({"verifying": 3}, 297)
    assert "297 of 300" in run(folder, "screen", "list")
    assert said(folder, "screen", "reject", "1", "--by", "zhang", "--reason", "fault")[0]["left"] == 0
    batch = second["id"]
    assert said(folder, "screen", "reject", batch[:10], "--by", "zhang", "--reason", "cut")["state"] == "rejected"
    assert said(folder, "screen", "list") == []


def test_a_part_of_a_batch_is_released_from_the_hold_that_has_it(tmp_path: Path) -> None:
    """A company of one of the two holds of a batch is released by the batch's name, and the answer tells of that hold
    alone."""
    with open_home(tmp_path, "") as home:
        for day in range(3):
            plant(home, [change("Q", "basic", after={"address": str(day)})] if day else [], day=day)
        lapses = [
            change(f"D{number:06}", "liquidation", key="x", kind="lapse", before={"name": "某"})
            for number in range(300)
        ]
        batch, folder = plant(home, [*wave(300), *lapses], day=5), str(home.path)
    assert len(said(folder, "screen")["screened"][-1]["holds"]) == 2
    part = ("--entity", "D000007", "--by", "zhang", "--reason", "known")
    (decided,) = said(folder, "screen", "release", batch, *part)
    assert decided["left"] == 299


def test_a_batch_whose_name_begins_with_digits_is_found_by_them(tmp_path: Path) -> None:
    """Eight digits that are no hold's number are the beginning of a batch's name."""
    with open_home(tmp_path, "") as home:
        batch, folder = plant(home, [], day=0), str(home.path)
        with home.database.session() as session:
            session.get_one(Batch, batch).id = f"17896689{batch[8:]}"
    with pytest.raises(BadInput, match=f"Nothing of batch 17896689{batch[8:]} is held"):
        run(folder, "screen", "reject", "17896689", "--by", "zhang", "--reason", "cut short")


def test_bad_use_is_answered_with_what_would_be_right(folder: str) -> None:
    """Without a name or a reason, of an unknown hold or batch, with a wrong site: an error that names the remedy."""
    run(folder, "screen")
    for words, error in (
        (("screen", "release", "1", "--reason", "r"), BadInput),
        (("screen", "release", "1", "--by", "z"), BadInput),
        (("screen", "show", "9"), UnknownName),
        (("screen", "reject", "nowhere", "--by", "z", "--reason", "r"), UnknownName),
        (("screen", "--site", "cn-national-register"), BadInput),
        (("screen", "--site", "cn-nation-register=http://127.0.0.1:9"), UnknownName),
        (("correct",), BadInput),
        (("correct", "A"), BadInput),
        (("correct", "A", "--list"), BadInput),
        (("correct", "--decide", "1", "--outcome", "perhaps", "--by", "z", "--reason", "r"), BadInput),
        (("correct", "--list", "--key", "甲"), BadInput),
        (("correct", "A", "--section", "basic", "--key", "甲", "--key", "乙"), BadInput),
        (("correct", "--retract", "999", "--by", "z", "--reason", "r"), UnknownName),
    ):
        with pytest.raises(error) as caught:
            run(folder, *words)
        assert caught.value.hint


@pytest.mark.parametrize("verb", ["release", "reject"])
def test_who_decides_of_a_hold_or_a_batch_is_named_alike(folder: str, verb: str) -> None:
    """Without a name or a reason, or with a name that no column takes, either is refused in the same words, and waits
    still."""
    run(folder, "screen")
    waiting = said(folder, "screen", "list")
    batch = next(each["id"] for each in waiting if each["what"] == "batch")
    for by, reason, wrong in ((" ", "r", "by is empty"), ("z", " ", "reason is empty"), ("z" * 201, "r", "by has 201")):
        for target in ("1", batch):
            with pytest.raises(BadInput, match=wrong):
                run(folder, "screen", verb, target, "--by", by, "--reason", reason)
    assert said(folder, "screen", "list") == waiting


def test_a_notice_is_filed_listed_and_decided(folder: str) -> None:
    """A notice is filed for a company, listed with what the source says, and decided with a reason."""
    filed = said(folder, "correct", "A", "--section", "liquidation", "--statement", "我司正常经营")
    assert (filed["notice"], filed["state"]) == (1, "open")
    assert "我司正常" in run(folder, "correct", "--list")
    decided = said(folder, "correct", "--decide", "1", "--outcome", "refused", "--by", "zhang", "--reason", "官方如此")
    assert decided == {"notice": 1, "outcome": "refused", "corrections": [], "refused": 0, "going_on": 0}
    assert said(folder, "correct", "--list")[0]["state"] == "refused"


def test_what_waits_because_of_a_notice_is_listed_and_the_wrong_fact_named(tmp_path: Path) -> None:
    """The list says how many changes wait, of which facts, and how many came later; ``--key`` names what was wrong."""
    with open_home(tmp_path, "") as home:
        plant(home, [], day=-10_001)
        for seq, name in enumerate("甲乙", start=1):
            show(home, "A", "personnel", {"name": name}, key=name, at=START, seq=seq)
        folder = str(home.path)
        plant(home, [change("A", "personnel", key=name, after={"name": name}) for name in "甲乙"], day=-10_000)
        run(folder, "correct", "A", "--section", "personnel", "--statement", "我司无此人")
        plant(home, [change("A", "personnel", key="丙", after={"name": "丙"})], day=10_000)
    run(folder, "screen", "--site", f"{SOURCE}=http://127.0.0.1:9")
    (listed,) = said(folder, "correct", "--list")
    assert (listed["pending"], listed["pending_keys"], listed["pending_later"]) == (3, ["丙", "乙", "甲"], 1)
    assert "3（其中 1 条在异议提出后发现）：丙、乙、甲" in run(folder, "correct", "--list")
    upheld = ("correct", "--decide", "1", "--outcome", "upheld", "--by", "zhang", "--reason", "官方无此人")
    with pytest.raises(UnknownName, match="no fact of notice 1 '丁'") as caught:
        run(folder, *upheld, "--key", "丁")
    assert "丙, 乙, 甲" in caught.value.hint
    printed = run(folder, *upheld, "--key", "甲", "--key", "丙")
    assert "2 changes are refused" in printed
    assert "1 change that waited goes on" in printed
    notices = said(folder, "company", "A")["sources"][0]["sections"]["personnel"]["notices"]
    assert [each["key"] for each in notices] == ["甲", "丙"]


def test_a_disputed_fact_that_is_shown_no_more_is_marked_too(tmp_path: Path) -> None:
    """What the source no longer shows can be objected to, and the page says that it is disputed."""
    with open_home(tmp_path, "") as home:
        show(home, "A", "liquidation", TEAM[0], key="成员甲", at=START)
        show(home, "A", "liquidation", None, key="成员甲", at=START + timedelta(days=1), seq=2)
        folder = str(home.path)
    run(folder, "correct", "A", "--section", "liquidation", "--statement", "我司正常经营")
    (line,) = (line for line in run(folder, "company", "A").splitlines() if "来源不再展示" in line)
    assert "异议处理中" in line


def test_what_was_decided_of_a_notice_stays_on_the_companys_page(folder: str) -> None:
    """Upheld or refused: the outcome, the day and the reason stand with the facts, for a person and for a script."""
    for number, outcome in enumerate(("refused", "upheld"), start=1):
        said(folder, "correct", "A", "--section", "liquidation", "--key", "成员甲", "--statement", "我司正常经营")
        before = said(folder, "company", "A")["sources"][0]["sections"]["liquidation"]
        assert (before["facts"][0]["disputed"], len(before["notices"])) == (True, number - 1)
        decision = ("--outcome", outcome, "--by", "zhang", "--reason", f"原因{number}")
        run(folder, "correct", "--decide", str(number), *decision)
    sections = said(folder, "company", "A")["sources"][0]["sections"]
    decided = [(each["key"], each["outcome"], each["reason"]) for each in sections["liquidation"]["notices"]]
    assert decided == [("成员甲", "refused", "原因1"), ("成员甲", "upheld", "原因2")]
    assert all(each["decided_at"] for each in sections["liquidation"]["notices"])
    assert sections["basic"]["notices"] == []
    page = run(folder, "company", "A")
    assert "异议不成立" in page
    assert "异议成立, 已更正" in page
    assert "原因2" in page
    assert (
        said(folder, "company", "A", "--known-at", "2026-10-02")["sources"][0]["sections"]["liquidation"]["notices"]
        == []
    )
