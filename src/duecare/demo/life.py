"""What a company of the demo is born with, and what happens to it afterwards, entry by entry.

The rule of this module: everything that happens changes the company's page, and is decided by the happening's own
number, so that a state can be worked out for any day without the days before it having been asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from duecare.demo import words
from duecare.registers.adapters.national_register import HEADINGS

Entry = Mapping[str, str | None]
Sections = dict[str, list[Entry]]


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens to one company on ``day``; ``number`` decides the particulars."""

    day: date
    kind: str
    number: int


def born(basic: Entry, random: Random, shape: str) -> Sections:
    """What the register says of a company before the first day. ``shape``: ``plain``, ``standing_liquidation`` (undated
    members from long ago) or ``trading_on`` (three of them, and annual reports of which one, long ago, says 清算)."""
    sections: Sections = {name: [] for name in HEADINGS}
    sections["basic"].append(dict(basic))
    founded = date.fromisoformat(basic["established_on"] or "")
    capital = int((basic["registered_capital"] or "0").removesuffix("万人民币"))
    _bear_people(sections, basic, random, founded, capital)
    _bear_reports(sections, basic, random, founded, capital, shape)
    _bear_events(sections, basic, random, founded)
    if shape != "plain":
        count = 2 if shape == "trading_on" else 1 + int(random.random() * 2)
        sections["liquidation"] = [
            {"name": name, "role": "负责人" if place == 0 else "成员"}
            for place, name in enumerate(_people(random, count + 1))
        ]
    return sections


def _bear_people(sections: Sections, basic: Entry, random: Random, founded: date, capital: int) -> None:
    holders = [basic["legal_representative"] or "", *_people(random, int(random.random() * 3))]
    left = capital
    for place, name in enumerate(holders):
        share = left if place == len(holders) - 1 else max(1, left // 2)
        left -= share
        paid = share if random.random() < 0.6 else share // 2
        sections["shareholders"].append(
            {
                "name": name, "kind": "自然人股东", "subscribed": f"{share}万元", "paid_in": f"{paid}万元",
                "method": "货币", "date": (founded + timedelta(days=30 * place)).isoformat(),
            }
        )  # fmt: skip
    posts = ["执行董事兼总经理", "监事"] if len(holders) < 3 else list(words.POSTS)
    people = [basic["legal_representative"] or "", *_people(random, len(posts) - 1)]
    sections["personnel"] = [{"name": name, "post": post} for name, post in zip(people, posts, strict=True)]


def _bear_reports(sections: Sections, basic: Entry, random: Random, founded: date, capital: int, shape: str) -> None:
    last = 2025 if basic["status"] == words.TRADING else 2019
    if shape == "trading_on":
        founded = max(founded, date(2013, 8, 5))
    first = founded.year if shape == "trading_on" else max(founded.year, last - 3)
    phone = f"0{int(random.random() * 900) + 100}-{int(random.random() * 8_000_000) + 1_000_000}"
    # The 2025 report of the company of case 1 comes in during the thirty days.
    for year in range(first, last if shape == "trading_on" else last + 1):
        sections["annual_reports"].append(
            {
                "year": str(year), "state": "清算" if shape == "trading_on" and year == 2014 else "开业",
                "phone": phone, "address": basic["address"], "capital": f"{capital}万元",
                "date": date(year + 1, 1 + int(random.random() * 6), 1 + int(random.random() * 28)).isoformat(),
            }
        )  # fmt: skip


def _bear_events(sections: Sections, basic: Entry, random: Random, founded: date) -> None:
    span = max(30, date(2026, 6, 1).toordinal() - founded.toordinal())

    def some_day() -> date:
        return founded + timedelta(days=int(random.random() * span))

    for _ in range(int(random.random() * 4)):
        day = some_day()
        sections["changes"].append(
            {
                "item": "住所变更", "before": f"{(basic['address'] or '')[:6]}{random.choice(words.ROADS)}",
                "after": basic["address"], "date": day.isoformat(),
            }
        )  # fmt: skip
    if random.random() < 0.15:
        district = (basic["authority"] or "").removesuffix("市场监督管理局")
        sections["branches"].append(
            {"name": f"{(basic['name'] or '')}{district[-3:]}分公司", "code": None, "authority": basic["authority"]}
        )
    if random.random() < 0.06:
        kind, amount = random.choice(words.PENALTIES)
        sections["penalties"].append(_penalty(basic, random, some_day(), kind, amount))
    if random.random() < 0.05:
        listed = some_day()
        removed = listed + timedelta(days=60) if random.random() < 0.5 else None
        sections["abnormal_operation"].append(
            {
                "reason": random.choice(words.ABNORMAL_REASONS), "listed_on": listed.isoformat(),
                "listed_by": basic["authority"], "removed_on": removed.isoformat() if removed else None,
                "removed_by": basic["authority"] if removed else None,
            }
        )  # fmt: skip
    if basic["status"] == words.REVOKED:
        day = some_day()
        sections["serious_violation"].append(
            {"reason": "被列入经营异常名录届满3年仍未履行相关义务", "listed_on": day.isoformat(), "removed_on": None}
        )
    if random.random() < 0.03:
        sections["chattel_mortgages"].append(
            {
                "number": f"动抵{random.getrandbits(32):010d}", "date": some_day().isoformat(),
                "amount": f"{random.choice(words.CAPITALS)}万元", "state": "有效",
            }
        )  # fmt: skip
    if random.random() < 0.02:
        sections["equity_freezes"].append(
            {
                "person": basic["legal_representative"], "amount": f"{random.choice(words.CAPITALS)}万元",
                "court": f"{(basic['address'] or '')[:3]}中级人民法院",
                "document": f"执协字第{random.getrandbits(20)}号", "state": "股权冻结｜冻结",
            }
        )  # fmt: skip


def happen(sections: Sections, happening: Happening) -> None:
    """Let ``happening`` change what the register says."""
    _KINDS[happening.kind](sections, happening, Random(happening.number))


def _registered(sections: Sections, day: date, item: str, field: str, after: str) -> None:
    """A change of a basic fact, with the dated entry that the register keeps of it."""
    basic = sections["basic"][0]
    sections["changes"].append({"item": item, "before": basic[field], "after": after, "date": day.isoformat()})
    sections["basic"][0] = {**basic, field: after, "approved_on": day.isoformat()}


def _address(sections: Sections, happening: Happening, random: Random) -> None:
    basic = sections["basic"][0]
    district = (basic["authority"] or "").removesuffix("市场监督管理局")
    after = f"{district}{random.choice(words.ROADS)}{random.randint(901, 1999)}号{random.randint(1, 30)}层"
    _registered(sections, happening.day, "住所变更", "address", after)


def _legal_representative(sections: Sections, happening: Happening, random: Random) -> None:
    before = sections["basic"][0]["legal_representative"] or ""
    after = next(name for name in _people(random, 2) if name != before)
    _registered(sections, happening.day, "法定代表人变更", "legal_representative", after)
    first = sections["personnel"][0]
    sections["personnel"][0] = {**first, "name": after}


def _capital(sections: Sections, happening: Happening, random: Random) -> None:
    before = int((sections["basic"][0]["registered_capital"] or "0").removesuffix("万人民币"))
    after = before * random.choice((2, 3, 5))
    _registered(sections, happening.day, "注册资本变更", "registered_capital", f"{after}万人民币")
    first = sections["shareholders"][0]
    held = int((first["subscribed"] or "0").removesuffix("万元"))
    sections["shareholders"][0] = {**first, "subscribed": f"{held + after - before}万元"}


def _name(sections: Sections, happening: Happening, random: Random) -> None:
    before = sections["basic"][0]["name"] or ""
    brand = random.choice(words.BRAND_FIRST) + random.choice(words.BRAND_SECOND) + random.choice(words.BRAND_FIRST)
    _registered(sections, happening.day, "名称变更", "name", f"{before[:2]}{brand}{before[4:]}")


def _personnel(sections: Sections, happening: Happening, random: Random) -> None:
    last = sections["personnel"][-1]
    after = next(name for name in _people(random, 2) if name != last["name"])
    sections["personnel"][-1] = {**last, "name": after}
    sections["changes"].append(
        {"item": "高级管理人员备案", "before": last["name"], "after": after, "date": happening.day.isoformat()}
    )


def _transfer(sections: Sections, happening: Happening, random: Random) -> None:
    last = sections["shareholders"][-1]
    after = next(name for name in _people(random, 2) if name != last["name"])
    sections["shareholders"][-1] = {**last, "name": after, "date": happening.day.isoformat()}
    sections["changes"].append(
        {"item": "投资人变更", "before": last["name"], "after": after, "date": happening.day.isoformat()}
    )


def _annual_report(sections: Sections, happening: Happening, random: Random) -> None:
    """The report of 2025 comes in late, or is filed anew with another telephone number."""
    reports, basic = sections["annual_reports"], sections["basic"][0]
    filed = {
        "year": "2025", "state": "开业", "phone": f"0571-{random.randint(80_000_000, 89_999_999)}",
        "address": basic["address"], "capital": (basic["registered_capital"] or "").replace("人民币", "元"),
        "date": happening.day.isoformat(),
    }  # fmt: skip
    sections["annual_reports"] = [report for report in reports if report["year"] != "2025"] + [filed]


def _penalised(sections: Sections, happening: Happening, random: Random) -> None:
    kind, amount = random.choice(words.PENALTIES)
    sections["penalties"].append(_penalty(sections["basic"][0], random, happening.day, kind, amount))


def _penalty(basic: Entry, random: Random, day: date, kind: str, amount: str | None) -> Entry:
    city = (basic["address"] or "")[:2]
    return {
        "document": f"{city}市监罚处〔{day.year}〕{random.getrandbits(24)}号", "kind": kind, "amount": amount,
        "authority": basic["authority"], "date": day.isoformat(),
    }  # fmt: skip


def _listed(sections: Sections, happening: Happening, random: Random) -> None:
    sections["abnormal_operation"].append(
        {
            "reason": random.choice(words.ABNORMAL_REASONS), "listed_on": happening.day.isoformat(),
            "listed_by": sections["basic"][0]["authority"], "removed_on": None, "removed_by": None,
        }
    )  # fmt: skip


def _delisted(sections: Sections, happening: Happening, random: Random) -> None:
    """Taken off the list of abnormal operation; a company that is not on it is put on, so that something happens."""
    entries = sections["abnormal_operation"]
    standing = [place for place, entry in enumerate(entries) if entry["removed_on"] is None]
    if not standing:
        _listed(sections, happening, random)
        return
    off: Entry = {"removed_on": happening.day.isoformat(), "removed_by": sections["basic"][0]["authority"]}
    entries[standing[0]] = {**entries[standing[0]], **off}


def _gone(sections: Sections, happening: Happening, random: Random) -> None:
    began = happening.day - timedelta(days=random.randint(25, 45))
    sections["simple_cancellation"].append(
        {
            "period": f"{began.isoformat()}至{(began + timedelta(days=20)).isoformat()}", "result": "准予简易注销",
            "date": began.isoformat(),
        }
    )  # fmt: skip
    sections["basic"][0] = {
        **sections["basic"][0], "status": words.GONE, "approved_on": happening.day.isoformat()
    }  # fmt: skip


def _licence(sections: Sections, happening: Happening, random: Random) -> None:
    sections["licences"].append(
        {
            "number": f"许可{random.getrandbits(32):010d}", "scope": sections["basic"][0]["scope"],
            "from": happening.day.isoformat(), "to": happening.day.replace(year=happening.day.year + 5).isoformat(),
            "authority": sections["basic"][0]["authority"],
        }
    )  # fmt: skip


def _spot_check(sections: Sections, happening: Happening, random: Random) -> None:
    sections["spot_checks"].append(
        {
            "authority": sections["basic"][0]["authority"], "kind": "双随机抽查", "date": happening.day.isoformat(),
            "result": random.choice(("未发现问题", "未发现问题", "发现问题已责令改正")),
        }
    )  # fmt: skip


def _pledge(sections: Sections, happening: Happening, random: Random) -> None:
    sections["equity_pledges"].append(
        {
            "number": f"质{random.getrandbits(32):010d}", "pledgor": sections["shareholders"][0]["name"],
            "pledgee": _people(random, 1)[0], "amount": sections["shareholders"][0]["subscribed"],
            "date": happening.day.isoformat(), "state": "有效",
        }
    )  # fmt: skip


def _liquidation(sections: Sections, happening: Happening, random: Random) -> None:
    """A real winding-up: the status turns, the team is filed, and the register dates the filing."""
    basic, team = sections["basic"][0], _people(random, 3)
    sections["liquidation"] = [
        {"name": name, "role": "负责人" if place == 0 else "成员"} for place, name in enumerate(team)
    ]
    sections["changes"].append(
        {"item": "清算组备案", "before": None, "after": "、".join(team), "date": happening.day.isoformat()}
    )
    sections["basic"][0] = {**basic, "status": words.WINDING_UP, "approved_on": happening.day.isoformat()}


_KINDS: dict[str, Callable[[Sections, Happening, Random], None]] = {
    "address": _address, "legal_representative": _legal_representative, "capital": _capital, "name": _name,
    "personnel": _personnel, "transfer": _transfer, "annual_report": _annual_report, "penalty": _penalised,
    "listed": _listed, "delisted": _delisted, "gone": _gone, "licence": _licence, "spot_check": _spot_check,
    "pledge": _pledge, "liquidation": _liquidation,
}  # fmt: skip


def _people(random: Random, count: int) -> list[str]:
    """Different common names."""
    names: dict[str, None] = {}
    while len(names) < count:
        second = random.choice(words.GIVEN_NAMES) if random.random() < 0.6 else ""
        names[random.choice(words.SURNAMES) + random.choice(words.GIVEN_NAMES) + second] = None
    return list(names)
