"""``duecare held``: what is held of a person, for which purpose, since and until when, and who opened it.

The rule of this module: it shows no values. A person's own copy is a file that expires, and leaves evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, console, moment, plain, print_json, say, table
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.vault.records import Held, Opening

_HELD = {
    "zh": ("处理目的", "信息", "状态", "起始", "保存至或删除于", "删除编号"),
    "en": ("purpose", "field", "state", "since", "until", "erasure"),
}
_OPENINGS = {
    "zh": ("时间", "何人", "信息", "处理目的", "缘由", "同时涉及他人"),
    "en": ("when", "who", "what", "purpose", "why", "at once with"),
}
_STATES = {"held": ("持有", "held"), "kept": ("依法留存", "legal hold"), "erased": ("已删除", "erased")}


def held(
    subject: Annotated[str, typer.Argument(help="The person, by the name of 32 hex digits under which we know them.")],
    opened_too: Annotated[bool, typer.Option("--openings", help="Also who opened what, when and why.")] = False,
    copy: Annotated[
        bool, typer.Option("--copy", help="Also write the person's own copy to exports/, for seven days.")
    ] = False,
    by: Annotated[str, typer.Option("--by", help="Who asks; it is kept with the copy.")] = "service:cli",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is held of a person and what was erased, without the values.

    Example: duecare held 3c2d86b824444c2cff36b859f0b09aba --openings
    """
    from duecare.vault.exports import export
    from duecare.vault.records import Vault

    with Home(load(home=home)) as opened, Vault(opened) as vault:
        zh = opened.settings.language == "zh"
        with opened.database.session() as session:
            found = vault.holds(session, subject)
            openings = vault.openings(session, subject) if opened_too else []
        written = export(vault, subject, by) if copy else None
    if as_json:
        more = {"openings": [each.__dict__ for each in openings]} if opened_too else {}
        print_json({"held": [each.as_json() for each in found], **more, **({"copy": written} if written else {})})
        return
    _print(found, openings, zh=zh)
    if written is not None:
        say(plain(written))


def _print(found: list[Held], openings: list[Opening], *, zh: bool) -> None:
    language = "zh" if zh else "en"
    if not found:
        say("Nothing was ever held of them." if not zh else "从未持有此人的个人信息。")
        return
    rows = table(*_HELD[language])
    for each in found:
        until = moment(each.erased_at) if each.erased_at else str(each.until or "")
        state = _STATES[each.state][0 if zh else 1]
        rows.add_row(plain(each.purpose), plain(each.field), state, moment(each.since), until, each.erasure)
    console.print(rows)
    if openings:
        say()
        shown = table(*_OPENINGS[language], text=("信息", "缘由", "what", "why"))
        for one in openings:
            others = str(one.subjects - 1) if one.subjects > 1 else ""
            fields = ("、" if zh else ", ").join(one.fields)
            shown.add_row(moment(one.at), plain(one.by), plain(fields), plain(one.purpose), plain(one.why), others)
        console.print(shown)
