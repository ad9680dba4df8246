"""The judgment's world: the company, the thousands caught in the same wave, and one that really was liquidated.

The rule of this module: every figure comes from ``facts.toml``.
"""

from __future__ import annotations

import tomllib
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from stdnum.cn import uscc

from duecare.cases.court import State
from duecare.registers.adapters.national_register import HEADINGS


def facts() -> dict[str, Any]:
    """The judgment's figures."""
    return tomllib.loads(files(__package__).joinpath("facts.toml").read_text(encoding="utf-8"))


class JudgmentRegister:
    """The national register as it stood: liquidation members undated, on the page for years."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said
        self.first_day: date = said["snapshots"]["oldest"]
        self.subject: str = said["company"]["code"]
        self.genuine = _code(900_000)
        size = len(said["company"]["members"])
        # The company is the first of those whose rows went out on the first day.
        self.first = self._wave(said["push"]["first_rows"] - size, 1)
        self.second = self._wave(said["push"]["second_rows"], 100_001)
        self.first[self.subject] = size

    @property
    def codes(self) -> list[str]:
        """Everybody: the wave of both days and the one that really was liquidated."""
        return [*self.first, *self.second, self.genuine]

    def state(self, code: str, day: date) -> State:
        """What the register says of a company at the end of ``day``."""
        company = self.said["company"]
        state: dict[str, list[dict[str, str | None]]] = {name: [] for name in HEADINGS}
        genuine = self.said["genuine"]
        gone = code == self.genuine and day >= genuine["liquidated_on"]
        name = {self.subject: company["name"], self.genuine: genuine["name"]}.get(code, f"某某{code[8:15]}有限公司")
        state["basic"] = [
            {
                "name": name,
                "code": code,
                "type": "有限责任公司",
                "legal_representative": "某某",
                "registered_capital": "1000万人民币",
                "established_on": company["established_on"].isoformat(),
                "authority": "市场监督管理局",
                "address": "某市某区某路1号",
                "scope": "依法须经批准的项目除外",
                "status": "清算" if gone else company["status"],
            }
        ]
        for year, said in company["reports"].items():
            in_winding_up = said if code in (self.subject, *self.first, *self.second) else "开业"
            report = {"year": str(year), "state": in_winding_up, "date": date(int(year) + 1, 6, 1).isoformat()}
            state["annual_reports"].append(report)
        if gone:
            when = genuine["liquidated_on"].isoformat()
            state["changes"] = [{"item": "清算组备案", "before": "无", "after": "成立清算组", "date": when}]
            state["liquidation"] = [{"role": role, "name": who} for role, who in genuine["members"]]
        elif code != self.genuine:
            rows = self.first.get(code) or self.second[code]
            state["liquidation"] = [{"role": role, "name": who} for role, who in company["members"][:rows]]
        return {
            section: [{**dict.fromkeys(HEADINGS[section]), **entry} for entry in entries]
            for section, entries in state.items()
        }

    def updated(self, day: date) -> list[str]:
        """The one page that changed."""
        return [self.genuine] if day == self.said["genuine"]["liquidated_on"] else []

    def bulk_csv(self, day: date, folder: Path) -> Path:
        """This register offers no file."""
        raise FileNotFoundError(f"no open data on {day}")

    def _wave(self, rows: int, first: int) -> dict[str, int]:
        """Companies with three rows each, the last with what is left: code → rows."""
        size = len(self.said["company"]["members"])
        sizes = [size] * (rows // size) + ([rows % size] if rows % size else [])
        return {_code(first + place): number for place, number in enumerate(sizes)}


def _code(number: int) -> str:
    """A unified social credit code with a valid check character."""
    body = f"91500000{number:09d}"
    return body + str(uscc.calc_check_digit(body))
