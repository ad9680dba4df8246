"""``duecare proof`` and ``duecare verify``, run as a program on files."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from duecare.cli.proof import proof
from duecare.cli.verify import verify
from duecare.errors import BadInput, UnknownName
from duecare.evidence.checkpoint import read_key
from duecare.evidence.log import Log
from duecare.evidence.outbox import record, sequence
from duecare.settings import load
from duecare.store.home import Home

from .witnessing import Served

app = typer.Typer()
app.command()(verify)
app.command()(proof)
AT = datetime(2019, 5, 6, tzinfo=UTC)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def add(home: Path, *subjects: str) -> None:
    with Home(load(home=home)) as opened:
        with opened.database.session() as session:
            for subject in subjects:
                record(session, "alert:send", subject, {"标题": "清算信息"}, AT)
        sequence(opened.database, Log.at(home))


@dataclass(frozen=True)
class Files:
    """A home with a log, a checkpoint noted early, and a proof; ``outside`` has only what an outsider was given."""

    home: Path
    outside: Path
    noted: Path
    proof: Path
    key: Path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    home, outside = tmp_path / "home", tmp_path / "outside"
    add(home, "digest:1", "digest:2")
    outside.mkdir()
    shutil.copy(home / "log" / "checkpoint", outside / "noted")
    shutil.copy(home / "keys" / "log.pub", outside / "log.pub")
    add(home, "digest:3", "digest:1")
    made = run("proof", "digest:1", "--out", outside, "--home", home, "--json")
    assert made.exit_code == 0, made.output
    paths = [Path(each["file"]) for each in json.loads(made.stdout)]
    assert len(paths) == 2
    return Files(home, outside, outside / "noted", paths[0], outside / "log.pub")


def test_a_proof_is_verified_by_an_outsider(files: Files) -> None:
    """With the file and the key alone, and no home at all, the answer is given in words."""
    absent = files.outside / "no-home"
    result = run("verify", files.proof, "--key", files.key, "--home", absent)
    assert result.exit_code == 0, result.output
    assert "签名真实" in result.stdout
    assert "记录在册" in result.stdout
    assert "清算信息" in result.stdout
    assert "没有较早的状态可以比较" in result.stdout
    assert not absent.exists()


def test_a_proof_is_compared_with_the_log_at_hand(files: Files) -> None:
    """In the home of the log, the third answer is that the log only grew since."""
    add(files.home, "digest:9")
    result = run("verify", files.proof, "--home", files.home, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [(check["name"], check["holds"]) for check in answer["checks"]] == [
        ("form", True), ("signature", True), ("inclusion", True), ("growth", True),
    ]  # fmt: skip
    assert answer["holds"]
    assert answer["entry"]["subject"] == "digest:1"


def test_a_changed_proof_is_refused(files: Files) -> None:
    """A proof in which one word was changed exits with 1 and says which check failed and what that means."""
    files.proof.write_text(files.proof.read_text(encoding="utf-8").replace("清算信息", "注销信息"), encoding="utf-8")
    result = run("verify", files.proof, "--key", files.key, "--home", files.outside)
    assert result.exit_code == 1
    assert "不在册" in result.stdout
    assert "Not recorded" in result.stdout
    assert "注销信息" not in result.stdout


def test_any_changed_byte_of_a_file_is_refused(files: Files) -> None:
    """Each file, with any byte changed, exits with 1."""
    for path in (files.proof, files.noted):
        data = path.read_bytes()
        for position in range(0, len(data), 7 if path == files.noted else 41):
            path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
            result = run("verify", path, "--home", files.home, "--json")
            assert result.exit_code == 1, (path, position, result.output)
            assert not json.loads(result.stdout)["holds"]


def test_a_noted_checkpoint_is_compared(files: Files) -> None:
    """A checkpoint noted earlier is found in the log of today."""
    result = run("verify", files.noted, "--home", files.home)
    assert result.exit_code == 0, result.output
    assert "只增不改" in result.stdout
    assert "from 2 to 4 entries" in result.stdout
    with pytest.raises(BadInput, match="no log here"):
        _reraise(run("verify", files.noted, "--key", files.key, "--home", files.outside))


def _reraise(result: Result) -> None:
    assert result.exception is not None
    raise result.exception


def test_a_log_put_back_is_found_out(files: Files) -> None:
    """A log that was put back to an earlier state contradicts the proof made since."""
    shutil.copy(files.noted, files.home / "log" / "checkpoint")
    result = run("verify", files.proof, "--home", files.home)
    assert result.exit_code == 1
    assert "the log here has 2 entries, the file speaks of 4" in result.stdout


def test_the_whole_log(files: Files) -> None:
    """``--all`` re-derives everything, finds a changed entry, and compares with what was noted."""
    result = run("verify", "--all", "--home", files.home, "--json")
    names = ["signature", "entries", "tiles", "root", "alerts"]
    assert [check["name"] for check in json.loads(result.stdout)["checks"]] == names
    assert result.exit_code == 0
    assert run("verify", files.noted, "--all", "--home", files.home).exit_code == 0
    bundle = next((files.home / "log" / "tile" / "entries").rglob("4"))
    bundle.write_bytes(bundle.read_bytes().replace(b"digest:3", b"digest:4"))
    result = run("verify", "--all", "--home", files.home)
    assert result.exit_code == 1
    assert "entry 2 is not what the tile says" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "nothing to verify"),
        (("absent.json",), "absent.json cannot be read"),
        (("--all", "--key", "log.pub"), "There is no log in"),
        (("proof.json", "--key", "proof.json"), "not an? (Ed25519 )?verifier key"),
        (("proof.json",), "--key FILE"),
    ],
)
def test_bad_use_is_explained(
    files: Files, arguments: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be verified at all is an error of use, with what would be right."""
    monkeypatch.chdir(files.outside)
    shutil.copy(files.proof, "proof.json")
    with pytest.raises(BadInput, match=why):
        _reraise(run("verify", *arguments, "--home", files.outside / "empty"))


def test_what_waits_for_the_log_is_said(tmp_path: Path) -> None:
    """The log is empty and holds; the database has evidence that is not in it: how much is said, until it is in."""
    home = tmp_path / "home"
    with Home(load(home=home)) as opened:
        Log.at(home)
        with opened.database.session() as session:
            for subject in ("digest:1", "digest:2"):
                record(session, "alert:send", subject, {}, AT)
    assert json.loads(run("verify", "--all", "--home", home, "--json").stdout)["waiting"] == 2
    shown = run("verify", "--all", "--home", home)
    assert "2 条记录尚未写入日志" in shown.stdout
    add(home, "digest:3")
    assert json.loads(run("verify", "--all", "--home", home, "--json").stdout)["waiting"] == 0
    (home / "duecare.db").unlink()
    assert run("verify", "--all", "--home", home).exit_code == 0
    assert not (home / "duecare.db").exists(), "an outsider has the log alone"


def test_a_proof_of_nothing(files: Files) -> None:
    """Asking for a proof about something that was never recorded names what was."""
    with pytest.raises(UnknownName, match="Did you mean digest:"):
        _reraise(run("proof", "digest:33", "--home", files.home))
    made = run("proof", "3", "--home", files.home, "--out", files.outside, "--since", files.noted)
    assert made.exit_code == 0, made.output
    result = run("verify", files.outside / "evidence-3.proof.json", "--key", files.key, "--home", files.outside)
    assert "from 2 to 4 entries" in result.stdout


def test_what_a_witness_cosigned(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a witness in the settings proofs are cosigned, and the cosignature is checked in each kind of file and in
    the whole log; a witness that is down does not hinder a proof."""
    with Served(files.home.parent / "witness", read_key(files.key)) as served:
        witness = served.folder / "witness.pub"
        monkeypatch.setenv("DUECARE_WITNESSES", json.dumps([{"url": served.url, "key": str(served.key)}]))
        before = run("verify", "--all", "--witness", witness, "--home", files.home, "--json")
        assert failed(before) == ["cosignature"]
        assert "nothing of it was cosigned yet" in before.stdout
        run("proof", "digest:2", "--home", files.home, "--out", files.outside)
        proof = files.outside / "evidence-2.proof.json"
        for arguments in (
            (proof, "--key", files.key, "--home", files.outside),
            (files.home / "log" / "checkpoint.cosigned", "--home", files.home),
            ("--all", "--home", files.home),
        ):
            told = json.loads(run("verify", *arguments, "--witness", witness, "--json").stdout)
            assert told["holds"]
            assert "cosignature" in [check["name"] for check in told["checks"]]
        assert failed(run("verify", files.proof, "--witness", witness, "--home", files.home, "--json")) == [
            "cosignature"
        ]
        assert failed(run("verify", files.noted, "--witness", witness, "--home", files.home, "--json")) == [
            "cosignature"
        ]
    add(files.home, "digest:5")
    made = run("proof", "digest:5", "--home", files.home, "--out", files.outside)
    assert made.exit_code == 0
    assert "not cosigned" in made.stderr
    path = files.outside / "evidence-5.proof.json"
    assert run("verify", path, "--home", files.home).exit_code == 0
    assert failed(run("verify", path, "--witness", witness, "--home", files.home, "--json")) == ["cosignature"]


def failed(result: Result) -> list[str]:
    return [check["name"] for check in json.loads(result.stdout)["checks"] if not check["holds"]]


def test_a_witness_is_asked_whether_it_saw_more(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that was put back to an older copy holds in itself; a witness says that it has seen a longer one."""
    with Served(files.home.parent / "witness", read_key(files.key)) as served:
        monkeypatch.setenv("DUECARE_WITNESSES", json.dumps([{"url": served.url, "key": str(served.key)}]))
        older = files.outside / "older"
        shutil.copytree(files.home / "log", older)
        assert json.loads(run("verify", "--all", "--ask", "--home", files.home, "--json").stdout)["holds"]
        add(files.home, "digest:4")
        assert json.loads(run("verify", "--all", "--ask", "--home", files.home, "--json").stdout)["holds"]
        shutil.rmtree(files.home / "log")
        shutil.copytree(older, files.home / "log")
        assert json.loads(run("verify", "--all", "--home", files.home, "--json").stdout)["holds"]
        asked = run("verify", "--all", "--ask", "--home", files.home, "--json")
        assert (asked.exit_code, failed(asked)) == (1, ["witness"])
        assert "older copy" in asked.stdout
        served.kill()
        assert "cannot be reached" in run("verify", "--all", "--ask", "--home", files.home, "--json").stdout
    monkeypatch.delenv("DUECARE_WITNESSES")
    assert "no witness to ask" in str(run("verify", "--all", "--ask", "--home", files.home).exception)
