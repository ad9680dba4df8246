"""Contradictions: whether the authoritative page, read anew, bears out what a change claims.

A liquidation of a company that the register calls 存续, undated, with open annual reports after it, is not news but a
mistake or a relic: that was case 1, and one look at the free official page would have shown it.

The rule of this module: it looks only at what the page says. A section that was not read, or not understood, is neither
a confirmation nor a contradiction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from duecare.registers.adapter import PageRead, Row
from duecare.registers.sections import CLOSING_WORDS

OPEN_WORDS = ("存续", "在业", "开业", "正常", "在营", "在册")
_CLOSING_FIELDS = {"basic": ("status",), "annual_reports": ("state",), "changes": ("item", "after")}
CLOSING_SECTIONS = ("liquidation", "simple_cancellation", "bankruptcy")


@dataclass(frozen=True)
class Point:
    """One observation on the page that speaks for or against a claim, in Chinese and English."""

    id: str
    zh: str
    en: str


@dataclass(frozen=True)
class Claim:
    """What a change says. ``value`` holds the fields after it, none where the fact is no longer shown (a lapse)."""

    section: str
    key: str
    value: Mapping[str, str] | None
    effective_on: date | None

    @property
    def closing(self) -> bool:
        """Whether it says that the company is, or will be, no more."""
        if self.value is None:
            return False
        if self.section in CLOSING_SECTIONS:
            return True
        fields = _CLOSING_FIELDS.get(self.section, ())
        return any(_says(self.value.get(field), CLOSING_WORDS) for field in fields)


@dataclass(frozen=True)
class Finding:
    """``outcome``: verified, contradicted or unavailable; ``against`` and ``for_it`` are the points that decided."""

    outcome: str
    against: tuple[Point, ...] = ()
    for_it: tuple[Point, ...] = ()

    @property
    def note(self) -> str:
        """What spoke for the claim, or why nothing can be said, as one line in both languages."""
        return "; ".join(f"{point.zh} {point.en}" for point in self.for_it)


def check(claim: Claim, read: PageRead) -> Finding:
    """Compare ``claim`` with the page as ``read`` anew."""
    if claim.section in read.unreadable:
        why = read.unreadable[claim.section]
        zh, en = f"该栏目页面结构已变,无法解析({why})。", f"The section's markup is no longer understood ({why})."
        return _unknown("unreadable", zh, en)
    if claim.section not in read.sections:
        return _unknown("not_shown", "官方页面没有该栏目。", "The official page does not show this section.")
    stands = _stands(claim, read.sections[claim.section])
    if stands is not None:
        return Finding("contradicted", (stands,))
    if not claim.closing:
        return Finding(
            "verified", (), (Point("stands", "官方页面现在也如此显示。", "The official page says the same now."),)
        )
    return _cross_check(claim, read)


def also_said(title_zh: str, title_en: str) -> Point:
    """That another source, which is called so, says the same."""
    return Point("other_source", f"数据来源《{title_zh}》也如此显示。", f"The source {title_en} says the same.")


def _stands(claim: Claim, rows: Sequence[Row]) -> Point | None:
    """Why the page does not bear out the bare fact, or none where it does."""
    shown = next((row for row in rows if row.key == claim.key), None)
    if claim.value is None:
        if shown is None:
            return None
        return Point("shown_again", "官方页面仍然展示该信息。", "The official page still shows it.")
    if shown is None:
        return Point("gone", "官方页面现在没有该信息。", "The official page does not show it now.")
    said = {name: value for name, value in shown.value.items() if value}
    if said != {name: value for name, value in claim.value.items() if value}:
        return Point("differs", "官方页面现在显示的内容不同。", "The official page says something else now.")
    return None


def _cross_check(claim: Claim, read: PageRead) -> Finding:
    """The fact stands; does the rest of the page agree that the company is closing?"""
    status = _status(read)
    if status and _says(status, CLOSING_WORDS):
        return Finding(
            "verified", (), (Point("status", f"登记状态为{status}。", f"The register's status is {status}."),)
        )
    dated = _dated_event(claim, read)
    open_report = _latest_open_report(read, after=_year_of(claim) or dated)
    against = []
    if status and _says(status, OPEN_WORDS):
        against.append(Point("status", f"登记状态为{status}。", f"The register's status is {status}."))
    if dated is None:
        against.append(
            Point("undated", "登记机关没有给出日期,也没有相应的变更记录。", "No dated event stands behind it.")
        )
    if open_report:
        zh, en = (
            f"此后的{open_report}年度报告称正常经营。",
            f"The later annual report of {open_report} says it is open.",
        )
        against.append(Point("annual_report", zh, en))
    if dated is not None and not (open_report and status):
        day = Point("dated", f"登记日期为{dated.isoformat()}。", f"The register dates it {dated.isoformat()}.")
        return Finding("verified", tuple(against), (day,))
    if status or open_report:
        return Finding("contradicted", tuple(against))
    return _unknown("no_status", "官方页面没有登记状态,无法核对。", "The page gives no status to check it against.")


def _dated_event(claim: Claim, read: PageRead) -> date | None:
    """The register's own date of the event: the fact's, or the newest entry of changes that speaks of closing."""
    if claim.effective_on is not None:
        return claim.effective_on
    dates = [
        row.effective_on
        for row in read.sections.get("changes", ())
        if row.effective_on is not None
        and any(_says(row.value.get(name), CLOSING_WORDS) for name in _CLOSING_FIELDS["changes"])
    ]
    return max(dates, default=None)


def _latest_open_report(read: PageRead, after: date | int | None) -> str:
    """The year of the newest annual report that says the company is open, if none newer says otherwise.

    A report speaks of the end of its year, so one of the year of the event, or later, speaks of what came after it.
    """
    since = after.year if isinstance(after, date) else after
    reports = [
        (year, row.value.get("state"))
        for row in read.sections.get("annual_reports", ())
        if (year := row.value.get("year")) and (since is None or not year[:4].isdigit() or int(year[:4]) >= since)
    ]
    if not reports:
        return ""
    year, state = max(reports, key=lambda report: report[0])
    return year if _says(state, OPEN_WORDS) and not _says(state, CLOSING_WORDS) else ""


def _year_of(claim: Claim) -> int | None:
    year = (claim.value or {}).get("year") or ""
    return int(year[:4]) if claim.section == "annual_reports" and year[:4].isdigit() else None


def _status(read: PageRead) -> str:
    for row in read.sections.get("basic", ()):
        return row.value.get("status") or ""
    return ""


def _says(text: str | None, words: tuple[str, ...]) -> bool:
    return any(word in (text or "") for word in words)


def _unknown(name: str, zh: str, en: str) -> Finding:
    return Finding("unavailable", (), (Point(name, zh, en),))
