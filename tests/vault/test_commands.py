"""The commands of the vault, as a person and as a script uses them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from duecare.cli.app import app
from duecare.errors import DuecareError
from duecare.evidence.certificate import verify_certificate
from duecare.evidence.check import all_hold
from duecare.evidence.checkpoint import read_key
from duecare.vault import retention

from ..evidence.witnessing import Served
from .park import AT, BASIC, furnish, holder, opened

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def subject(home: Path) -> str:
    """A holder in the home."""
    with opened(home, witnessed_by=[]) as vault:
        furnish(vault)
        return holder(vault)


@pytest.fixture
def run(home: Path) -> Run:
    """Runs a command on the home; its exit code is checked."""

    def runs(*words: str, code: int = 0, **environment: str) -> Result:
        result = CliRunner().invoke(app, [*words, "--home", str(home)], env={"DUECARE_LANGUAGE": "en", **environment})
        if result.exception is not None and not isinstance(result.exception, (SystemExit, DuecareError)):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return runs


def witnesses(witness: Served) -> str:
    return json.dumps([{"url": witness.url, "key": str(witness.key)}])


def read(result: Result) -> Any:
    return json.loads(result.stdout)


def test_held_shows_everything_but_the_values(run: Run, subject: str) -> None:
    """What is held, for which purpose and until when; with --openings who opened it; with --copy the person's file."""
    shown = run("held", subject).stdout
    assert "fingerprint_entry" in shown
    assert BASIC["phone"] not in shown
    found = read(run("held", subject, "--copy", "--openings", "--by", "zhang", "--json"))
    assert {each["state"] for each in found["held"]} == {"held"}
    assert json.loads(Path(found["copy"]).read_text())["data"]["pass_contract"] == BASIC
    opened_ = read(run("held", subject, "--openings", "--json"))["openings"]
    assert {each["by"] for each in opened_} == {"zhang"}
    run("held", "0" * 32, code=1)


@pytest.mark.parametrize(
    ("language", "words", "others"), [("zh", ("持有", "处理目的", "缘由"), ("held", "why", "since")),
                                      ("en", ("held", "purpose", "why"), ("持有", "处理目的", "缘由"))],
)  # fmt: skip
def test_held_speaks_one_language(
    run: Run, subject: str, home: Path, language: str, words: tuple[str, ...], others: tuple[str, ...]
) -> None:
    """Headings and states are all Chinese or all English."""
    with opened(home, witnessed_by=[]) as vault:
        vault.open("name", subject, "pass_contract", "zhang")
    shown = run("held", subject, "--openings", DUECARE_LANGUAGE=language).stdout
    assert all(word in shown for word in words)
    assert not any(word in shown for word in others)


def test_erase_writes_the_certificate(run: Run, subject: str, witness: Served, tmp_path: Path, home: Path) -> None:
    """One purpose, one certificate, verified with the two public keys; the rest stays until --all."""
    out, given = tmp_path / "certificates", {"DUECARE_WITNESSES": witnesses(witness)}
    done = read(run("erase", subject, "--purpose", "fingerprint_entry", "--out", str(out), "--json", **given))
    (one,) = done["erasures"]
    data = Path(one["certificate"]).read_bytes()
    assert all_hold(verify_certificate(data, read_key(home / "keys" / "log.pub"), [witness.key]))
    assert [each["purpose"] for each in read(run("held", subject, "--json"))["held"] if each["state"] == "held"]
    run("erase", subject, "--all", "--forget", "--out", str(out), **given)
    assert len(list(out.iterdir())) == 3
    states = {each["state"] for each in read(run("held", subject, "--json"))["held"]}
    assert states == {"erased"}
    with opened(home, witnessed_by=[]) as vault, vault.database.session() as session:
        from sqlalchemy import text

        rows = session.execute(text("SELECT salt FROM subjects")).scalars().all()
        kept = "".join(session.execute(text("SELECT certificate FROM erasures")).scalars())
    assert rows == [None]
    assert subject not in kept, "what we keep does not say whom it was about"
    assert subject in next(out.iterdir()).read_text(), "the person's own does"


def test_erase_without_a_witness_waits(run: Run, subject: str, witness: Served) -> None:
    """It is erased all the same; exit code 1 says that the certificate waits, and --finish makes it."""
    run("erase", subject, "--purpose", "fingerprint_entry", code=1)
    run("erase", "--finish", code=1)
    done = read(run("erase", "--finish", "--json", DUECARE_WITNESSES=witnesses(witness)))
    assert (done["certified"], done["pending"]) == (1, 0)


@pytest.mark.parametrize("words", [[], ["--all"], ["SUBJECT"], ["SUBJECT", "--all", "--purpose", "news"]])
def test_erase_does_not_guess(run: Run, subject: str, words: list[str]) -> None:
    """Nobody and nothing named, or both ways at once: it says what would be clear, and erases nothing."""
    result = run("erase", *(subject if word == "SUBJECT" else word for word in words), code=1)
    assert "not clear what to erase" in str(result.exception)
    assert {each["state"] for each in read(run("held", subject, "--json"))["held"]} == {"held"}


def test_retention_is_shown_held_and_run(run: Run, subject: str, home: Path) -> None:
    """What is due is exit code 1; a hold keeps it; lifted, a run erases it."""
    with opened(home, witnessed_by=[]) as vault, vault.database.session() as session:
        retention.event(session, subject, "pass_expired", AT.date(), at=AT)
    assert "Nothing is due" in run("retention", "show", "--at", "2019-07-27").stdout
    shown = run("retention", "show", "--at", "2019-07-29", code=1).stdout
    assert "its time is up" in shown
    assert "2019-07-27" in shown
    about = ["--article", "a law", "--reason", "a case", "--by", "counsel"]
    number = read(run("retention", "hold", *about, "--subject", subject, "--json"))["hold"]
    assert "legal hold" in run("retention", "show", "--at", "2019-07-29").stdout
    assert read(run("retention", "run", "--json"))["held"] == 3
    run("retention", "lift", str(number), "--reason", "closed", "--by", "counsel")
    assert read(run("retention", "run", "--json"))["erased"] == 3
    assert {each["state"] for each in read(run("held", subject, "--json"))["held"]} == {"erased"}


def test_keys_are_counted_and_rotated(run: Run, subject: str, home: Path) -> None:
    """Numbers only; a missing key is exit code 1; after a rotation everything opens as before."""
    shown = read(run("keys", "show", "--json"))
    assert (shown["master"], shown["index"], shown["live"], shown["missing"]) == (1, 1, 3, 0)
    shutil.copytree(home / "keys", home.parent / "older")
    assert read(run("keys", "rotate", "--json")) == {"master": 2, "index": 2, "lookups": 2}
    with opened(home, witnessed_by=[]) as vault:
        assert vault.open("name", subject, "pass_contract", "gate") == BASIC["name"]
        holder(vault)
    shutil.rmtree(home / "keys")
    shutil.copytree(home.parent / "older", home / "keys")
    assert "keys are missing" in run("keys", "show", code=1).stdout


def test_backup_and_restore(run: Run, subject: str, home: Path, tmp_path: Path) -> None:
    """A backup says what it leaves out; restored, what was erased since is erased again; ended, it is noise."""
    said = run("backup", str(tmp_path / "monday")).stdout
    assert "Not in it: keys/, exports/, search/" in said
    name = json.loads((tmp_path / "monday" / "manifest.json").read_text())["id"]
    run("erase", subject, "--all", code=1)
    for path in home.iterdir():
        if path.name not in ("keys", "log", "home.id"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert read(run("restore", str(tmp_path / "monday"), "--json"))["erasures"] == 3
    assert {each["state"] for each in read(run("held", subject, "--json"))["held"]} == {"erased"}
    run("keys", "rotate", "--end-backup", name)
    assert read(run("keys", "show", "--json"))["backups"] == []


def test_a_legal_hold_outlives_the_backup_from_before_it(run: Run, subject: str, home: Path, tmp_path: Path) -> None:
    """Backup, hold, everything lost but keys/, log/ and home.id, restore: what is due by then is still kept."""
    with opened(home, witnessed_by=[]) as vault, vault.database.session() as session:
        retention.event(session, subject, "pass_expired", AT.date(), at=AT)
    run("backup", str(tmp_path / "b1"))
    run("retention", "hold", "--article", "a law", "--reason", "a case", "--by", "counsel", "--subject", subject)
    for path in home.iterdir():
        if path.name not in ("keys", "log", "home.id"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    run("restore", str(tmp_path / "b1"))
    assert (ran := read(run("retention", "run", "--json")))["held"] == 3
    assert ran["erased"] == 0
    assert {each["state"] for each in read(run("held", subject, "--json"))["held"]} == {"kept"}


@pytest.mark.parametrize("scope", ['action == Action::"keep", resource is Purpose', "action, resource is Purpose"])
def test_an_operators_policy_does_not_destroy_what_a_hold_keeps(
    run: Run, subject: str, home: Path, tmp_path: Path, scope: str
) -> None:
    """Refused when loaded, or without effect on what is kept: nothing of the person is destroyed."""
    run("retention", "hold", "--article", "a law", "--reason", "a case", "--by", "counsel", "--subject", subject)
    (own := tmp_path / "own").mkdir()
    (own / "mine.cedar").write_text(f'@id("mine.nokeep") @en("We keep nothing.") forbid (principal, {scope});')
    run("erase", subject, "--all", code=1, DUECARE_POLICIES=str(own))
    states = {each["state"] for each in read(run("held", subject, "--json"))["held"]}
    assert states == ({"held"} if "keep" in scope else {"kept"}), "kept by the hold, or never begun"
    with opened(home, witnessed_by=[]) as vault:
        assert {state.name for _, state in vault.slots.states()} == {"LIVE"}
