"""The pass centre and a gate as programs: sold, enrolled, entered, changed, refunded, shown, by commands alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from .. import program
from ..systems.passes.people import HE, SHE


class Desk:
    """Runs commands in a folder, each as a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "DUECARE_HOME": str(folder / "home"),
            "DUECARE_CONTROLLER_NAME": "某野生动物世界有限公司",
            "DUECARE_CONTROLLER_CODE": "91330100000000000X",
            "DUECARE_CONTROLLER_ADDRESS": "某市某区某路1号",
            "DUECARE_CONTROLLER_CONTACT": "privacy@park.example",
        }

    def run(self, *words: str, code: int = 0, given: str = "") -> Any:
        done = program.run("passes", *words, "--json", cwd=self.folder, env=self.environment, given=given)
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout else done.stderr

    def shown(self, *words: str, language: str = "zh") -> str:
        environment = {**self.environment, "COLUMNS": "200", "DUECARE_LANGUAGE": language}
        return program.run("passes", *words, cwd=self.folder, env=environment).stdout

    @contextmanager
    def serving(self) -> Iterator[dict[str, Any]]:
        """The centre, served by the program; gives its address and key, and its process."""
        process = subprocess.Popen(
            [sys.executable, "-m", "duecare", "passes", "serve", "--port", "0", "--json"],
            cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        yield {**json.loads(process.stdout.readline()), "process": process}
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.run("publish", "--way", "card_id_card", "--way", "card_fingerprint")
    return made


@pytest.fixture
def sold(desk: Desk) -> dict[str, Any]:
    (desk.folder / "holders.json").write_text(json.dumps([vars(HE), vars(SHE)], ensure_ascii=False))
    return desk.run("sell", "pass_for_two", "--holders", "holders.json")


@pytest.fixture
def served(desk: Desk) -> Iterator[dict[str, Any]]:
    with desk.serving() as running:
        yield running


def test_a_gate_on_one_machine(desk: Desk, sold: dict[str, Any], served: dict[str, Any]) -> None:
    """Centre and gate as two processes: in touch by a finger; alone by card and ID card after the centre stopped."""
    his = sold["cards"][0]
    desk.run("gate", "make", "--dir", "east", "--name", "east", "--centre", served["url"], "--key", served["key"])
    desk.run("gates", "add", "east/gate.pub")
    desk.run("gate", "sensor", "he", "--out", "enrolled.template")
    desk.run("gate", "sensor", "he", "--reading", "1", "--out", "shown.template")
    desk.run("enrol", his["subject"], "card_fingerprint", "enrolled.template", "--by", "li")
    lines = [
        {"card": his["card"], "template": _encoded(desk.folder / "shown.template")},
        {"card": his["card"], "id_number": SHE.id_number},
        {"nonsense": 1},
    ]
    running = program.run(
        "passes", "gate", "run", "--dir", "east",
        cwd=desk.folder, env=desk.environment, given="".join(json.dumps(line) + "\n" for line in lines),
    )  # fmt: skip
    answers = [json.loads(line) for line in running.stdout.splitlines()]
    assert [each["open"] for each in answers] == [True, False, False]
    assert [each["reasons"][0]["id"] for each in answers][1:] == ["gate.no_match", "gate.unreadable"]
    served["process"].send_signal(signal.SIGTERM)
    served["process"].wait(60)
    (desk.folder / "id.txt").write_text(HE.id_number)
    entered = desk.run("gate", "enter", "--dir", "east", "--card", "-", "--id-number", "id.txt", given=his["card"])
    assert [each["id"] for each in entered["reasons"]] == ["gate.on_the_list"]
    assert len(desk.run("gate", "show", "--dir", "east")["waiting"]) == 1
    desk.run("gate", "sync", "--dir", "east", code=1)
    page = desk.run("truth", his["subject"])
    assert [(each["way"], each["offline"]) for each in page["visits"]] == [("card_fingerprint", False)]
    assert "年卡加指纹" in desk.shown("truth", his["subject"])
    assert "1 decision waits" in desk.shown("gate", "show", "--dir", "east")


def _encoded(path: Path) -> str:
    from base64 import b64encode

    return b64encode(path.read_bytes()).decode()


def test_a_change_at_the_counter(desk: Desk, sold: dict[str, Any]) -> None:
    """Published, answered, reminded, ended, refunded, withdrawn: each is one command that says what it did."""
    his, hers = sold["cards"][0]["subject"], sold["cards"][1]["subject"]
    changed = desk.run("publish", "--way", "card_id_card", "--way", "card_face")
    assert (changed["version"], changed["messages"]) == (2, 3)
    desk.run("answer", his, "2", "--decline", "--how", "by telephone")
    said = desk.run("answers", "2", "--remind")
    assert (said["declined"], said["silent"], said["reminded"]) == ([his], [hers], 2)
    assert "拒绝" in desk.shown("answers", "2")
    assert desk.run("end", "card_fingerprint", "--note", "stopped")["told"] == 1
    refused = desk.run("refund", sold["pass_id"], "--holder", hers, "--reason", "asks", code=2)
    assert "No refund is owed" in refused
    paid = desk.run("refund", sold["pass_id"], "--holder", his, "--reason", "declines faces")
    assert (paid["days_left"], paid["days"], paid["amount"]) == (364, 365, "678")
    assert "退款 678 元: 所付 680.00 元, 共 365 天, 剩余 364 天; 事由: declines faces" in desk.shown("truth", his)
    assert "678 yuan were paid back on" in desk.shown("truth", his, language="en")
    assert desk.run("withdraw", hers, "mail_contact", code=0)["held"] == []
    assert "There is no purpose" in desk.run("withdraw", hers, "mail", code=2)
    assert set(desk.run("send")["waiting"]) == {"sms", "mail"}


def test_cards_clerks_and_gates(desk: Desk, sold: dict[str, Any]) -> None:
    """A card reported lost and replaced; keys given and ended; no conflict open."""
    his = sold["cards"][0]
    assert desk.run("lost", his["subject"])["cards"] == 1
    fresh = desk.run("reissue", "--id-number", "-", given=HE.id_number + "\n")
    assert (fresh["subject"], fresh["card"] != his["card"]) == (his["subject"], True)
    (desk.folder / "photo.jpg").write_bytes(b"\xff\xd8 photo")
    assert desk.run("photo", his["subject"], "photo.jpg")["purpose"] == "pass_photo"
    assert len(desk.run("clerks", "add", "li")["key"]) > 40
    assert [each["name"] for each in desk.run("clerks", "list")] == ["li"]
    assert desk.run("clerks", "end", "li")["ended"] is True
    assert "Nobody has a key yet" in desk.shown("clerks", "list")
    assert desk.run("gates", "list")["gates"] == []
    assert "no gate" in desk.run("gates", "end", "east", code=2).lower()
    assert desk.run("conflicts") == []
    renewed = desk.run("renew", sold["pass_id"])
    assert (renewed["year"], renewed["price"]) == (2, "1251.20")


def test_the_page_of_truth_is_in_one_language(desk: Desk, sold: dict[str, Any]) -> None:
    """All of it in Chinese or all of it in English, and what is not there is said in words."""
    hers, cjk = sold["cards"][1]["subject"], re.compile(r"[\u4e00-\u9fff]")
    assert "没有人打开过。" in desk.shown("truth", hers)
    assert "Nobody has opened anything." in desk.shown("truth", hers, language="en")
    (desk.folder / "id.txt").write_text(SHE.id_number)
    desk.run("reissue", "--id-number", "id.txt", "--by", "li")
    desk.run("publish", "--way", "card_id_card", "--way", "card_face")
    desk.run("withdraw", hers, "mail_contact")
    zh, en = desk.shown("truth", hers), desk.shown("truth", hers, language="en")
    assert not cjk.search(en)
    for words in ("looked up by a number that was shown", "consent withdrawn", "to be sent", "There were none."):
        assert words in en
    for words in ("凭出示的号码查找", "身份证件号码", "本人撤回同意", "待发送", "没有入园记录。", "第 2 版未答复"):
        assert words in zh
    assert not re.search(r"id_number|mail_contact|withdrawal|card_id_card|held|erased", zh)


def test_mistakes_end_in_one_sentence(desk: Desk) -> None:
    """Wrong files, names and lists are errors of the user: exit code 2, one sentence, no traceback, no number."""
    (desk.folder / "bad.json").write_text(json.dumps([{**vars(HE), "colour": "red"}, vars(SHE)]))
    for words, why in (
        (("sell", "pass_for_two", "--holders", "bad.json"), "has not the members"),
        (("sell", "pass_for_two", "--holders", "absent.json"), "cannot be read"),
        (("sell", "pass_for_tow"), "Did you mean pass_for_two"),
        (("truth", "0" * 32), "as it was given out"),
        (("sell", "pass_for_two"), "pass_for_two is for 2 by name; 0 were given"),
        (("answers", "7"), "There is no notice"),
        (("answer", "0" * 32, "1", "--accept", "--decline"), "one of the two"),
        (("answer", "0" * 32, "1"), "one of the two"),
        (("end", "card_iris", "--note", "x"), "There is no way in"),
        (("publish", "--way", "card_face"), "open to everyone is missing"),
        (("gate", "show", "--dir", "nowhere"), "is not a gate"),
    ):
        said = desk.run(*words, code=2)
        assert why in " ".join(said.split())
        assert "Traceback" not in said
        assert HE.id_number not in said


def test_after_a_restore_it_is_said_what_is_missing(desk: Desk, sold: dict[str, Any]) -> None:
    """``restore`` says what ended again and what is gone, ``missing`` and ``serve`` say it until it is mended."""

    def duecare(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "duecare", *words],
            cwd=desk.folder, env={**desk.environment, "COLUMNS": "200"}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    duecare("backup", "monday")
    assert desk.run("missing") == []
    desk.run("lost", sold["cards"][0]["subject"])
    later = desk.run("sell", "pass_for_two", "--holders", "holders.json")
    for path in (desk.folder / "home").iterdir():
        if path.name not in ("keys", "log", "home.id"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = duecare("restore", "monday")
    assert "Done again from the log: card:lose 1" in said
    assert re.search(rf"pass +{later['pass_id']} +2 +{later['last']}", said)
    gone = [{"what": "pass", "name": later["pass_id"], "count": 2, "until": later["last"]}]
    assert desk.run("missing", code=1) == gone
    assert later["pass_id"] in desk.shown("missing")
    with desk.serving() as served:
        assert served["missing"] == 2
        assert httpx.get(f"{served['url']}/v1/openapi.json").status_code == 200
