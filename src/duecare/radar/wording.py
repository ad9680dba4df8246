"""What readers are told of an alert, in words: one row for digests, one letter for an alert by itself.

The rule of this module: the register's date and our observation never stand for each other. What the source does not
date is 日期不详, what it shows no longer is "no longer shown" (never left, resigned or paid), and every row says where
from, when we saw it, and whether it was checked (case 1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from duecare.clock import BEIJING
from duecare.radar.channels.channel import Letter
from duecare.radar.models import Alert
from duecare.radar.reader import Lexicon, Reader
from duecare.radar.told import Told
from duecare.registers.field_words import field_word, shortened, steady
from duecare.registers.sections import CATEGORY_WORDS, RISK_WORDS, Category, RiskLevel

_KINDS: dict[str, tuple[str, str]] = {
    "added": ("新增", "added"),
    "changed": ("变更", "changed"),
    "lapse": ("来源不再展示", "no longer shown by the source"),
    "correction": ("来源更正", "corrected by the source"),
    "retraction": ("更正", "correction"),
}
_SEALS: dict[str, tuple[str, str, str]] = {
    "verified": ("核", "已核实", "verified against the source"),
    "contradicted": ("疑", "与来源矛盾", "contradicted by the source"),
    "unavailable": ("待", "暂无法核实", "cannot be verified at present"),
    "retraction": ("正", "已更正", "corrected"),
    "none": ("", "来源所载，未另行核验", "as published by the source, not checked again"),
}
_COLOURS = {"核": "#1C6E53", "疑": "#AE2A1B", "正": "#AE2A1B", "待": "#8A5A00", "": "#5A626B"}
_ROBOT_COLOURS = {RiskLevel.GOOD: "info", RiskLevel.NOTE: "comment"}
"""Of a WeCom robot's message; what is graver is ``warning``."""

SHORT = 500
"""Characters that an SMS may have, in parts: what the gateways take at most."""

_UNDATED = ("日期不详（来源未给出日期）", "not known (the source gives no date)")
_CHANGE_UNDATED = ("日期不详（来源未给出这次变更的日期）", "not known (the source gives no date of this change)")
_APART, _TOGETHER = "\u2068", "\u2069"
"""Around a value that is written from right to left: what stands beside it is not drawn into its direction."""

_FROM_THE_RIGHT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
"""Hebrew, Arabic and the other scripts that Unicode sets there."""

_APPROVED = "approved_on"
"""核准日期: the day on which the register approved the last change of ``basic``, and so of a change that moved it."""


@dataclass(frozen=True)
class Row:
    """One alert for one reader, in words. ``entity_link`` and ``snapshot_link`` are empty without a public address.
    In ``content``, a value from right to left is set apart, which a form shows (``isolated``) or leaves out (``flat``).
    """

    alert_id: int
    entity: str
    name: str
    entity_link: str
    section: str
    what: str
    retraction: bool
    risk: str
    category: str
    dated: str
    window: str
    content: tuple[str, ...]
    source: str
    page: str
    snapshot: str
    snapshot_link: str
    seal: str
    verification: str
    seal_colour: str
    risk_colour: str


def row(alert: Alert, reader: Reader, lexicon: Lexicon, told: Told | None = None) -> Row:
    """``alert`` in words. ``told`` is needed where it corrects another."""
    retraction = alert.corrects_id is not None
    seal, zh, en = _SEALS["retraction" if retraction else alert.verification]
    before, after = _value(alert.before), _value(alert.after)
    if retraction:
        content = _retraction(alert, reader, lexicon, told)
    else:
        content = _content(alert, before, after, reader)
    return Row(
        alert_id=alert.id,
        entity=steady(alert.entity),
        name=shortened(alert.name or alert.entity, reader.language, 300),
        entity_link=lexicon.link(f"/company/{alert.entity}"),
        section=lexicon.section(alert.source, alert.section, reader),
        what=reader.say(*_KINDS["retraction" if retraction else _kind(alert, before)]),
        retraction=retraction,
        risk=reader.say(*RISK_WORDS[RiskLevel(alert.risk)]),
        category=reader.say(*CATEGORY_WORDS[Category(alert.category)]),
        dated=_dated(alert, before, after, reader),
        window=_window(alert, reader),
        content=content,
        source=lexicon.source(alert.source, reader),
        page=steady(alert.address) if _is_page(alert) else "",
        snapshot=alert.snapshot,
        snapshot_link=lexicon.link(f"/snapshots/{alert.snapshot}") if alert.snapshot else "",
        seal=seal,
        verification=reader.say(zh, en) + _checked_by(alert, reader, lexicon),
        seal_colour=_COLOURS[seal],
        risk_colour=_ROBOT_COLOURS.get(RiskLevel(alert.risk), "warning"),
    )


class Rows:
    """Alerts in words for one run: an alert is worded once for each kind of reader, however many there are."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._rows: dict[tuple[int, Reader], Row] = {}
        self._marked: dict[tuple[int, Reader], str] = {}
        self._data: dict[tuple[int, Reader], dict[str, Any]] = {}

    def row(self, alert: Alert, reader: Reader) -> Row:
        """``row`` of an alert that corrects nothing: what a correction says is for its recipient alone."""
        kind = (alert.id, reader)
        if kind not in self._rows:
            self._rows[kind] = row(alert, reader, self.lexicon)
        return self._rows[kind]

    def forms(self, alert: Alert, reader: Reader) -> tuple[str, dict[str, Any]]:
        """The row in Markdown, and the alert for programs."""
        kind = (alert.id, reader)
        if kind not in self._marked:
            one = self.row(alert, reader)
            self._marked[kind], self._data[kind] = markdown(one, reader), as_json(alert, one)
        return self._marked[kind], self._data[kind]


def letter(alert: Alert, reader: Reader, lexicon: Lexicon, told: Told | None = None) -> Letter:
    """The letter that tells of ``alert`` by itself, or of its correction."""
    one = row(alert, reader, lexicon, told)
    name = within(one.name, 60)
    if one.retraction:
        headline = reader.say(f"更正：{name} {one.section}", f"Correction: {name}, {one.section}")
    else:
        headline = reader.say(
            f"{name}：{one.section} {one.what}（{one.risk}）", f"{name}: {one.section} {one.what} ({one.risk})"
        )
    headline = " ".join(headline.split())  # a line break in a register's name must not end a mail header
    subject = reader.say(f"【监控动态】{headline}", f"[Watch] {headline}")
    return Letter(
        subject=subject,
        text=render("txt", reader, headline=headline, rows=[one], counts=[], note=""),
        html=render("html", reader, headline=headline, rows=[one], counts=[], note=""),
        short=short(one, reader),
        markdown=f"**{subject}**\n{markdown(one, reader)}",
        data={
            "type": "alert.corrected" if one.retraction else "alert.created",
            "timestamp": alert.created_at.isoformat(),
            "data": as_json(alert, one),
        },
    )


def as_json(alert: Alert, one: Row) -> dict[str, Any]:
    """An alert for programs. ``effective_on``: the register's date, or that of its approval; null: it gives none.
    ``verification`` is null for a retraction: what it takes back may have been verified. Times are ISO 8601 in UTC."""
    before, after = _value(alert.before), _value(alert.after)
    on = alert.effective_on or _approved(alert, before, after)
    return {
        "id": alert.id,
        "change": alert.change_id,
        "corrects": alert.corrects_id,
        "entity": alert.entity,
        "name": one.name,
        "section": alert.section,
        "key": alert.key,
        "kind": "retraction" if one.retraction else alert.kind,
        "category": alert.category,
        "risk": alert.risk,
        "before": before,
        "after": after,
        "effective_on": on.isoformat() if on else None,
        "not_before": alert.not_before.isoformat() if alert.not_before else None,
        "not_after": alert.not_after.isoformat(),
        "source": alert.source,
        "page": alert.address,
        "snapshot": alert.snapshot,
        "verification": None if one.retraction else alert.verification,
        "content": [flat(line) for line in one.content],
        "why": alert.wording,
    }


def short(one: Row, reader: Reader) -> str:
    """One paragraph for SMS, of at most ``SHORT`` characters: what, the register's date, when we saw it, the source,
    the verification. What is too long is cut in its middle, never the words that say what it is."""
    if one.retraction:
        first, *more = map(flat, one.content)
        said = [within(first, 240), *(within(line, 200) for line in more)]
        return within(reader.say("【更正】", "[Correction] ") + reader.say("", " ").join(said), SHORT)
    name = within(one.name, 60)
    return reader.say(
        f"【监控动态】{name}：{one.section} {one.what}（{one.risk}）。登记日期：{one.dated}。"
        f"观测区间：{one.window}。来源：{one.source}。{one.verification}。{one.entity_link}",
        f"[Watch] {name}: {one.section} {one.what} ({one.risk}). Register's date: {one.dated}. "
        f"Observed: {one.window}. Source: {one.source}; {one.verification}. {one.entity_link}",
    ).strip()


def within(text: str, most: int) -> str:
    """``text`` in at most ``most`` characters: the middle gives way."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def flat(line: str) -> str:
    """``line`` of a row's content as plain text, in which no character steers."""
    return line.replace(_APART, "").replace(_TOGETHER, "")


def isolated(line: str) -> Markup:
    """The same in HTML, with what is set apart in an element of its own."""
    return Markup(str(escape(line)).replace(_APART, "<bdi>").replace(_TOGETHER, "</bdi>"))


def markdown(one: Row, reader: Reader) -> str:
    """A row for WeCom. A correction repeats no date and no risk of what was wrong."""
    label, colon = reader.say, reader.say("：", ": ")
    name = f"[{_mark(one.name)}]({one.entity_link})" if one.entity_link else _mark(one.name)
    risk = "" if one.retraction else f' · <font color="{one.risk_colour}">{one.risk}</font>'
    lines = [f"{name} · {one.section} {one.what}{risk}", *(f"> {_mark(flat(line))}" for line in one.content)]
    if not one.retraction:
        lines += [
            f"> {label('登记日期', 'Register’s date')}{colon}{one.dated}",
            f"> {label('观测区间', 'Observed')}{colon}{one.window}",
        ]
    lines.append(f"> {label('来源', 'Source')}{colon}{_mark(one.source)}")
    if one.snapshot_link:
        lines.append(f"> [{label('官网快照', 'Snapshot')}]({one.snapshot_link})")
    return "\n".join([*lines, f"> {f'［{one.seal}］' if one.seal else ''}{one.verification}"])


def render(form: str, reader: Reader, *, rows: Sequence[Row], **given: Any) -> str:
    """A letter as ``txt`` or ``html``; rows are grouped by company in the order they come."""
    groups: dict[str, list[Row]] = {}
    for one in rows:
        groups.setdefault(one.entity, []).append(one)
    companies = [_company(form, reader, tuple(group)) for group in groups.values()]
    foot = reader.say("认为内容有误，可以提出异议。", "If something is wrong, you can object to it.")
    if not all(one.retraction for one in rows):
        seen = "观测区间是我们看到变化的时间，不是事情发生的时间。"
        foot = reader.say(seen, "“Observed” is when we saw the difference, not when it happened. ") + foot
    letter = _template(f"letter.{form}.j2")
    return letter.render(companies=companies, foot=foot, reader=reader, say=reader.say, **given)


@lru_cache(maxsize=4096)
def _company(form: str, reader: Reader, rows: tuple[Row, ...]) -> str:
    """What a letter says of one company, which is the same in everybody's digest who reads on the same clock."""
    said = _template(f"company.{form}.j2").render(rows=rows, reader=reader, say=reader.say)
    return Markup(said) if form == "html" else said


@cache
def _template(name: str) -> Template:
    return _templates().get_template(name)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("duecare.radar"),
        autoescape=lambda name: bool(name and ".html" in name),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(flat=flat, isolated=isolated)
    return made


def _value(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    value: dict[str, Any] = json.loads(text)
    return value


def _kind(alert: Alert, before: Mapping[str, Any] | None) -> str:
    if alert.kind in ("lapse", "correction"):
        return alert.kind
    return "added" if before is None else "changed"


def _dated(alert: Alert, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, reader: Reader) -> str:
    """The register's date in words: its own of the fact, or of the approval, and then it is said to be that."""
    if alert.effective_on:
        return f"{alert.effective_on:%Y-%m-%d}"
    approved = _approved(alert, before, after)
    if approved:
        return f"{approved:%Y-%m-%d}" + reader.say("（核准日期）", " (approved by the register)")
    changed = before is not None and after is not None
    return reader.say(*(_CHANGE_UNDATED if changed else _UNDATED))


def _approved(alert: Alert, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> date | None:
    """The day on which the register approved this change of ``basic``: 核准日期, where the change moved it forward and
    not beyond the read that showed it. One that stands still is of an earlier change, and dates nothing here."""
    if alert.section != "basic" or alert.kind != "event" or before is None or after is None:
        return None
    try:
        was, now = (date.fromisoformat(str(value.get(_APPROVED))) for value in (before, after))
    except ValueError:
        return None
    return now if was < now <= alert.not_after.astimezone(BEIJING).date() else None


def _window(alert: Alert, reader: Reader) -> str:
    last, first = alert.not_before, reader.moment(alert.not_after)
    zone = reader.say(f"（{reader.clock}）", f" ({reader.clock})") if " " in first else ""
    if alert.kind == "lapse":
        since = reader.say(f"{first} 查看起不再展示", f"not shown since our look of {first}")
        if last is None:
            return since + zone
        return (
            reader.say(f"{reader.moment(last)} 查看时仍有，{since}", f"still shown on {reader.moment(last)}, {since}")
            + zone
        )
    if last is None:
        return reader.say(f"此前未读取过，{first} 首次看到", f"never read before; first seen on {first}") + zone
    return reader.say(f"{reader.moment(last)} 至 {first}", f"{reader.moment(last)} to {first}") + zone


def _content(
    alert: Alert, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, reader: Reader
) -> tuple[str, ...]:
    """The fields in words: all of a new or vanished entry, those that differ of a changed one."""
    if before is not None and after is not None:
        which = _which(alert, after, reader)
        colon = reader.say("：", ": ")
        lines = [
            f"{field_word(alert.section, name, reader.language)}{colon}{_plain(before.get(name), reader)} → "
            f"{_plain(after.get(name), reader)}"
            for name in dict.fromkeys((*after, *before))
            if before.get(name) != after.get(name)
        ]
        return (*which, *lines)
    value = after if after is not None else before
    words = [
        f"{field_word(alert.section, name, reader.language)} {_plain(part, reader)}"
        for name, part in (value or {}).items()
        if part
    ]
    return (reader.say("；", "; ").join(words),) if words else ()


def _which(alert: Alert, after: Mapping[str, Any], reader: Reader) -> tuple[str, ...]:
    """Which of several entries changed, by its first field that did not."""
    before = _value(alert.before) or {}
    if not alert.key:
        return ()
    for name, part in after.items():
        if part and before.get(name) == part:
            return (f"{field_word(alert.section, name, reader.language)} {_plain(part, reader)}",)
    return ()


def _plain(value: Any, reader: Reader) -> str:
    if value in (None, ""):
        return reader.say("（空）", "(empty)")
    return _apart(shortened(str(value), reader.language))


def _apart(text: str) -> str:
    return f"{_APART}{text}{_TOGETHER}" if _FROM_THE_RIGHT.search(text) else text


def _is_page(alert: Alert) -> bool:
    return alert.address.startswith(("http://", "https://"))


def _checked_by(alert: Alert, reader: Reader, lexicon: Lexicon) -> str:
    """The list, or the other source, that verified what no page could: its file's name, or its title."""
    if not alert.address or alert.corrects_id is not None or _is_page(alert):
        return ""
    if alert.address in lexicon.titles:
        return reader.say("（{}）", " ({})").format(lexicon.source(alert.address, reader))
    name = within(steady(alert.address), 80)
    return reader.say(f"（名单 {name}）", f" (list {name})")


def _retraction(alert: Alert, reader: Reader, lexicon: Lexicon, told: Told | None) -> tuple[str, ...]:
    """ "We told you on … that …; this was wrong because …": what was said, word for word as it was said."""
    why = (alert.wording or {}).get(reader.language) or (alert.wording or {}).get("zh", "")
    if told is None:
        first = reader.say("此前关于该企业的一条通知有误。", "An earlier notice about this company was wrong.")
    else:
        wrong = row(told.alert, reader, lexicon)
        what = reader.say(
            f"{_apart(wrong.name)}：{wrong.section} {wrong.what}（{'；'.join(wrong.content)}）",
            f"{_apart(wrong.name)}: {wrong.section} {wrong.what} ({'; '.join(wrong.content)})",
        )
        on = reader.moment(told.at or told.alert.created_at)
        first = reader.say(
            f"我们曾于 {on} 通知您：“{what}”。该通知有误。", f"We told you on {on}: “{what}”. This was wrong."
        )
    return (first, reader.say(f"原因：{why}", f"Because: {why}")) if why else (first,)


def _mark(text: str) -> str:
    """``text`` without meaning in Markdown: a register's words must not become a link."""
    return text.translate(str.maketrans("[]<>*`", "［］＜＞＊｀"))


def count_words(counts: Mapping[str, int], reader: Reader) -> list[tuple[str, int]]:
    """The four counts of a digest in their fixed order, zeros included."""
    return [(reader.say(*CATEGORY_WORDS[category]), counts.get(category.value, 0)) for category in Category]


def sort_key(alert: Alert, severity: Sequence[RiskLevel] = tuple(RiskLevel)) -> tuple[str, int, int]:
    """By company, the gravest first."""
    return (alert.entity, -severity.index(RiskLevel(alert.risk)), alert.id)
