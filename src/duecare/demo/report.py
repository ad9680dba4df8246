"""The official report page about one company, as HTML: what a reader sees framed as 官网快照.

The rule of this module: the page depends on the state alone, so that a page changes only when the register does. It
says 暂无…信息 where the register has nothing, and never leaves a panel out unless told to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape

from duecare.registers.adapters.national_register import HEADINGS, date_fields
from duecare.registers.sections import CATALOGUE

Entry = Mapping[str, str | None]

_STYLE = (
    "body{margin:0;background:#f4f6f9;color:#222;font:15px/1.6 system-ui,'PingFang SC','Noto Sans CJK SC',sans-serif}"
    "header{background:#1b4f93;color:#fff;padding:14px 0}header p,main,nav,footer{max-width:1080px;margin:0 auto;"
    "padding:0 20px}header b{font-size:20px;letter-spacing:.08em}main{background:#fff;padding:20px 20px 28px}"
    "h1{font:600 24px/1.4 'Songti SC','Noto Serif CJK SC',serif;margin:0}.code{color:#5a626b;margin:4px 0 0}"
    ".status{border:1px solid #1b4f93;color:#1b4f93;padding:0 8px;font-size:14px;margin-left:12px}"
    ".panel{margin-top:24px}h2{font-size:16px;margin:0 0 8px;padding-left:10px;border-left:4px solid #1b4f93}"
    "table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}"
    "th,td{border:1px solid #d8dee6;padding:6px 10px;text-align:left;vertical-align:top}th{background:#eef3f9;"
    "font-weight:500}.none{color:#5a626b;margin:0;padding:6px 10px;border:1px solid #d8dee6}"
    "footer{color:#5a626b;font-size:13px;padding:16px 20px}@media print{body,main{background:#fff}}"
)
_HEAD = (
    '<!DOCTYPE html>\n<html lang="zh-CN"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><title>{name} · 企业信用信息公示报告</title>'
    f"<style>{_STYLE}</style></head>\n<body><header><p><b>国家企业信用信息公示系统</b><br>企业信用信息公示报告</p></header>\n"
    '<main><h1>{name}<span class="status">{status}</span></h1><p class="code">统一社会信用代码 {code}</p>\n'
)
_FOOT = (
    "</main>\n<footer><p>本页信息由企业登记机关及有关部门公示，任何人可免费查询。演示站点，企业与人员均为虚构。</p></footer>"
    "</body></html>\n"
)
_SERIAL = "序号"


def render(
    state: Mapping[str, Sequence[Entry]], *, broken: frozenset[str] = frozenset(), hidden: frozenset[str] = frozenset()
) -> bytes:
    """The page, in UTF-8. Sections in ``broken`` are shown in a markup of the site's next design, which has no tables;
    those in ``hidden``, and those the state does not have, are left out."""
    basic = state["basic"][0] if state.get("basic") else {}
    parts = [
        _HEAD.replace("{name}", _safe(basic.get("name")))
        .replace("{status}", _safe(basic.get("status")))
        .replace("{code}", _safe(basic.get("code")))
    ]
    for name in HEADINGS:
        if name in state and name not in hidden:
            entries = state[name]
            if name in broken:
                parts.append(_cards(name, entries))
            elif entries:
                parts.append(_panel(name, _table(name, entries)))
            else:
                parts.append(_empty(name))
    parts.append(_FOOT)
    return "".join(parts).encode()


def _table(name: str, entries: Sequence[Entry]) -> str:
    if name == "basic":
        return _detail([(heading, _shown(name, field, entries[0])) for field, heading in HEADINGS[name].items()])
    if name == "liquidation":
        return _team(entries)
    fields = tuple(HEADINGS[name])
    lines = [
        f"<tr><td>{number}</td>{''.join(f'<td>{_shown(name, field, entry)}</td>' for field in fields)}</tr>\n"
        for number, entry in enumerate(entries, 1)
    ]
    return f"<table>{_columns(name)}<tbody>\n{''.join(lines)}</tbody></table>"


def _team(entries: Sequence[Entry]) -> str:
    return _detail(
        [
            (heading, _safe("、".join(entry["name"] or "" for entry in entries if entry["role"] == role)))
            for role, heading in HEADINGS["liquidation"].items()
        ]
    )


def _detail(pairs: Sequence[tuple[str, str]]) -> str:
    """Heading and value side by side, two pairs a line, a long value or the last alone on a line."""
    lines, line = [], ""
    for heading, value in pairs:
        cell = f"<th>{heading}</th><td>{value}</td>"
        if line:
            lines.append(f"<tr>{line}{cell}</tr>\n")
            line = ""
        elif len(value) > 30 or heading == pairs[-1][0]:
            lines.append(f'<tr><th>{heading}</th><td colspan="3">{value}</td></tr>\n')
        else:
            line = cell
    return f"<table><tbody>\n{''.join(lines)}</tbody></table>"


def _cards(name: str, entries: Sequence[Entry]) -> str:
    items = "".join(
        f"<li>{''.join(f'<span>{_safe(value)}</span>' for value in entry.values())}</li>" for entry in entries
    )
    return _panel(name, f'<ul class="cards" data-count="{len(entries)}">{items}</ul>')


def _panel(name: str, content: str) -> str:
    return f'<section class="panel" id="{name}"><h2>{CATALOGUE[name].zh}</h2>\n{content}</section>\n'


@lru_cache
def _empty(name: str) -> str:
    return _panel(name, f'<p class="none">暂无{CATALOGUE[name].zh.removesuffix("信息")}信息</p>')


@lru_cache
def _columns(name: str) -> str:
    cells = "".join(f"<th>{heading}</th>" for heading in (_SERIAL, *HEADINGS[name].values()))
    return f"<thead><tr>{cells}</tr></thead>"


@lru_cache
def _dated(name: str) -> frozenset[str]:
    return frozenset(date_fields(name))


def _shown(name: str, field: str, entry: Entry) -> str:
    value = entry[field]
    if value and field in _dated(name) and len(value) == 10 and value[4] == "-":
        return f"{value[:4]}年{value[5:7]}月{value[8:]}日"
    return _safe(value)


def _safe(value: str | None) -> str:
    return escape(value, quote=False) if value else ""
