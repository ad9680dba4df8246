"""Every command as a program: its help, its JSON, and what it says to a mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from duecare.cli import main
from duecare.cli.app import app
from duecare.evidence.cosignature import WitnessSigningKey
from duecare.settings import Settings
from duecare.store.home import Home
from duecare.store.packs import PackWriter
from tests import program
from tests.docs.cli_reference import commands

ROOT = Path(__file__).parents[2]
COMPANY = "913101127345759975"
NUMBERED = """[source]
name = "numbered"
title = "Numbers"
operator = "Example Registry"
address = "https://registry.example/list.csv"
legal_basis = "Public register under an example act."
licence = "CC0-1.0"
fresh_for_days = 30

[entity]
columns = ["number"]
code = "uk_company"

[[section]]
name = "basic"
[section.fields]
name = "name"
"""
BEYOND = "99999999999999999999"
ROWS = "CIK,Ticker,Name,Exchange\n0000000001,AA,{name},NYSE\n0000000002,BB,Beta Inc,NYSE\n"


def run(*words: object, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The program with these words."""
    return program.run(*words, env={**os.environ, "DUECARE_HOME": str(home)} if home else None)


@pytest.fixture
def lists(tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of a small list, a day apart, in which one issuer is renamed."""
    old, new = tmp_path / "2025-02-27.csv", tmp_path / "2025-02-28.csv"
    old.write_text(ROWS.format(name="Alpha Inc"))
    new.write_text(ROWS.format(name="Alfa Inc"))
    return old, new


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_help(words: str) -> None:
    """Each command explains itself; each that does something takes a home or JSON where it promises to."""
    shown = CliRunner().invoke(app, [*words.split()[1:], "--help"])
    assert shown.exit_code == 0
    assert "Usage" in shown.output
    command = dict(commands())[words]
    if not hasattr(command, "commands"):
        assert "Example:" in shown.output
        assert "--json" in {option for param in command.params for option in param.opts}, f"{words} has no --json"


def test_whoever_gives_a_reason_is_told_that_it_stays() -> None:
    """The reason goes into the public log, and so does how somebody said something and what was found: every command
    that takes one says so, in Chinese and English."""
    helps = {
        words: str(param.help)
        for words, command in commands()
        for param in command.params
        if {"--reason", "--note", "--how"} & {*param.opts}
    }
    assert {"duecare screen release", "duecare correct", "duecare passes refund", "duecare retention lift"} <= {*helps}
    assert {"duecare erase", "duecare passes conflicts", "duecare passes answer", "duecare passes end"} <= {*helps}
    for words, said in helps.items():
        assert "in the public log for ever: name no person" in said, words
        assert "永久存入公开日志" in said, words


@pytest.mark.parametrize(
    ("name", "warned"),
    [
        ("DUECARE_RETRY_HOUR", "DUECARE_RETRY_HOUR is no setting and is not read. Did you mean DUECARE_RETRY_HOURS?"),
        ("DUECARE_COLOUR_SCHEME_XYZ", "DUECARE_COLOUR_SCHEME_XYZ is no setting and is not read."),
        ("DUECARE_RETRY_HOURS", ""),
        ("duecare_retry_hours", ""),
        ("DUECARE_TEST_POSTGRES", ""),
        ("DUECARE_DATA", ""),
    ],
)
def test_a_misspelt_setting_is_told_once(name: str, warned: str, tmp_path: Path) -> None:
    """A variable that nothing reads is told on standard error with the nearest that is read, and is no error."""
    done = program.run("sources", "--json", env={**os.environ, "DUECARE_HOME": str(tmp_path), name: "7"})
    assert done.returncode == 0
    assert done.stderr == (f"warning: {warned}\n" if warned else "")
    assert json.loads(done.stdout)


@pytest.mark.parametrize("words", ["--version", "sources", "digest"])
def test_a_command_loads_nothing_of_the_others(words: str, tmp_path: Path) -> None:
    """A program that starts for one command does not wait for what it never uses."""
    code = "import atexit, sys; from duecare.cli import main; atexit.register(lambda: print(*sys.modules)); main()"
    home = {**os.environ, "DUECARE_HOME": str(tmp_path / "home")}
    Home(Settings(home=tmp_path / "home")).database.close()
    command = [sys.executable, "-c", code, *words.split()]
    done = subprocess.run(command, env=home, capture_output=True, text=True, timeout=60)
    loaded = {name for name in done.stdout.splitlines()[-1].split() if name.count(".") < 3}
    assert "duecare.cli.app" in loaded
    assert not loaded & {"duecare.cli.verify", "duecare.cli.passes", "alembic", "ibis", "scrapy", "fastapi", "tantivy"}
    if words == "--version":
        assert not loaded & {"sqlalchemy", "duckdb", "pyarrow", "cedarpy"}


def test_from_a_file_to_answers(lists: tuple[Path, Path], tmp_path: Path) -> None:
    """Files are read, and what changed is told as JSON that scripts can rely on."""
    home = tmp_path / "home"
    done = run("ingest", "us-sec-issuers-history", *lists, "--json", home=home)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # progress is for a terminal
    assert [json.loads(line)["state"] for line in done.stdout.splitlines()] == ["committed", "committed"]
    lines = run("changes", "--since", "2025-02-28", "--json", home=home).stdout.splitlines()
    (change,) = (json.loads(line) for line in lines)
    assert change["before"] == {"name": "Alpha Inc"}
    assert change["after"] == {"name": "Alfa Inc"}
    assert (change["entity"], change["kind"], change["section"]) == ("0000000001", "event", "basic")
    assert {"key", "effective_on", "not_before", "not_after", "source", "batch"} <= change.keys()
    then = json.loads(run("company", "0000000001", "--known-at", "2025-02-27", "--json", home=home).stdout)
    now = json.loads(run("company", "0000000001", "--json", home=home).stdout)
    assert (then["name"], now["name"]) == ("Alpha Inc", "Alfa Inc")
    assert (then["sources"][0]["stale"], now["sources"][0]["stale"]) == (False, True)
    later = json.loads(run("company", "0000000001", "--known-at", "2025-06-30", "--json", home=home).stdout)
    assert later["sources"][0]["stale"]
    assert json.loads(run("search", "Alpha", "--json", home=home).stdout)[0]["entity"] == "0000000001"
    assert [run("search", text, "--json", home=home).stdout for text in ("Alfa  Inc", " alfa inc")] == [
        run("search", "Alfa Inc", "--json", home=home).stdout
    ] * 2
    sources = {one["source"]: one for one in json.loads(run("sources", "--json", home=home).stdout)}
    assert sources["us-sec-issuers-history"]["batches"] == 2
    assert sources["us-sec-issuers-history"]["state"] == "stale"


def test_a_short_code_finds_its_company(lists: tuple[Path, Path], tmp_path: Path) -> None:
    """A CIK is found without its zeros in every command that takes one; what may be two companies is asked back."""
    home, numbers = tmp_path / "home", tmp_path / "numbers.toml"
    run("ingest", "us-sec-issuers-history", *lists, home=home)
    assert json.loads(run("company", "1", "--json", home=home).stdout)["entity"] == "0000000001"
    assert run("company", "1", home=home).stdout.startswith("Alfa Inc  0000000001")
    assert [hit["name"] for hit in json.loads(run("search", "2", "--json", home=home).stdout)] == ["Beta Inc"]
    changed = run("changes", "--entity", "1", "--kind", "event", "--json", home=home)
    assert json.loads(changed.stdout)["entity"] == "0000000001"
    assert run("correct", "1", "--section", "basic", "--statement", "wrong", home=home).returncode == 0
    numbers.write_text(NUMBERED)
    (tmp_path / "2025-03-01.csv").write_text("number,name\n00000001,Alpha Ltd\n")
    assert run("sources", "add", numbers, home=home).returncode == 0
    run("ingest", "numbered", tmp_path / "2025-03-01.csv", home=home)
    asked = run("company", "1", home=home)
    assert asked.returncode == 2
    assert "may be 0000000001 (us-sec-issuers-history) or 00000001 (numbered)" in asked.stderr.replace("\n", " ")
    assert json.loads(run("company", "00000001", "--json", home=home).stdout)["name"] == "Alpha Ltd"


@pytest.mark.parametrize("day", ["2025-02-28", "20250228"])
def test_a_day_is_the_same_day_in_every_command(day: str, lists: tuple[Path, Path], tmp_path: Path) -> None:
    """What was received on a day, or early that day in Beijing, is among the changes since it and known at its end."""
    old, new = lists
    for at in (day, "2025-02-28T00:30"):
        home = tmp_path / at
        run("ingest", "us-sec-issuers-history", old, home=home)
        run("ingest", "us-sec-issuers-history", new, "--observed-at", at, home=home)
        assert run("changes", "--since", day, "--json", home=home).stdout.count("\n") == 1
        then = json.loads(run("company", "0000000001", "--known-at", day, "--json", home=home).stdout)
        assert then["name"] == "Alfa Inc"


def test_what_no_reader_takes_is_cut_at_the_prompt(tmp_path: Path) -> None:
    """A name of a million characters is shown by its beginning, in the language asked for; --json has it whole."""
    home, long = tmp_path / "home", "x" * 1_500_000
    for day, name in (("2025-02-27", long), ("2025-02-28", f"{long}!")):
        path = tmp_path / f"{day}.csv"
        path.write_text(ROWS.format(name=name))
        assert run("ingest", "us-sec-issuers-history", path, home=home).returncode == 0
    (home / "settings.toml").write_text("language = 'en'\n")
    for words in (["company", "1"], ["changes", "--kind", "event"], ["search", "x"]):
        shown = run(*words, home=home).stdout
        assert len(shown) < 30_000
        assert "characters in all; --json shows it whole]" in shown
        assert not {"日期不详", "曾用名"} & set(shown.replace("(", " ").replace(")", " ").split())
        assert long in run(*words, "--json", home=home).stdout
    assert "not known" in run("changes", "--kind", "event", home=home).stdout


def test_a_company_for_a_person(lists: tuple[Path, Path], tmp_path: Path) -> None:
    """A value that another took the place of is not called vanished; what the source dropped is, and nothing more."""
    home, third = tmp_path / "home", tmp_path / "2025-03-01.csv"
    third.write_text("CIK,Ticker,Name,Exchange\n0000000001,AA,Alfa Inc,NYSE\n")
    assert run("ingest", "us-sec-issuers-history", *lists, third, home=home).returncode == 0
    renamed, gone = (run("company", code, home=home).stdout for code in ("0000000001", "0000000002"))
    assert "此前 (至 2025-02-28): 企业名称 Alpha Inc" in renamed
    assert "登记日期不详" in renamed
    assert "来源不再展示" not in renamed
    assert "来源不再展示 (自 2025-03-01): 企业名称 Beta Inc" in gone
    assert not {"离任", "注销", "退出"} & set(gone.split())
    then = run("company", "0000000001", "--as-of", "2025-02-27", home=home).stdout
    assert then.startswith("Alpha Inc")
    assert "其后 (2025-02-28) 已变更" in then
    assert "已读取, 无记录" not in then


def test_a_file_that_was_put_aside_is_not_offered_for_release(tmp_path: Path) -> None:
    """A list cut short is held, and said to be open to release; once it is rejected, the same file is not."""
    home, whole, cut = tmp_path / "home", tmp_path / "2025-02-27.csv", tmp_path / "2025-02-28.csv"
    rows = [f"{at:010},T{at},Name {at},NYSE\n" for at in range(1, 101)]
    whole.write_text("CIK,Ticker,Name,Exchange\n" + "".join(rows))
    cut.write_text("CIK,Ticker,Name,Exchange\n" + "".join(rows[:10]))
    source = "us-sec-issuers-history"
    held = run("ingest", source, whole, cut, home=home)
    assert "duecare screen release" in held.stdout
    batch = held.stdout.split("screen release ")[1].split()[0]
    assert run("screen", "reject", batch, "--by", "z", "--reason", "cut short", home=home).returncode == 0
    again = run("ingest", source, cut, home=home)
    assert "rejected before" in again.stdout
    assert "screen release" not in again.stdout


def test_pages_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """A saved page that is no report is refused; one of a crawl is named with the reason, and the exit code is 1."""
    source, home, at = "cn-national-register", tmp_path / "home", datetime(2026, 10, 1, tzinfo=UTC)
    page, pack = tmp_path / f"{COMPANY}-2026-10-01.html", tmp_path / "crawl.pack"
    page.write_text("<html>请输入验证码</html>")
    refused = run("ingest", source, page, home=home)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"{page.name} cannot be read as the page about {COMPANY}" in refused.stderr.replace("\n", " ")
    with PackWriter(pack) as writer:
        writer.add(COMPANY, "https://register.invalid/", at, 200, page.read_bytes())
    told = run("ingest", source, pack, home=home)
    assert told.returncode == 1
    assert f"unreadable: {COMPANY}: the page has none of the panels" in told.stdout
    states = json.loads(run("sources", "--json", home=home).stdout)
    assert [(one["state"], one["batches"]) for one in states if one["source"] == source] == [("empty", 1)]
    listed = run("screen", "list", home=home).stdout
    assert f"Unreadable in the newest crawl of {source}" in listed
    assert "1 whole pages. What was known of it stands." in " ".join(listed.split())
    (said,) = json.loads(run("screen", "list", "--json", home=home).stdout)
    assert (said["what"], said["pages"], said["sections"]) == ("unreadable", 1, {})
    again = run("ingest", source, pack, "--json", home=tmp_path / "other")
    assert (again.returncode, json.loads(again.stdout)["unreadable"][0]["entity"]) == (1, COMPANY)


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), RuntimeError("Query interrupted"), SystemExit(130)])
def test_an_interrupt_ends_in_one_line(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C, however the one who was at work tells of it, is exit code 130 and one line."""

    def interrupted() -> None:
        raise raised

    monkeypatch.setattr("duecare.cli.app.app", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "Interrupted.\n")


def test_an_interrupt_while_the_program_is_loaded_ends_in_one_line() -> None:
    """Ctrl-C before the first command has begun is no traceback either."""
    program = (
        "import os, signal, sys\nimport duecare.cli\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'duecare.cli.app': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\nduecare.cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Interrupted.\n")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """What a terminal passes on that is not UTF-8 ends in a sentence."""
    refused = run("search", "\udc80", home=tmp_path / "home")
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert "is not text in UTF-8" in refused.stderr


def test_a_hit_has_most_of_what_was_asked_for(tmp_path: Path) -> None:
    """A long text finds the names that share most of it, and not those that have its one pair once."""
    home, path = tmp_path / "home", tmp_path / "2025-02-27.csv"
    names = ["Foxx Inc", "Exxon Mobil Corp", "Corp Exxon Mobil", "Maxxam", "xxxxxxxx Ltd"]
    path.write_text(
        "CIK,Ticker,Name,Exchange\n" + "".join(f"{at:010},T{at},{name},NYSE\n" for at, name in enumerate(names, 1))
    )
    assert run("ingest", "us-sec-issuers-history", path, home=home).returncode == 0

    def found(text: str) -> list[str]:
        return [hit["name"] for hit in json.loads(run("search", text, "--json", home=home).stdout)]

    assert found("xxxxxxxx") == ["xxxxxxxx Ltd"]
    assert found("x" * 300) == []
    assert found("exxon mobil corp") == ["Exxon Mobil Corp", "Corp Exxon Mobil"]
    assert found("mobil mobil mobil mobil") == []
    assert sorted(found("xx")) == sorted(names)


def test_a_watch_of_what_is_not_known_says_so(lists: tuple[Path, Path], tmp_path: Path) -> None:
    """It is added, since the company may come; and whoever gave a name for a code hears the code."""
    home = tmp_path / "home"
    run("ingest", "us-sec-issuers-history", *lists, home=home)
    controller = ("name", "code", "address", "contact")
    (home / "settings.toml").write_text("".join(f"controller_{part} = 'the {part}'\n" for part in controller))
    assert run("watch", "members", "add", "alice", home=home).returncode == 0
    said = [run("watch", "add", "alice", code, home=home) for code in ("0000000001", "Alfa", "NOSUCHCODE")]
    assert [one.returncode for one in said] == [0, 0, 0]
    known, named, unknown = (one.stdout for one in said)
    assert "Nothing is known" not in known
    assert "Nothing is known of Alfa yet" in named
    assert "Did you mean 0000000001 (Alfa Inc)?" in named
    assert "Nothing is known of NOSUCHCODE yet" in unknown
    assert "Did you mean" not in unknown
    made = json.loads(run("watch", "add", "alice", "Beta", "--json", home=home).stdout)
    assert (made["known"], made["near"]) == (False, [{"entity": "0000000002", "name": "Beta Inc"}])
    assert len(json.loads(run("watch", "list", "--json", home=home).stdout)) == 4


@pytest.mark.parametrize("form", [["--limit", "0"], ["--json"]], ids=" ".join)
def test_a_reader_who_has_had_enough_is_no_failure(form: list[str], tmp_path: Path) -> None:
    """``duecare changes | head -1`` gets its line and ends with 0, with nothing on standard error."""
    home, path = tmp_path / "home", tmp_path / "2025-02-27.csv"
    rows = "".join(f"{number:010},T{number},Number {number} Inc,NYSE\n" for number in range(1, 20_001))
    path.write_text("CIK,Ticker,Name,Exchange\n" + rows)
    assert run("ingest", "us-sec-issuers-history", path, home=home).returncode == 0
    command = [sys.executable, "-m", "duecare", "changes", *form, "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        first = running.stdout.readline()
        running.stdout.close()
        assert running.wait(60) == 0
        assert running.stderr.read() == ""
    assert first.startswith('{"entity": "0000000001"' if form == ["--json"] else "seen in")


@pytest.mark.parametrize("printed", ["print_rows(('n', 'what'), rows)", "[print_json_line(row) for row in rows]"])
def test_rows_are_printed_as_they_come(printed: str) -> None:
    """A list that never ends is printed all the same, until its reader leaves."""
    program = (
        "from itertools import count; from duecare.cli.output import heard, print_json_line, print_rows\n"
        f"rows = ((str(n), 'x') for n in count())\nwith heard():\n    {printed}"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(3)]
        running.stdout.close()
        assert running.wait(60) == 0
    assert [line.split()[0].strip('[",') for line in lines] in (["n", "0", "1"], ["0", "1", "2"])


def test_a_stored_page_comes_out_as_it_came_in(lists: tuple[Path, Path], tmp_path: Path) -> None:
    """The snapshot that a fact names is written byte for byte, over no file that is there."""
    home, out = tmp_path / "home", tmp_path / "page"
    run("ingest", "us-sec-issuers-history", *lists, home=home)
    company = json.loads(run("company", "0000000001", "--json", home=home).stdout)
    name = company["sources"][0]["sections"]["basic"]["facts"][0]["snapshot"]
    shown = run("snapshot", name[:12], home=home)
    assert (shown.returncode, name in shown.stdout, "2025-02-28" in shown.stdout) == (0, True, True)
    said = json.loads(run("snapshot", name, "--out", out, "--json", home=home).stdout)
    assert (said["sha256"], said["source"], said["size"]) == (name, "us-sec-issuers-history", len(out.read_bytes()))
    assert out.read_bytes() == lists[1].read_bytes()
    again = run("snapshot", name, "--out", out, home=home)
    assert (again.returncode, "there already" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ingest", "us-sec-issuer-history", "FILE"], "us-sec-issuers-history"),
        (["ingest", "us-sec-issuers-history", "absent.csv"], "absent.csv"),
        (["ingest", "us-sec-issuers-history", "EMPTY"], "empty"),
        (["ingest", "us-sec-issuers-history", "OTHER"], "CIK"),
        (["ingest", "us-sec-issuers-history", "FILE", "--observed-at", "tomorrow"], "2019-05-05"),
        (["ingest", "us-sec-issuers-history", "FILE", "--observed-at", "2999-01-01"], "--observed-at"),
        (["ingest", "us-sec-issuers-history", "FILE", "--observed-at", "1500-01-01"], "older than 1990-01-01"),
        (["changes", "--kind", "news"], "first_observation"),
        (["changes", "--since", "5 May"], "2019-05-05"),
        (["changes", "--source", "nowhere"], "nowhere"),
        (["company", "no-such-code"], "duecare search"),
        (["company", "1", "--as-of", "soon"], "2019-05-05"),
        (["search", " "], "name"),
        (["search", "x" * 301], "at most 300"),
        (["changes", "--entity", ""], "--entity is empty"),
        (["changes", "--source", " "], "--source is empty"),
        (["changes", "--kind", ""], "--kind is empty"),
        (["changes", "--since", ""], "--since is empty"),
        (["company", ""], "CODE is empty"),
        (["company", "1", "--as-of", ""], "--as-of is empty"),
        (["company", "1", "--known-at", ""], "--known-at is empty"),
        (["search", ""], "nothing to search for"),
        (["correct", "1", "--section", "", "--statement", "s"], "--section is missing"),
        (["correct", "1", "--section", "basic", "--key", "", "--statement", "s"], "--key is empty"),
        (["correct", "1", "--section", "basic", "--source", "", "--statement", "s"], "--source is empty"),
        (["ingest", "us-sec-issuers-history", "FILE", "--observed-at", ""], "--observed-at is empty"),
        (["crawl", "cn-national-register", "--site", "", "1"], "--site is empty"),
        (["crawl", "cn-national-register", "--site", "http://127.0.0.1:9", ""], "is not a unified"),
        (["screen", "release", "", "--by", "z", "--reason", "r"], "HOLD|BATCH is empty"),
        (["screen", "reject", "1", "--entity", "", "--by", "z", "--reason", "r"], "--entity is empty"),
        (["screen", "reject", "1", "--change", "", "--by", "z", "--reason", "r"], "--change is empty"),
        (["watch", "add", "alice", ""], "CODE is empty"),
        (["watch", "add", "alice", "1", "--source", ""], "--source is empty"),
        (["watch", "list", "--member", ""], "no member ''"),
        (["digest", "--member", ""], "no member ''"),
        (["digest", "--at", ""], "2019-05-05"),
        (["retention", "show", "--at", ""], "--at is empty"),
        (["retention", "hold", "--article", "a", "--reason", "r", "--by", "z", "--subject", ""], "--subject is empty"),
        (["retention", "hold", "--article", "a", "--reason", "r", "--by", "z", "--purpose", ""], "--purpose is empty"),
        (["consent", "show", "0" * 32, "--at", ""], "--at is empty"),
        (["cases", ""], "NAME is empty"),
        (["snapshot", ""], "SHA-256"),
        (["proof", ""], "no evidence about ''"),
        (["reread", "us-sec-issuers-history"], "Nothing"),
        (["crawl", "us-sec-issuers-history", "--site", "http://127.0.0.1:9", "1"], "files"),
        (["crawl", "cn-national-register", "--site", "http://127.0.0.1:9", "1", "--rate", "0"], "above zero"),
        (["crawl", "cn-national-register", "--site", "http://127.0.0.1:9", "1", "--rate", "-2"], "above zero"),
        (["crawl", "cn-national-register", "--site", "http://127.0.0.1:9", "1", "--rate", "nan"], "above zero"),
        (["sources", "add", "absent.toml"], "absent.toml"),
        (["sources", "add", "NAMED"], 'a line [source] with name = "my-register"'),
        (["verify", "absent.json"], "absent.json"),
        (["watch", "add", "nobody", "1"], "nobody"),
        (["digest", "--at", "someday"], "2019-05-05"),
        (["screen", "release", "1", "--by", "z", "--reason", "r", "--dated", "--undated"], "are both given"),
        (["cases", "no_such_case"], "no_such_case"),
        (["snapshot", "page.html"], "SHA-256"),
        (["snapshot", "0" * 64], "no snapshot"),
        (["no-such-command"], "no-such-command"),
        (["receipt", BEYOND], "beyond all"),
        (["proof", BEYOND], "beyond all"),
        (["screen", "show", BEYOND], "beyond all"),
        (["retention", "lift", BEYOND, "--by", "counsel", "--reason", "over"], "beyond all"),
        (["passes", "answers", BEYOND], "beyond all"),
        (["passes", "conflicts", "--settle", BEYOND, "--note", "looked at"], "beyond all"),
        (["retention", "show", "--at", "9999-12-31"], "from 1000 to 8999"),
        (["retention", "show", "--at", "0001-01-01"], "from 1000 to 8999"),
        (["changes", "--since", "9999-12-31T23:59:59-05:00"], "beyond the calendar"),
        (["backup", "BELOW"], "cannot take a backup"),
        (["backup", "/proc/x"], "cannot take a backup"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else None,
)
def test_a_mistake_ends_in_a_sentence(
    words: list[str],
    says: str,
    lists: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad use exits with 2, says what would be right on standard error, and shows no traceback."""
    (tmp_path / "empty.csv").touch()
    (tmp_path / "named.toml").write_text('name = "m"\n')
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    files = {
        "FILE": lists[0],
        "EMPTY": tmp_path / "empty.csv",
        "OTHER": tmp_path / "other.csv",
        "NAMED": tmp_path / "named.toml",
        "BELOW": tmp_path / "empty.csv" / "backup",
    }
    monkeypatch.setenv("DUECARE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", ["duecare", *(str(files.get(word, word)) for word in words)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2, printed
    assert says in printed.err.replace("\n", " ")
    assert "Traceback" not in printed.err
    assert not printed.out


def test_what_is_logged_is_not_in_the_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a witness is down, that is said on standard error, and standard output is JSON as ever."""
    key = WitnessSigningKey.make("witness.example").verifier
    monkeypatch.setenv("DUECARE_WITNESSES", json.dumps([{"url": "http://127.0.0.1:9", "key": str(key)}]))
    done = run("retention", "run", "--json", home=tmp_path / "home")
    assert "witness not asked" in done.stderr
    assert json.loads(done.stdout)["erased"] == 0


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A wrong home is said to be wrong, and is left as it was."""
    wrong = tmp_path / "file"
    wrong.write_text("mine")
    done = run("sources", "--home", wrong)
    assert done.returncode == 2
    assert "is a file" in done.stderr
    assert wrong.read_text() == "mine"


def test_a_list_with_holes_says_that_it_closes_nothing(lists: tuple[Path, Path], tmp_path: Path) -> None:
    """Whoever reads a list of which a record was set aside is told so, and where the record is."""
    home, (old, new) = tmp_path / "home", lists
    new.write_text(ROWS.format(name="Alpha Inc").replace("0000000002", "O000000002"))
    run("ingest", "us-sec-issuers-history", old, home=home)
    told = run("ingest", "us-sec-issuers-history", new, home=home)
    assert "no change" in told.stdout
    assert "1 row set aside" in told.stdout
    assert "nothing was closed by it" in told.stdout
    again = tmp_path / "2025-03-01.csv"
    again.write_bytes(new.read_bytes())
    (line,) = run("ingest", "us-sec-issuers-history", again, "--json", home=home).stdout.splitlines()
    assert json.loads(line)["partial"] == ["basic", "listings"]


def test_a_home_may_stand_before_the_command(lists: tuple[Path, Path], tmp_path: Path) -> None:
    """``--home`` counts wherever it stands; what stands after the command wins."""
    home = tmp_path / "home"
    assert run("--home", home, "ingest", "us-sec-issuers-history", lists[0]).returncode == 0
    for words in (
        ("--home", home, "company", "0000000001"),
        ("--home", tmp_path / "other", "company", "0000000001", "--home", home),
    ):
        assert "Alpha Inc" in run(*words).stdout
    assert not (tmp_path / "other").exists()
    assert run("--version").stdout == f"duecare {version('duecare')}\n"


def test_two_homes_never_touch(lists: tuple[Path, Path], tmp_path: Path, database_url: str) -> None:
    """What is read into one home is not seen in another; a database that belongs to one is refused by the other."""
    assert run("ingest", "us-sec-issuers-history", lists[0], home=tmp_path / "one").returncode == 0
    assert run("changes", "--since", "2025-02-28", "--json", home=tmp_path / "one").stdout == ""
    before = sorted(path.relative_to(tmp_path) for path in (tmp_path / "one").rglob("*"))
    assert run("ingest", "us-sec-issuers-history", lists[1], home=tmp_path / "two").returncode == 0
    assert run("changes", "--since", "2025-02-28", "--json", home=tmp_path / "one").stdout == ""
    names = json.loads(run("company", "0000000001", "--json", home=tmp_path / "two").stdout)
    assert names["name"] == "Alfa Inc"
    assert sorted(path.relative_to(tmp_path) for path in (tmp_path / "one").rglob("*")) == before
    shared = {**os.environ, "DUECARE_DATABASE_URL": database_url}
    first, second = (program.run("changes", "--home", tmp_path / name, env=shared) for name in ("three", "four"))
    assert first.returncode == 0, first.stderr
    assert second.returncode == 2
    assert "another home" in second.stderr.replace("\n", " ")
