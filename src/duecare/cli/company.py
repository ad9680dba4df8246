"""``duecare company``, ``changes`` and ``search``: what is known."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from duecare.cli.output import (
    HomeOption,
    JsonOption,
    console,
    dated,
    filled,
    in_short,
    moment,
    plain,
    print_json,
    print_json_line,
    print_rows,
    say,
    table,
)
from duecare.clock import parse_day, parse_moment
from duecare.errors import BadInput, UnknownName, UseError
from duecare.registers.field_words import field_word
from duecare.settings import load
from duecare.store.home import Home

_SHOWN = (
    "entity", "section", "key", "kind", "before", "after", "effective_on", "not_before", "not_after", "source", "batch",
    "moved", "late", "id",
)  # fmt: skip
_STATES = {
    "read": ("", ""),
    "empty": ("已读取, 无记录", "read, none"),
    "not_read": ("未读取", "not read"),
    "unreadable": ("无法解析", "unreadable"),
}
_OUTCOMES = {
    "upheld": ("异议成立, 已更正", "notice of error upheld"),
    "refused": ("异议不成立", "notice of error refused"),
}


def changes(
    source: Annotated[str | None, typer.Option(help="Only of this source.", callback=filled)] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Only those first seen since this day began in Beijing, or since this time.", callback=filled
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="event, first_observation, correction or lapse.", callback=filled)
    ] = None,
    entity: Annotated[str | None, typer.Option(help="Only of this company.", callback=filled)] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many for a person; 0: all.")] = 50,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the changes, oldest first: what differs, of what kind, and in which window it was seen.

    Example: duecare changes --source us-sec-issuers-history --since 2025-02-28 --kind event --json
    """
    from duecare.registers.changes import KINDS, count, query
    from duecare.registers.codes import held_as
    from duecare.registers.tables import known_sources

    if kind is not None and kind not in KINDS:
        raise BadInput(f"{kind!r} is not a kind of change.", hint=f"Kinds: {', '.join(KINDS)}.")
    moment_since = parse_moment(since) if since else None
    with Home(load(home=home)) as opened:
        if source is not None:
            from duecare.registers.catalogue import all_adapters

            with opened.database.session() as session:
                known = known_sources(session)
            if source not in known and source not in (installed := all_adapters(opened)):
                raise UnknownName("source", source, sorted(installed))
        meant = held_as(opened, entity, source) if entity is not None else None
        asked: dict[str, Any] = {"source": source, "since": moment_since, "kind": kind, "entity": meant}
        found = query(opened, **asked, limit=None if as_json else limit or None)
        if as_json:
            for change in found:
                print_json_line(_change_json(change))
            return
        columns = ("seen in", "source", "company", "section", "kind", "register's date", "what")
        language = opened.settings.language
        print_rows(columns, (_change_row(change, language) for change in found))
        number = count(opened, **asked)
    say(f"{number:,} changes{f', the first {limit} shown; --limit 0 shows all' if limit and number > limit else ''}.")


def company(
    code: Annotated[str, typer.Argument(help="The company's code: USCC, LEI, CIK, company number.", callback=filled)],
    as_of: Annotated[
        str | None, typer.Option(help="What was true on this day, to its end in Beijing.", callback=filled)
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(help="What had been seen when this day ended in Beijing, or by this time.", callback=filled),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is known of a company, each fact with its source, the register's date, and when it was first seen.

    Example: duecare company 0000320193 --known-at 2024-07-04
    """
    from duecare.registers.codes import held_as
    from duecare.registers.company import company as look_up

    day = parse_day(as_of) if as_of else None
    until = parse_moment(known_at, to_the_end=True) if known_at else None
    with Home(load(home=home)) as opened:
        language, words = opened.settings.language, _section_words(opened)
        try:
            found = look_up(opened, held_as(opened, code), as_of=day, known_at=until)
        except UnknownName:
            raise UseError(
                f"Nothing is known of company {code!r}{f' by {known_at}' if known_at else ''}.",
                hint=f"`duecare search {code}` looks for names and codes.",
            ) from None
    if as_json:
        print_json(found)
        return
    _say_company(found, words, language)


def search(
    text: Annotated[str, typer.Argument(help="A name, a part of one, or a code.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find companies by present or former name, or by code.

    A name is found by any part of it. Words with blanks between them may stand in any order, and all must be in the
    name; names that have the text as it stands come first. A longer text also finds names that share most of it.

    Example: duecare search 小额贷款

    Example: duecare search "凯德 深圳"
    """
    from duecare.registers.search import search as find

    with Home(load(home=home)) as opened:
        hits, language = find(opened, text, limit), opened.settings.language
    if as_json:
        print_json([hit.as_json() for hit in hits])
    elif not hits:
        say(f"No company has {plain(text)!r} in its name or code.")
    else:
        former = " (曾用名)" if language == "zh" else " (former)"
        rows = table("code", "name", "source", text=("name",))
        for hit in hits:
            rows.add_row(
                plain(hit.entity),
                plain(in_short(hit.name, language)) + (former if hit.former else ""),
                plain(hit.source),
            )
        console.print(rows)


def _change_json(change: dict[str, Any]) -> dict[str, Any]:
    made = {name: change[name] for name in _SHOWN}
    for name in ("before", "after"):
        made[name] = json.loads(made[name]) if made[name] is not None else None
    return made


def _change_row(change: dict[str, Any], language: str) -> tuple[str, ...]:
    return (
        f"({moment(change['not_before']) or 'never read'}, {moment(change['not_after'])}]",
        change["source"],
        change["entity"],
        change["section"],
        change["kind"].replace("_", " "),
        dated(change["effective_on"], language),
        _difference(change, language),
    )


def _difference(change: dict[str, Any], language: str) -> str:
    before, after = (
        {name: in_short(value, language) for name, value in json.loads(change[side] or "{}").items()}
        for side in ("before", "after")
    )
    if not before or not after:
        shown = after or before
        text = "; ".join(f"{name} {value}" for name, value in shown.items())
        return text if after else f"no longer shown: {text}"
    whole_before, whole_after = json.loads(change["before"]), json.loads(change["after"])
    fields = [name for name in dict.fromkeys([*before, *after]) if whole_before.get(name) != whole_after.get(name)]
    return "; ".join(f"{name}: {before.get(name, '∅')} → {after.get(name, '∅')}" for name in fields)


_Words = dict[str, dict[str, tuple[str, str]]]
"""Source → section → what it is called in Chinese and English."""


def _section_words(home: Home) -> _Words:
    from duecare.registers.catalogue import all_adapters

    return {
        name: {section.name: (section.zh, section.en) for section in adapter.sections}
        for name, adapter in all_adapters(home).items()
    }


def _say_company(found: dict[str, Any], words: _Words, language: str) -> None:
    zh, code = language == "zh", found["entity"]
    say(f"[bold]{plain(in_short(found['name'] or code, language))}[/]  {plain(code)}")
    for source in found["sources"]:
        stale = f"  [yellow]! {'已过期' if zh else 'stale'}[/]" if source["stale"] else ""
        read = f"{'最近核对' if zh else 'last read'} {moment(source['last_read'])}"
        say(f"\n[bold]{plain(source['title' if zh else 'title_en'])}[/] · {read}{stale}")
        for name, section in source["sections"].items():
            called = words.get(source["source"], {}).get(name, (name, name.replace("_", " ")))
            _say_section(name, called[0 if zh else 1], section, language)
    for item in found["disagreements"]:
        values = "; ".join(f"{source}: {in_short(value, language)}" for source, value in item["values"].items())
        field = field_word("basic", item["field"], language)
        say(f"\n[yellow]! {'来源不一致' if zh else 'the sources disagree'}[/] {plain(field)}: {plain(values)}")
    say(f"\n[dim]{'时间为北京时间' if zh else 'Times are Beijing time'}[/]")


def _say_section(name: str, called: str, section: dict[str, Any], language: str) -> None:
    zh = language == "zh"
    state = _STATES[section["state"]][0 if zh else 1]
    if section["state"] in ("not_read", "empty") and not section["former"] and not section["notices"]:
        say(f"  [bold]{plain(called)}[/]  [dim]{state}[/]")
        return
    problem = f"[yellow]{state}[/] {plain(in_short(section['note'] or '', language))}" if state else ""
    say(f"  [bold]{plain(called)}[/]  {problem}")
    mark = f"  [red]疑 {'异议处理中' if zh else 'disputed'}[/]"
    for fact in section["facts"]:
        say(f"    {plain(_value(name, fact['value'], language))}{mark if fact['disputed'] else ''}")
        on = fact["effective_on"]
        parts = (
            (f"登记 {on}" if on else "登记日期不详")
            if zh
            else (f"registered {on}" if on else "the register gives no date"),
            f"{'首次发现' if zh else 'first seen'} {moment(fact['first_observed'])}",
            f"{'最近确认' if zh else 'last seen'} {moment(fact['last_observed'])}",
            f"{'官网快照' if zh else 'snapshot'} {fact['snapshot'][:12]}",
            *([_ended(fact, language)] if fact["gone_since"] else []),
        )
        say(f"    [dim]{' · '.join(parts)}[/]")
    versions = [*section["former"], *section["facts"]]
    for fact in section["former"]:
        gone = fact["disputed"] and not fact["replaced"]  # of one that was replaced, its newer version has the mark
        say(f"    [dim]{plain(_former(name, fact, versions, language))}[/]{mark if gone else ''}")
    for notice in section["notices"]:
        say(f"    {plain(_decided(name, notice, versions, language))}")


def _ended(fact: dict[str, Any], language: str) -> str:
    """Of what stood on a past day: what became of it later."""
    zh, since = language == "zh", moment(fact["gone_since"])
    if fact["replaced"]:
        return f"其后 ({since}) 已变更" if zh else f"replaced since {since}"
    return f"其后 ({since}) 不再展示" if zh else f"no longer shown since {since}"


def _former(name: str, fact: dict[str, Any], versions: list[dict[str, Any]], language: str) -> str:
    """A version that another took the place of, by what it said differently; or one that the source shows no longer."""
    zh, until = language == "zh", moment(fact["gone_since"])
    at, key = fact["gone_since"], fact["key"]
    follower = next((each for each in versions if each["key"] == key and each["first_observed"] == at), None)
    said = _value(name, fact["value"], language)
    if not fact["replaced"]:
        return f"来源不再展示 (自 {until}): {said}" if zh else f"no longer shown by the source since {until}: {said}"
    if follower is not None:
        differs = {field: value for field, value in fact["value"].items() if follower["value"].get(field) != value}
        added = [field for field in follower["value"] if field not in fact["value"]]
        said = _value(name, differs | dict.fromkeys(added, "（空）" if zh else "(empty)"), language)
    return f"此前 (至 {until}): {said}" if zh else f"before (until {until}): {said}"


def _decided(name: str, notice: dict[str, Any], versions: list[dict[str, Any]], language: str) -> str:
    """A notice of error that was decided: how, when and why; and against which entry, where there are several."""
    zh, key = language == "zh", notice["key"]
    outcome = _OUTCOMES[notice["outcome"]][0 if zh else 1]
    several = key and len({fact["key"] for fact in versions}) > 1
    said = next((_value(name, fact["value"], language) for fact in versions if fact["key"] == key), key)
    about = f" [{said}]" if several else ""
    return f"{outcome} ({moment(notice['decided_at'])}){about}: {notice['reason']}"


def _value(section: str, value: dict[str, str], language: str) -> str:
    separator = "；" if language == "zh" else "; "
    return separator.join(
        f"{field_word(section, field, language)} {in_short(text, language)}" for field, text in value.items()
    )
