"""The catalogue of what a register says of a company: its sections, their fields, words and weight.

The rule of this module: *sensitive* is declared here and nowhere else. Case 1 turned on it: a liquidation notice is not
an address change, and must be checked before anyone is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """Where a change is counted in a digest."""

    REGISTRATION = "registration"
    LITIGATION = "litigation"
    RISK = "risk"
    OPERATION = "operation"


class RiskLevel(StrEnum):
    """How a change is marked for a reader, mildest first."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    HIGH = "high"


CATEGORY_WORDS: dict[Category, tuple[str, str]] = {
    Category.REGISTRATION: ("工商变更", "business registration"),
    Category.LITIGATION: ("司法诉讼", "litigation"),
    Category.RISK: ("经营风险", "operating risk"),
    Category.OPERATION: ("经营状况", "operating status"),
}
RISK_WORDS: dict[RiskLevel, tuple[str, str]] = {
    RiskLevel.GOOD: ("利好", "good news"),
    RiskLevel.NOTE: ("提示信息", "note"),
    RiskLevel.WARNING: ("警示信息", "warning"),
    RiskLevel.HIGH: ("高风险", "high risk"),
}


@dataclass(frozen=True)
class Section:
    """A part of what a source says of an entity.

    ``fields`` are all text and make up a fact's value, in this order. ``date_field`` names the one that gives the
    register's own date (``effective_on``). ``keyed`` is false where an entity has one row only (its key is ``""``).
    ``sensitive`` makes every change of the section sensitive; ``sensitive_words`` (fields, words) makes one so
    when one of the fields takes a value containing one of the words.
    """

    name: str
    zh: str
    en: str
    fields: tuple[str, ...]
    category: Category = Category.REGISTRATION
    risk: RiskLevel = RiskLevel.NOTE
    keyed: bool = True
    date_field: str | None = None
    sensitive: bool = False
    sensitive_words: tuple[tuple[str, ...], tuple[str, ...]] | None = None


CLOSING_WORDS = ("清算", "吊销", "注销", "撤销", "歇业", "停业", "破产", "解散")
"""Words that say a company is, or will be, no more. A status or a registered change that takes one is as grave as the
section of its own: the liquidation of case 1, told as a mere change of status, would have done the same harm."""

_R, _L, _K, _O = Category.REGISTRATION, Category.LITIGATION, Category.RISK, Category.OPERATION
_W, _H = RiskLevel.WARNING, RiskLevel.HIGH

_MAINLAND = (
    Section(
        "basic",
        "基本信息",
        "basic facts",
        (
            "name",
            "code",
            "type",
            "legal_representative",
            "registered_capital",
            "established_on",
            "term_from",
            "term_to",
            "authority",
            "approved_on",
            "address",
            "scope",
            "status",
        ),
        keyed=False,
        sensitive_words=(("status",), CLOSING_WORDS),
    ),
    Section(
        "shareholders",
        "股东及出资信息",
        "shareholders and capital",
        ("name", "kind", "subscribed", "paid_in", "method", "date"),
    ),
    Section("personnel", "主要人员", "key personnel", ("name", "post")),
    Section(
        "changes",
        "变更信息",
        "registered changes",
        ("item", "before", "after", "date"),
        date_field="date",
        sensitive_words=(("item", "after"), CLOSING_WORDS),
    ),
    Section("branches", "分支机构", "branches", ("name", "code", "authority")),
    Section("liquidation", "清算信息", "liquidation", ("name", "role"), _K, _W, sensitive=True),
    Section(
        "simple_cancellation",
        "简易注销公告",
        "simplified cancellation",
        ("period", "result", "date"),
        _K,
        _W,
        date_field="date",
        sensitive=True,
    ),
    Section(
        "annual_reports",
        "企业年报",
        "annual reports",
        ("year", "state", "phone", "address", "capital", "date"),
        _O,
        date_field="date",
        sensitive_words=(("state",), CLOSING_WORDS),
    ),
    Section(
        "licences",
        "行政许可",
        "licences",
        ("number", "scope", "from", "to", "authority"),
        _O,
        date_field="from",
    ),
    Section(
        "penalties",
        "行政处罚",
        "penalties",
        ("document", "kind", "amount", "authority", "date"),
        _K,
        _W,
        date_field="date",
        sensitive=True,
    ),
    Section(
        "abnormal_operation",
        "经营异常名录",
        "abnormal operation list",
        ("reason", "listed_on", "listed_by", "removed_on", "removed_by"),
        _K,
        _W,
        date_field="listed_on",
        sensitive=True,
    ),
    Section(
        "serious_violation",
        "严重违法失信名单",
        "serious violation list",
        ("reason", "listed_on", "removed_on"),
        _K,
        _H,
        date_field="listed_on",
        sensitive=True,
    ),
    Section(
        "spot_checks",
        "抽查检查结果",
        "spot checks",
        ("authority", "kind", "date", "result"),
        _O,
        date_field="date",
    ),
    Section(
        "equity_pledges",
        "股权出质",
        "equity pledges",
        ("number", "pledgor", "pledgee", "amount", "date", "state"),
        _K,
        date_field="date",
    ),
    Section(
        "chattel_mortgages",
        "动产抵押",
        "chattel mortgages",
        ("number", "date", "amount", "state"),
        _K,
        date_field="date",
    ),
    Section(
        "equity_freezes",
        "司法协助",
        "equity freezes",
        ("person", "amount", "court", "document", "state"),
        _L,
        _W,
        sensitive=True,
    ),
    Section(
        "judgments",
        "裁判文书",
        "judgments",
        ("case_number", "court", "cause", "role", "date"),
        _L,
        date_field="date",
    ),
    Section("hearings", "开庭公告", "hearings", ("case_number", "court", "date", "parties"), _L, date_field="date"),
    Section(
        "enforcement",
        "被执行人",
        "enforcement",
        ("case_number", "amount", "court", "date"),
        _L,
        _H,
        date_field="date",
        sensitive=True,
    ),
    Section(
        "dishonest_debtors",
        "失信被执行人",
        "dishonest debtors",
        ("case_number", "duty", "performance", "published_on"),
        _L,
        _H,
        date_field="published_on",
        sensitive=True,
    ),
    Section(
        "bankruptcy",
        "破产重整",
        "bankruptcy",
        ("case_number", "applicant", "court", "date"),
        _L,
        _H,
        date_field="date",
        sensitive=True,
    ),
    Section("trademarks", "商标", "trademarks", ("number", "name", "class", "date", "state"), _O, date_field="date"),
    Section("patents", "专利", "patents", ("number", "name", "class", "date", "state"), _O, date_field="date"),
    Section("copyrights", "著作权", "copyrights", ("number", "name", "class", "date", "state"), _O, date_field="date"),
    Section(
        "news",
        "自身动态",
        "news",
        ("title", "publisher", "published_at", "link", "excerpt"),
        _O,
        date_field="published_at",
    ),
)

CATALOGUE: dict[str, Section] = {section.name: section for section in _MAINLAND}
"""The sections of the mainland register and the courts (GLOSSARY), by name."""
