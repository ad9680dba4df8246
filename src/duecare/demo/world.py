"""A world to run on: made-up companies on a made-up register, and thirty days of what happens to them.

The rule of this module: the same seed and size give the same world, byte for byte, on any machine and in any process;
what a page says on a day depends on nothing else.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Final

from duecare.demo import words
from duecare.demo.life import Happening, born, happen
from duecare.errors import BadInput, UnknownName

Entry = Mapping[str, str | None]
State = Mapping[str, Sequence[Entry]]
"""What the register says of one company: section → entries, sections without any included."""

START: Final = date(2026, 10, 1)
DAYS: Final = 30

OPEN_DATA_COLUMNS: Final = {
    "统一社会信用代码": "code", "企业名称": "name", "企业类型": "type", "法定代表人": "legal_representative",
    "注册资本": "registered_capital", "成立日期": "established_on", "登记机关": "authority", "住所": "address",
    "经营范围": "scope", "登记状态": "status",
}  # fmt: skip
"""Columns of the open data file and the fields of ``basic`` they hold."""

_RATES = {
    "address": 6e-4, "legal_representative": 5e-4, "capital": 4e-4, "name": 1e-4, "personnel": 4e-4, "transfer": 3e-4,
    "annual_report": 6e-4, "penalty": 2e-4, "listed": 3e-4, "delisted": 1.5e-4, "gone": 1.5e-4, "licence": 2e-4,
    "spot_check": 2e-4, "pledge": 1e-4,
}  # fmt: skip
"""How many of the companies something happens to on one day, as a share."""

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_PLACE = {character: place for place, character in enumerate(_ALPHABET)}
_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
_BODY_WEIGHTS = (3, 7, 9, 10, 5, 8, 4, 2)


@dataclass(frozen=True, slots=True)
class Company:
    """A company as it was before the first day. ``basic`` has the fields of the section of that name."""

    number: int
    code: str
    basic: Entry

    @property
    def name(self) -> str:
        """The name it was registered under."""
        return self.basic["name"] or ""


class World:
    """``size`` companies and what happens to them on ``DAYS`` days from ``first_day``. Days are calendar dates.

    ``cast`` names the companies that the demo tells about: ``liquidating`` really goes into liquidation, on
    ``liquidation_day``, with a dated entry; ``trading_on`` has three undated liquidation members who have stood there
    for years while it trades (the facts of case 1). ``watched`` are the codes that members watch; both are among them.
    """

    def __init__(self, seed: int = 20190501, size: int = 20_000, first_day: date = START) -> None:
        if size < 20:
            raise BadInput(f"A world of {size} companies is too small.", hint="Give a size of 20 or more.")
        self.seed, self.size = seed, size
        self.first_day, self.last_day = first_day, first_day + timedelta(days=DAYS - 1)
        self.companies: tuple[Company, ...] = tuple(_companies(Random(seed), size))
        self._by_code = {company.code: company for company in self.companies}
        trading = [company.code for company in self.companies if company.basic["status"] == words.TRADING]
        picks = Random(seed + 1).sample(trading, max(4, min(len(trading), size // 50)))
        old = [code for code in picks[1:] if (self._by_code[code].basic["established_on"] or "") < "2013"]
        self.cast: Mapping[str, str] = {"liquidating": picks[0], "trading_on": (old or picks[1:])[0]}
        self.watched: tuple[str, ...] = tuple(sorted(picks))
        self.liquidation_day = first_day + timedelta(days=21)
        self._happenings = self._live(trading)

    def __reduce__(self) -> tuple[type[World], tuple[int, int, date]]:
        # Another process makes the same world from three values faster than it could read it.
        return World, (self.seed, self.size, self.first_day)

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of all companies."""
        return tuple(self._by_code)

    @cached_property
    def standing_liquidations(self) -> tuple[str, ...]:
        """Codes of trading companies whose undated liquidation members stood there before the first day."""
        return tuple(
            company.code
            for company in self.companies
            if company.basic["status"] == words.TRADING and self._born(company)["liquidation"]
        )

    def company(self, code: str) -> Company:
        """The company with this code. Raises ``UnknownName``."""
        try:
            return self._by_code[code]
        except KeyError:
            raise UnknownName("company", code, list(self._by_code)[:100]) from None

    def state(self, code: str, day: date) -> State:
        """What the register says of a company at the end of ``day``. Raises ``UnknownName``."""
        state = self._born(self.company(code))
        for happening in self._happenings.get(code, ()):
            if happening.day > day:
                break
            happen(state, happening)
        return state

    def changed_on(self, code: str, day: date) -> date | None:
        """The last day until ``day`` on which the company's page changed; ``None`` where it has not since the start."""
        days = [happening.day for happening in self._happenings.get(code, ()) if happening.day <= day]
        return days[-1] if days else None

    def happenings(self, code: str) -> tuple[Happening, ...]:
        """What happens to a company, in order."""
        return tuple(self._happenings.get(code, ()))

    def updated(self, day: date) -> tuple[str, ...]:
        """Codes of the companies whose page on ``day`` differs from that of the day before, in order of code."""
        return self._by_day.get(day, ())

    @cached_property
    def _by_day(self) -> dict[date, tuple[str, ...]]:
        days: dict[date, set[str]] = defaultdict(set)
        for code, happenings in self._happenings.items():
            for happening in happenings:
                days[happening.day].add(code)
        return {day: tuple(sorted(codes)) for day, codes in days.items()}

    def bulk_csv(self, day: date, folder: Path) -> Path:
        """Write the open data file of ``day`` (basic facts of all companies; UTF-8, a head line) into ``folder``."""
        path = folder / f"companies-{day.isoformat()}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(OPEN_DATA_COLUMNS)
            fields = tuple(OPEN_DATA_COLUMNS.values())
            for company in self.companies:
                changed = self.changed_on(company.code, day)
                basic = company.basic if changed is None else self.state(company.code, day)["basic"][0]
                writer.writerow([basic[field] or "" for field in fields])
        return path

    def _born(self, company: Company) -> dict[str, list[Entry]]:
        shape = "trading_on" if company.code == self.cast["trading_on"] else ""
        return born(company.basic, Random((self.seed << 24) + company.number), shape or self._shape(company))

    def _shape(self, company: Company) -> str:
        # One company in forty has liquidation members from long ago, which is what a parser that is mended finds.
        if company.code != self.cast["liquidating"] and company.number % 40 == 7:
            return "standing_liquidation"
        return "plain"

    def _live(self, trading: list[str]) -> dict[str, list[Happening]]:
        """What happens to whom; at most one thing a day to a company, and nothing after it is gone."""
        random = Random(self.seed + 2)
        lives: dict[str, list[Happening]] = defaultdict(list)
        told = set(self.cast.values())
        gone: set[str] = set()
        for number in range(DAYS):
            day, busy = self.first_day + timedelta(days=number), set(told)
            for kind, rate in _RATES.items():
                for _ in range(_count(random, rate * self.size)):
                    code = random.choice(trading)
                    if code in busy or code in gone:
                        continue
                    busy.add(code)
                    if kind == "gone":
                        gone.add(code)
                    lives[code].append(Happening(day, kind, random.getrandbits(32)))
        lives[self.cast["liquidating"]].append(Happening(self.liquidation_day, "liquidation", random.getrandbits(32)))
        # The company of case 1 is no dead shell: it goes on with its business during the thirty days.
        lives[self.cast["trading_on"]].append(Happening(self.first_day + timedelta(days=9), "annual_report", 1))
        return dict(lives)


def _count(random: Random, expected: float) -> int:
    whole = int(expected)
    spread = whole // 5
    return max(0, whole + (random.randint(-spread, spread) if spread else 0) + (random.random() < expected - whole))


def _companies(random: Random, size: int) -> list[Company]:
    names: set[str] = set()
    bodies: set[int] = set()
    companies: list[Company] = []
    while len(companies) < size:
        region, city, districts = words.CITIES[int(random.random() * len(words.CITIES))]
        trade, scope = words.TRADES[int(random.random() * len(words.TRADES))]
        brand = random.choice(words.BRAND_FIRST) + random.choice(words.BRAND_SECOND)
        name, body = f"{city}{brand}{trade}有限公司", random.getrandbits(38)
        if name in names or body in bodies:
            name = f"{city}{brand}{random.choice(words.BRAND_FIRST)}{trade}有限公司"
            if name in names or body in bodies:
                continue
        names.add(name)
        bodies.add(body)
        district = random.choice(districts)
        founded = date.fromordinal(int(date(1996, 1, 1).toordinal() + random.random() * 10_500))
        fate = random.random()
        code = uscc(region, body)
        basic: Entry = {
            "name": name,
            "code": code,
            "type": random.choice(words.TYPES),
            "legal_representative": person(random),
            "registered_capital": f"{random.choice(words.CAPITALS)}万人民币",
            "established_on": founded.isoformat(),
            "term_from": founded.isoformat(),
            "term_to": founded.replace(year=founded.year + 30, day=1).isoformat() if random.random() < 0.4 else "长期",
            "authority": f"{city}市{district}市场监督管理局",
            "approved_on": (founded + timedelta(days=int(random.random() * 700))).isoformat(),
            "address": f"{city}市{district}{random.choice(words.ROADS)}{int(random.random() * 900) + 1}号",
            "scope": scope,
            "status": words.TRADING if fate > 0.08 else words.REVOKED if fate > 0.05 else words.GONE,
        }
        companies.append(Company(len(companies), code, basic))
    return companies


def person(random: Random) -> str:
    """A name as common as they come; any likeness is chance."""
    given = random.choice(words.GIVEN_NAMES)
    return random.choice(words.SURNAMES) + given + (random.choice(words.GIVEN_NAMES) if random.random() < 0.6 else "")


def uscc(region: str, body: int) -> str:
    """A unified social credit code (GB 32100-2015) for a company of ``region`` (six digits), from a number below 31**8.

    Its ninth-to-last part is an organisation code with the check character of GB 11714.
    """
    letters = []
    for _ in range(8):
        body, place = divmod(body, 31)
        letters.append(_ALPHABET[place])
    rest = 11 - sum(_ORGANISATION[letter] * weight for letter, weight in zip(letters, _BODY_WEIGHTS, strict=True)) % 11
    code = f"91{region}{''.join(letters)}{'0' if rest == 11 else 'X' if rest == 10 else rest}"
    total = sum(_PLACE[character] * weight for character, weight in zip(code, _WEIGHTS, strict=True))
    return code + _ALPHABET[-total % 31]


_ORGANISATION = {c: int(c, 36) for c in _ALPHABET}
