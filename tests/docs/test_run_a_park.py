"""The how-to of the park: every command of the page runs, in order, with the centre and the gate as real processes."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .. import program

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-a-park.md"
_BLOCK = re.compile(r"^```(console|toml|json|text)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILES = {"toml": "home/settings.toml", "json": "holders.json", "text": "id.txt"}


class Reader:
    """Somebody who follows the page in ``folder``."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.words: dict[str, str] = {"8480": str(port)}
        self.centre: subprocess.Popen[str] | None = None
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DUECARE_")}
        self.environment = {**environment, "DUECARE_HOME": "home", "COLUMNS": "200"}

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def type(self, line: str) -> str:
        for placeholder, value in self.words.items():
            line = re.sub(rf"\b{placeholder}\b", value, line)
        name, *words = shlex.split(line.removesuffix("&"))
        assert name == "duecare"
        if line.endswith("&"):
            self.stop()
            command = [sys.executable, "-m", name, *words]
            self.centre = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
            )
            assert self.centre.stdout is not None
            return self.centre.stdout.readline()
        done = program.run(*words, cwd=self.folder, env=self.environment)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        if self.centre is not None and self.centre.poll() is None:
            self.centre.send_signal(signal.SIGINT)
            assert self.centre.wait(60) == 0
        self.centre = None


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_page_runs(tmp_path: Path, port: int) -> None:
    """Sold, enrolled, entered, cut off, in touch again, changed, ended and paid back, as a person would type it."""
    reader, said = Reader(tmp_path, port), list[tuple[str, str]]()
    text = PAGE.read_text(encoding="utf-8")
    try:
        for found in _BLOCK.finditer(text):
            language, body = found.groups()
            if "Stop the centre (Ctrl-C)" in text[: found.start()].rsplit("```", 1)[-1]:
                reader.stop()
            if language != "console":
                reader.write(_FILES[language], body)
                continue
            for line in body.splitlines():
                shown = reader.type(line.removeprefix("$ "))
                said.append((line, shown))
                if " sell " in line:
                    reader.words |= dict(zip(("PASS", "SUBJECT", "CARD"), _numbers(shown), strict=True))
                    reader.write("card.txt", reader.words["CARD"])
    finally:
        reader.stop()
    entered = [shown for line, shown in said if "gate enter" in line]
    assert ["开 open" in shown for shown in entered] == [True] * 4
    assert ["gate.on_the_list" in shown for shown in entered] == [False, False, True, False]
    shown = dict(said)
    assert "1 decision waits" in shown["$ duecare passes gate show --dir gate-east"]
    assert "已删除" in shown["$ duecare passes truth SUBJECT"]
    assert "for 364 of 365 days" in said[-1][1]


def _numbers(shown: str) -> list[str]:
    """The pass, the first holder and their card, as ``sell`` prints them."""
    return re.findall(r"\b[0-9a-f]{32}\b", shown)[:3]
