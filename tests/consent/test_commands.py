"""``duecare consent``, ``notices`` and ``receipt``: what a person or an officer sees, and JSON for programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from duecare.cli.app import app
from duecare.consent import notices
from duecare.consent.grants import withdraw
from duecare.errors import BadInput, UnknownName
from duecare.settings import load
from duecare.store.home import Home

from .world import AT, DAY, PARK, SECOND, agree, furnish, holder


@dataclass(frozen=True)
class Desk:
    """A home, a holder who withdrew one of two grants and declined the second notice, and what they were given."""

    home: Path
    who: str
    stands: int
    ended: int

    def run(self, *arguments: object, **environment: str) -> Result:
        asked = [*map(str, arguments), "--home", str(self.home)]
        return CliRunner().invoke(app, asked, env={"COLUMNS": "200", **environment})

    def json(self, *arguments: object) -> Any:
        done = self.run(*arguments, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    with Home(load(home=tmp_path / "home")) as home:
        furnish(home.database)
        with home.database.session() as session:
            who = holder(session)
            stands = agree(session, who, "pass_contract")[0].id
            ended = agree(session, who, "fingerprint_entry")[0].id
            withdraw(session, who, "fingerprint_entry", how="按钮", screen="app/my-data", at=AT + DAY)
            notices.publish(session, SECOND, PARK, AT + 2 * DAY)
            notices.answer(session, who, "annual-pass", 2, False, "短信回复", "sms", AT + 3 * DAY)
    return Desk(tmp_path / "home", who, stands, ended)


def test_what_stands_and_how_the_rest_ended(desk: Desk) -> None:
    """Each grant with its purpose, notice, state, when, how and by which screen; the answers; and what binds them."""
    shown = desk.run("consent", "show", desk.who).stdout
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert lines[1:3] == [
        f"有效  履行年卡合同  单独同意  编号 {desk.stands} · pass_contract 1 · annual-pass 1",
        "2019-04-27 10:00  同意  ticked and signed · counter/pass",
    ]
    assert lines[3:6] == [
        f"已结束  指纹入园  单独同意  编号 {desk.ended} · fingerprint_entry 1 · annual-pass 1",
        "2019-04-27 10:00  同意  ticked and signed · counter/pass",
        "2019-04-28 10:00  撤回同意  按钮 · app/my-data",
    ]
    assert "2019-04-30 10:00  拒绝告知书 annual-pass 2  短信回复 · sms" in lines
    assert "受约束的告知书版本: annual-pass 1" in lines
    english = desk.run("consent", "show", desk.who, DUECARE_LANGUAGE="en").stdout
    for words in ("Entry by fingerprint", "withdrawn  按钮", "Bound by version: annual-pass 1", "by itself"):
        assert words in english


def test_what_stood_at_a_moment(desk: Desk) -> None:
    """With ``--at`` nothing that came later is shown: neither the withdrawal, nor the answer, nor a later grant."""
    then = desk.json("consent", "show", desk.who, "--at", "2019-04-28T00:00:00Z")
    assert [(each["purpose"], each["stands"], each["end"]) for each in then["grants"]] == [
        ("pass_contract", True, None), ("fingerprint_entry", True, None),
    ]  # fmt: skip
    assert [each["kind"] for each in then["history"]] == ["give", "give"]
    assert then["bound_by"] == {"annual-pass": 1}
    now = desk.json("consent", "show", desk.who)
    assert [each["stands"] for each in now["grants"]] == [True, False]
    assert now["grants"][1]["end"]["screen"] == "app/my-data"
    assert [each["kind"] for each in now["history"]] == ["give", "give", "end", "decline"]
    before = desk.json("consent", "show", desk.who, "--at", "2019-04-26")
    assert (before["grants"], before["history"], before["bound_by"]) == ([], [], {})
    assert "没有任何同意" in desk.run("consent", "show", desk.who, "--at", "2019-04-26").stdout


@pytest.mark.parametrize(
    ("at", "read", "ended"),
    [
        ("2019-04-28T02:00Z", "2019-04-28 10:00:00", True),
        ("2019-04-28T01:59:59.999999Z", "2019-04-28 09:59:59", False),
        ("2019-04-28 10:00", "2019-04-28 10:00:00", True),
        ("2019-04-27", "2019-04-27 23:59:59", False),
        ("2019-04-28", "2019-04-28 23:59:59", True),
    ],
)
def test_the_moment_is_said_as_it_was_read(desk: Desk, at: str, read: str, ended: bool) -> None:
    """A day is its end in Beijing, a time without a zone is Beijing's, and what ended at that very moment has ended."""
    shown = desk.run("consent", "show", desk.who, "--at", at).stdout
    assert f"截至北京时间 {read}" in shown
    assert ("撤回同意" in shown) is ended
    assert shown.count("有效") == (1 if ended else 2)
    assert f"As of {read} in Beijing" in desk.run("consent", "show", desk.who, "--at", at, DUECARE_LANGUAGE="en").stdout
    assert "截至" not in desk.run("consent", "show", desk.who).stdout


def test_an_unknown_person_is_an_error(desk: Desk) -> None:
    """A name that is nobody's is refused, and nobody else's name is told."""
    refused = desk.run("consent", "show", "0" * 32).exception
    assert isinstance(refused, UnknownName)
    assert desk.who not in str(refused)


def test_a_notice_is_shown_as_published(desk: Desk) -> None:
    """Title, text, terms in words, controller and the way to withdraw; the whole as JSON; and the list of versions."""
    shown = desk.run("notices", "show", "annual-pass", "--version", 1).stdout
    for words in (
        "年卡办理告知书",
        "也可以使用年卡加指纹",
        "入园方式: 年卡加身份证, 年卡加指纹",
        PARK.contact,
        "如何撤回",
    ):
        assert words in shown
    newest = desk.json("notices", "show", "annual-pass")
    assert (newest["version"], newest["terms"], newest["controller"]["code"]) == (2, dict(SECOND.terms), PARK.code)
    assert [each["version"] for each in desk.json("notices", "list")] == [1, 2]
    assert "annual-pass" in desk.run("notices", "list").stdout
    assert isinstance(desk.run("notices", "show", "annual-pass", "--version", 9).exception, UnknownName)


def test_the_difference_between_two_versions(desk: Desk) -> None:
    """By term and by paragraph, in both languages; and as data."""
    shown = desk.run("notices", "show", "annual-pass", "--version", 2, "--against", 1).stdout
    assert "~ 入园方式: -年卡加指纹 +年卡加人脸" in shown
    assert "~ ways in: -card and fingerprint +card and face" in shown
    assert shown.index("入园方式") < shown.index("ways in")
    assert "使用年卡加[-指纹-]{+人脸+}" in shown
    found = desk.json("notices", "show", "annual-pass", "--against", 1)
    assert (found["version"], found["against"]) == (2, 1)
    assert found["terms"][0]["gone"] == [{"zh": "年卡加指纹", "en": "card and fingerprint"}]
    assert found["zh"][0]["pieces"][1] == {"kind": "removed", "text": "指纹"}
    same = desk.run("notices", "show", "annual-pass", "--version", 1, "--against", 1).stdout
    assert "两个版本没有差别" in same


def test_a_receipt_is_written_and_verified_elsewhere(desk: Desk, tmp_path: Path) -> None:
    """The file checks out with the key alone, in a folder without database and log; a changed one does not."""
    out, outside = tmp_path / "mine" / "receipt.json", tmp_path / "outside"
    written = desk.run("receipt", desk.ended, "--out", out)
    assert written.exit_code == 0, written.output
    assert str(out) in written.stdout
    key = outside / "log.pub"
    outside.mkdir()
    key.write_bytes((desk.home / "keys" / "log.pub").read_bytes())
    verify = ["verify", str(out), "--key", str(key), "--home", str(outside / "home")]
    good = CliRunner().invoke(app, [*verify, "--json"])
    assert good.exit_code == 0, good.output
    checks = {each["name"]: each["holds"] for each in json.loads(good.stdout)["checks"]}
    assert checks == dict.fromkeys(("form", "signature", "inclusion", "receipt", "openings", "ended"), True)
    assert "凭证所写正是作出同意时入册的内容" in CliRunner().invoke(app, verify).stdout
    out.write_bytes(out.read_bytes().replace(b'"P3M"', b'"P9M"'))
    bad = CliRunner().invoke(app, verify)
    assert bad.exit_code == 1
    assert "凭证不符" in bad.stdout


def test_a_receipt_is_printed_as_linked_data(desk: Desk) -> None:
    """Without a file the JSON-LD itself is printed; an unknown grant or a file that cannot be written is an error."""
    for arguments in (("receipt", desk.stands), ("receipt", desk.stands, "--json")):
        made = json.loads(desk.run(*arguments).stdout)
        assert made["@type"] == "dpv:ConsentReceipt"
    assert isinstance(desk.run("receipt", 99).exception, UnknownName)
    assert isinstance(desk.run("receipt", desk.stands, "--out", desk.home / "home.id" / "x").exception, BadInput)


def test_the_log_proves_it_all(desk: Desk, tmp_path: Path) -> None:
    """Each of the person's acts is an entry of the log with a proof of its own."""
    for about in (f"grant:{desk.ended}", "notice:annual-pass", "purpose:face_entry", "field:face"):
        done = desk.run("proof", about, "--out", tmp_path / "proofs", "--json")
        assert done.exit_code == 0, done.output
        for each in json.loads(done.stdout):
            assert desk.run("verify", each["file"]).exit_code == 0
