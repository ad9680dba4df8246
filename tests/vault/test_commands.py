"""The commands of the vault, as a person and as a script uses them."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from duecare.cli.app import app
from duecare.errors import DuecareError, Erased, UnknownName
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


def test_erase_of_nobody_is_an_error(run: Run, subject: str) -> None:
    """A subject who is not known, or mistyped, is told as such, for all purposes and for one."""
    for words in (["--all"], ["--purpose", "news"]):
        result = run("erase", subject[:-1] + ("0" if subject[-1] != "0" else "1"), *words, code=1)
        assert isinstance(result.exception, UnknownName)
    assert {each["state"] for each in read(run("held", subject, "--json"))["held"]} == {"held"}


def test_erase_says_that_nothing_was_left(run: Run, subject: str, witness: Served, tmp_path: Path) -> None:
    """Erased already: it says so, and names the certificates, which a command writes."""
    given = {"DUECARE_WITNESSES": witnesses(witness)}
    first = read(run("erase", subject, "--purpose", "news", "--out", str(tmp_path / "a"), "--json", **given))
    name = first["erasures"][0]["id"]
    shown = run("erase", subject, "--purpose", "news", **given).stdout
    assert "Nothing was left to erase" in shown
    assert name in shown
    assert [each["id"] for each in read(run("erase", subject, "--purpose", "news", "--json", **given))["earlier"]] == [
        name
    ]
    run("certificate", name, "--out", str(tmp_path / "again.json"), **given)
    assert (tmp_path / "again.json").read_bytes() == Path(first["erasures"][0]["certificate"]).read_bytes()


def test_a_certificate_that_was_made_later_can_be_had(
    run: Run, subject: str, witness: Served, tmp_path: Path, home: Path
) -> None:
    """Made by --finish, it is written with --out; made by a scheduled run, the command certificate writes it."""
    given = {"DUECARE_WITNESSES": witnesses(witness)}
    run("erase", subject, "--purpose", "news", code=1)
    done = read(run("erase", "--finish", "--out", str(tmp_path / "later"), "--json", **given))
    (path,) = done["written"]
    run("erase", subject, "--purpose", "fingerprint_entry", code=1)
    ran = read(run("retention", "run", "--json", **given))
    assert ran["certified"] == 1
    run("certificate", ran["ids"][0], "--out", str(tmp_path / "it.json"), **given)
    for each in (Path(path), tmp_path / "it.json"):
        found = verify_certificate(each.read_bytes(), read_key(home / "keys" / "log.pub"), [witness.key])
        assert all_hold(found)
    assert isinstance(run("certificate", "0" * 32, "--out", str(tmp_path / "x"), code=1).exception, UnknownName)


@pytest.mark.parametrize("fault", ["stranger", "nonsense", "down", "no folder"])
def test_erased_whatever_befalls_the_certificate(
    run: Run, subject: str, tmp_path: Path, home: Path, witness: Served, fault: str
) -> None:
    """A witness that is down or knows nothing, a folder that is a file: erased, pending, and why."""
    out = tmp_path / "out"
    with broken(tmp_path, witness, fault) as (address, why):
        if fault == "no folder":
            out.write_text("a file")
        given = {"DUECARE_WITNESSES": address}
        shown = run("erase", subject, "--purpose", "news", "--out", str(out), code=1, **given)
        assert isinstance(shown.exception, SystemExit)
        assert "news: erased. certificate pending, because: " in shown.stdout
        assert why in shown.stdout
        if fault != "no folder":
            later = run("retention", "run", code=1, **given)
            assert isinstance(later.exception, SystemExit)
            assert "1 certificates pending, because: " in later.stdout
    with opened(home, witnessed_by=[]) as vault, pytest.raises(Erased):
        vault.open("phone", subject, "news", "marketing")


@contextmanager
def broken(folder: Path, witness: Served, fault: str) -> Iterator[tuple[str, str]]:
    """The setting of a witness that has the ``fault``, and what is said of it."""
    if fault == "stranger":
        with Served(folder / "stranger") as other:
            yield witnesses(other), "does not know the log"
    elif fault == "nonsense":
        with answering(b"hello") as url:
            yield json.dumps([{"url": url, "key": str(witness.key)}]), "not a signature line"
    elif fault == "down":
        witness.kill()
        yield witnesses(witness), "cannot be reached"
    else:
        yield witnesses(witness), "cannot be written"


@contextmanager
def answering(said: bytes) -> Iterator[str]:
    """A server that answers 200 and ``said`` to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


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
    ran = read(run("retention", "run", "--json"))
    assert (ran["held"], ran["erased"]) == (3, 0)
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
