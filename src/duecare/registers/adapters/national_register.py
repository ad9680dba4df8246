"""The national credit register (国家企业信用信息公示系统): the public report page about one company.

The page is a row of headed panels. A panel holds a table, or the sentence "暂无…信息", which says that the register has
nothing under that head. A panel that is not on the page was not read.

The rule of this module: a section is either read whole or called unreadable with the reason; nothing is guessed. A
table whose headings we no longer know, a date in no known form or a page cut short yields no rows at all, because rows
that are missing would look like facts that ended.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from lxml import etree

from duecare.errors import BadInput, SourceUnavailable
from duecare.identifiers import Kind
from duecare.registers.adapter import Page, PageRead, Row, composite
from duecare.registers.sections import CATALOGUE, Section
from duecare.registers.sources import RatePolicy, Source

HEADINGS: dict[str, dict[str, str]] = {
    "basic": {
        "name": "企业名称", "code": "统一社会信用代码", "type": "类型", "legal_representative": "法定代表人",
        "registered_capital": "注册资本", "established_on": "成立日期", "term_from": "营业期限自",
        "term_to": "营业期限至", "authority": "登记机关", "approved_on": "核准日期", "address": "住所",
        "scope": "经营范围", "status": "登记状态",
    },
    "shareholders": {
        "name": "股东名称", "kind": "股东类型", "subscribed": "认缴出资额", "paid_in": "实缴出资额",
        "method": "出资方式", "date": "出资日期",
    },
    "personnel": {"name": "姓名", "post": "职务"},
    "changes": {"item": "变更事项", "before": "变更前内容", "after": "变更后内容", "date": "变更日期"},
    "branches": {"name": "名称", "code": "统一社会信用代码/注册号", "authority": "登记机关"},
    "liquidation": {"负责人": "清算组负责人", "成员": "清算组成员"},
    "simple_cancellation": {"period": "公告期", "result": "简易注销结果", "date": "公告申请日期"},
    "annual_reports": {
        "year": "报送年度", "state": "企业经营状态", "phone": "企业联系电话", "address": "企业通信地址",
        "capital": "认缴出资总额", "date": "发布日期",
    },
    "licences": {
        "number": "许可文件编号", "scope": "许可内容", "from": "有效期自", "to": "有效期至", "authority": "许可机关",
    },
    "penalties": {
        "document": "决定书文号", "kind": "处罚种类", "amount": "罚款金额", "authority": "处罚决定机关",
        "date": "处罚决定日期",
    },
    "abnormal_operation": {
        "reason": "列入经营异常名录原因", "listed_on": "列入日期", "listed_by": "作出决定机关（列入）",
        "removed_on": "移出日期", "removed_by": "作出决定机关（移出）",
    },
    "serious_violation": {"reason": "列入原因", "listed_on": "列入日期", "removed_on": "移出日期"},
    "spot_checks": {"authority": "检查实施机关", "kind": "检查类型", "date": "检查日期", "result": "检查结果"},
    "equity_pledges": {
        "number": "登记编号", "pledgor": "出质人", "pledgee": "质权人", "amount": "出质股权数额",
        "date": "设立登记日期", "state": "状态",
    },
    "chattel_mortgages": {"number": "登记编号", "date": "登记日期", "amount": "被担保债权数额", "state": "状态"},
    "equity_freezes": {
        "person": "被执行人", "amount": "股权数额", "court": "执行法院", "document": "执行通知书文号",
        "state": "类型及状态",
    },
}  # fmt: skip
"""The words over the columns of each section's table on the page, by field (for ``liquidation``, by role)."""

_KEYS: dict[str, tuple[str, ...]] = {
    "shareholders": ("name",),
    "personnel": ("name", "post"),
    "changes": ("date", "item"),
    "branches": ("name",),
    "simple_cancellation": ("period",),
    "annual_reports": ("year",),
    "licences": ("number",),
    "penalties": ("document",),
    "abnormal_operation": ("listed_on", "reason"),
    "serious_violation": ("listed_on", "reason"),
    "spot_checks": ("date", "authority", "kind"),
    "equity_pledges": ("number",),
    "chattel_mortgages": ("number",),
    "equity_freezes": ("document", "person"),
}
_DATES = {
    "basic": ("established_on", "term_from", "term_to", "approved_on"),
    "shareholders": ("date",),
    "licences": ("from", "to"),
    "abnormal_operation": ("listed_on", "removed_on"),
    "serious_violation": ("listed_on", "removed_on"),
}
_DATE = re.compile(r"(\d{4})(?:年(\d{1,2})月(\d{1,2})日|([-/.])(\d{1,2})\4(\d{1,2}))")
_OPEN_ENDED = {"长期", "永久", "无固定期限"}
_NAMES = re.compile("[、，,；;]")
_NONE = "暂无"

SOURCE = Source(
    name="cn-national-register",
    title_zh="国家企业信用信息公示系统",
    title_en="National Enterprise Credit Information Publicity System",
    operator="国家市场监督管理总局",
    address="https://www.gsxt.gov.cn/",
    legal_basis="《企业信息公示暂行条例》第六条、第七条: 企业信息依法向社会公示, 任何人可免费查询",
    licence="public information; no charge (Provisional Regulations on Enterprise Information Disclosure)",
    fresh_for=timedelta(days=7),
    authoritative_for=tuple(HEADINGS),
    robots=True,
    rate=RatePolicy(requests=30, seconds=60.0, concurrent=1),
)


class _MarkupError(Exception):
    """A section whose markup says something this parser does not know."""


class NationalRegister:
    """The page adapter of the national register.

    ``version`` chooses the parser: "3" (the default) reads every section; "2", as it was before 30 April 2019, does not
    know the liquidation section at all (case 1). ``source`` may be replaced, for a site that allows a faster pace.
    """

    code = Kind.USCC
    VERSIONS: Mapping[str, frozenset[str]] = {"2": frozenset(HEADINGS) - {"liquidation"}, "3": frozenset(HEADINGS)}

    def __init__(self, version: str = "3", source: Source = SOURCE) -> None:
        if version not in self.VERSIONS:
            raise BadInput(
                f"The national register's parser has no version {version!r}.",
                hint=f"Known: {', '.join(self.VERSIONS)}.",
            )
        self.version = version
        self.source = source
        self.sections: tuple[Section, ...] = tuple(
            CATALOGUE[name] for name in HEADINGS if name in self.VERSIONS[version]
        )
        self._by_heading = {section.zh: section for section in self.sections}

    def address(self, site: str, entity: str) -> str:
        """The address of the report about the company with the code ``entity``."""
        return f"{site.rstrip('/')}/report/{quote(entity, safe='')}"

    def updated(self, get: Callable[[str], Page], site: str, since: date) -> tuple[str, ...]:
        """Codes whose page changed on ``since`` or later, in order, from the index that the site offers; ``get`` is
        ``Fetcher.get``. Raises ``SourceUnavailable`` where the index cannot be read, and what ``get`` raises."""
        codes: list[str] = []
        number = pages = 1
        while number <= pages:
            page = get(f"{site.rstrip('/')}/updates?since={since.isoformat()}&page={number}")
            try:
                index = json.loads(page.body)
                pages = int(index["pages"])
                codes += [str(code) for code in index["codes"]]
            except (ValueError, KeyError, TypeError):
                raise SourceUnavailable(f"{page.url} is not an index of updated pages.") from None
            number += 1
        return tuple(dict.fromkeys(codes))

    def read(self, page: Page) -> PageRead:
        """Read a report page. A page that is cut short, about another company, or no report at all yields every
        section unreadable, with the reason."""
        if page.status != 200:
            return self._nothing(page, f"the register answered {page.status}")
        if b"<html" not in page.body.lower():
            return self._nothing(page, "it is no HTML page")
        if not page.body.rstrip().endswith(b"</html>"):
            return self._nothing(page, f"the page is cut short after {len(page.body)} bytes")
        panels = self._panels(page.body)
        if not panels:
            return self._nothing(page, f"the page has none of the panels of a report{_encoded_otherwise(page.body)}")
        sections: dict[str, Sequence[Row]] = {}
        unreadable: dict[str, str] = {}
        for name, found in panels.items():
            try:
                if len(found) > 1:
                    raise _MarkupError(f"{len(found)} panels have its heading")
                sections[name] = _read_panel(name, found[0])
            except _MarkupError as reason:
                unreadable[name] = str(reason)
        about = next((row.value["code"] for row in sections.get("basic", ())), page.entity)
        if about != page.entity:
            return self._nothing(page, f"the page is about {(about or 'nobody')[:60]}")
        return PageRead(page.entity, sections, unreadable)

    def _panels(self, body: bytes) -> dict[str, list[Any]]:
        panels: dict[str, list[Any]] = {}
        try:
            root = etree.fromstring(body, etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True))
        except etree.LxmlError:
            return panels
        if root is None:
            return panels
        for heading in root.iter("h2"):
            section = self._by_heading.get(_text(heading) or "")
            if section is not None:
                panels.setdefault(section.name, []).append(heading.getparent())
        return panels

    def _nothing(self, page: Page, reason: str) -> PageRead:
        return PageRead(page.entity, {}, {section.name: reason for section in self.sections})


def _encoded_otherwise(body: bytes) -> str:
    """What to add of a page in which nothing was found, where its bytes are not what the register sends."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f": byte {error.start} is not UTF-8, in which the register writes"
    return ""


def _read_panel(name: str, panel: Any) -> list[Row]:
    table = next(panel.iter("table"), None)
    if table is None:
        sentences = [text for text in map(_text, panel.iter("p")) if text]
        if len(sentences) == 1 and sentences[0].startswith(_NONE):
            return []
        raise _MarkupError("the panel has neither a table nor the sentence 暂无…信息")
    reader = _DETAIL.get(name)
    return reader(table) if reader else _read_list(name, table)


def _read_list(name: str, table: Any) -> list[Row]:
    """A table with one entry a line, under a line of headings; the columns may stand in any order."""
    lines = table.iter("tr")
    headings = [_text(cell) for cell in next(lines, ())]
    columns = HEADINGS[name]
    missing = [heading for heading in columns.values() if headings.count(heading) != 1]
    if missing:
        raise _MarkupError(f"its table has no single column {'、'.join(missing)}; it has {_listed(headings)}")
    places = [(field, headings.index(heading)) for field, heading in columns.items()]
    dates = date_fields(name)
    values = []
    for line in lines:
        cells = [_text(cell) for cell in line]
        if len(cells) != len(headings):
            raise _MarkupError(f"a line has {len(cells)} cells under {len(headings)} headings")
        value = {field: cells[place] for field, place in places}
        for field in dates:
            value[field] = _day(value[field], columns[field])
        values.append(value)
    if not values:
        raise _MarkupError("its table has headings and no line, nor is there the sentence 暂无…信息")
    return _rows(name, values)


def _rows(name: str, values: list[dict[str, str | None]]) -> list[Row]:
    """Rows in one order whatever the page's, each with a key of its own.

    Entries that share a key (two shareholders of one name) are told apart by a number that follows the order of their
    values, so that a list shown in another order is no change.
    """
    columns, dated = _KEYS[name], CATALOGUE[name].date_field
    bases = [tuple(value[column] for column in columns) for value in values]
    if len(set(bases)) != len(bases):
        pairs = sorted(zip(bases, values, strict=True), key=lambda pair: [v or "" for v in pair[1].values()])
        bases, values = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    seen: Counter[tuple[str | None, ...]] = Counter()
    rows = []
    for base, value in zip(bases, values, strict=True):
        seen[base] += 1
        day = value[dated] if dated else None
        rows.append(Row(_key(base, seen[base]), value, date.fromisoformat(day) if day else None))
    rows.sort(key=lambda row: row.key)
    return rows


def _key(base: tuple[str | None, ...], occurrence: int) -> str:
    only = base[0]
    if occurrence == 1 and len(base) == 1 and only is not None and not only.startswith("["):
        return only
    return composite(*base, str(occurrence)) if occurrence > 1 else composite(*base)


def _read_basic(table: Any) -> list[Row]:
    found = dict(_pairs(table))
    columns = HEADINGS["basic"]
    missing = [heading for heading in columns.values() if heading not in found]
    if missing:
        raise _MarkupError(f"its table does not have {'、'.join(missing)}; it has {_listed(found)}")
    value = {field: found[heading] for field, heading in columns.items()}
    for field in date_fields("basic"):
        value[field] = _day(value[field], columns[field])
    return [Row("", value)]


def _read_liquidation(table: Any) -> list[Row]:
    """The head and the members of the liquidation team. The register gives no date, so neither do we (case 1)."""
    found = dict(_pairs(table))
    values = []
    for role, heading in HEADINGS["liquidation"].items():
        if heading not in found:
            raise _MarkupError(f"its table does not have {heading}; it has {_listed(found)}")
        names = {name for part in _NAMES.split(found[heading] or "") if (name := part.strip())}
        values += [(role, name) for name in names]
    return sorted(
        (Row(composite(role, name), {"name": name, "role": role}) for role, name in values), key=lambda row: row.key
    )


_DETAIL: dict[str, Callable[[Any], list[Row]]] = {"basic": _read_basic, "liquidation": _read_liquidation}


def _pairs(table: Any) -> Iterator[tuple[str, str | None]]:
    """Heading and value of a table that has them side by side."""
    for line in table.iter("tr"):
        heading = None
        for cell in line:
            if cell.tag == "th":
                heading = _text(cell)
            elif heading:
                yield heading, _text(cell)
                heading = None


def _text(element: Any) -> str | None:
    """The words in an element with single spaces between them; ``None`` where there are none."""
    text = element.text if len(element) == 0 else "".join(element.itertext())
    return (" ".join(text.split()) or None) if text else None


def date_fields(name: str) -> tuple[str, ...]:
    """The fields of a section that the page shows as dates."""
    if name in _DATES:
        return _DATES[name]
    dated = CATALOGUE[name].date_field
    return (dated,) if dated else ()


@lru_cache(maxsize=4096)
def _day(text: str | None, heading: str) -> str | None:
    """A date as 2013-08-05, from that or from 2013年08月05日."""
    if text is None or (text in _OPEN_ENDED and heading.endswith("至")):
        return text
    match = _DATE.fullmatch(text)
    try:
        if match:
            year, month, day, _, other_month, other_day = match.groups()
            return date(int(year), int(month or other_month), int(day or other_day)).isoformat()
    except ValueError:
        pass
    raise _MarkupError(f"{heading} is {text[:60]!r}, which is not a date such as 2013年08月05日")


def _listed(headings: Iterable[str | None]) -> str:
    return "、".join((heading or "(blank)")[:60] for heading in headings) or "nothing"
