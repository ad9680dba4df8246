"""``duecare notices``: what people were told, in which version, and what differs between two versions.

The rule of this module: a notice is shown as it was published, to the letter.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from duecare.cli.output import HomeOption, JsonOption, console, moment, plain, print_json, say, table
from duecare.consent import notices as consent
from duecare.consent.differences import Difference, ParagraphChange, Piece
from duecare.consent.notices import Version
from duecare.settings import load
from duecare.store.home import Home

notices = typer.Typer(help="What people are told before they agree, version by version.", no_args_is_help=True)


@notices.command("list")
def listing(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List every version of every notice.

    Example: duecare notices list
    """
    with Home(load(home=home)) as opened, opened.database.session() as session:
        found = consent.versions(session)
        if as_json:
            print_json([_heading(each) for each in found])
            return
        rows = table("notice", "version", "title", "published", "sha256", text=("title",))
        for each in found:
            title = each.notice.zh if opened.settings.language == "zh" else each.notice.en
            rows.add_row(each.name, str(each.number), plain(title), moment(each.published_at), each.digest[:16])
        console.print(rows)


@notices.command()
def show(
    name: Annotated[str, typer.Argument(help="The notice.")],
    number: Annotated[
        int | None, typer.Option("--version", help="Which version (default: the newest).", show_default=False)
    ] = None,
    against: Annotated[
        int | None, typer.Option("--against", help="Show what differs from this version.", show_default=False)
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a version of a notice, or what it says otherwise than another.

    The difference is by term (a way in added or removed) and by paragraph, in Chinese and English: ``+`` is new,
    ``-`` is gone, ``~`` is changed.

    Example: duecare notices show annual-pass --version 2 --against 1
    """
    with Home(load(home=home)) as opened, opened.database.session() as session:
        zh = opened.settings.language == "zh"
        shown = consent.version(session, name, number)
        if against is None:
            print_json(_whole(shown)) if as_json else _print(shown, zh=zh)
            return
        before = consent.version(session, name, against)
        differs = consent.difference(before, shown)
    if as_json:
        print_json({"notice": name, "version": shown.number, "against": before.number, **differs.as_json()})
        return
    say(f"\n[bold]{plain(name)}[/]  {before.number} → {shown.number}\n")
    for language in ("zh", "en") if zh else ("en", "zh"):
        _print_difference(differs, zh=language == "zh")


def _print(shown: Version, *, zh: bool) -> None:
    notice, who = shown.notice, shown.controller
    say(f"\n[bold]{plain(notice.zh if zh else notice.en)}[/]  {plain(shown.name)} {shown.number}")
    say(f"[dim]{moment(shown.published_at)}  sha256 {shown.digest}[/]\n")
    say(plain(notice.body_zh if zh else notice.body_en))
    say()
    for term, value in notice.terms.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        said = ", ".join(_word(notice.words, each, zh=zh) for each in values)
        say(f"  {plain(_word(notice.words, term, zh=zh))}: {plain(said)}")
    say(f"  {'处理者' if zh else 'Controller'}: {plain(f'{who.name}, {who.address}, {who.contact}')}")
    say(f"  {'如何撤回' if zh else 'How to withdraw'}: {plain(notice.withdrawal_zh if zh else notice.withdrawal_en)}\n")


def _print_difference(differs: Difference, *, zh: bool) -> None:
    text = differs.text("zh" if zh else "en")
    lines = text.splitlines()
    for line in lines[: len(differs.terms)] if differs else lines:
        say(plain(line))
    for each in differs.zh if zh else differs.en:
        say(_marked(each))
    say()


def _marked(each: ParagraphChange) -> str:
    mark = {"added": "+", "removed": "-", "changed": "~"}[each.kind]
    return f"{mark} {''.join(_styled(part) for part in each.pieces)}"


def _styled(part: Piece) -> str:
    if part.kind == "same":
        return plain(part.text)
    style, text = ("red", f"[-{part.text}-]") if part.kind == "removed" else ("green", f"{{+{part.text}+}}")
    return f"[{style}]{plain(text)}[/]"


def _heading(each: Version) -> dict[str, Any]:
    return {
        "notice": each.name,
        "version": each.number,
        "zh": each.notice.zh,
        "en": each.notice.en,
        "published_at": each.published_at,
        "sha256": each.digest,
    }


def _whole(each: Version) -> dict[str, Any]:
    notice = each.notice
    return {
        **_heading(each),
        "body_zh": notice.body_zh,
        "body_en": notice.body_en,
        "terms": dict(notice.terms),
        "withdrawal_zh": notice.withdrawal_zh,
        "withdrawal_en": notice.withdrawal_en,
        "controller": vars(each.controller),
    }


def _word(words: Any, value: object, *, zh: bool) -> str:
    pair = words.get(str(value))
    return str(value) if pair is None else str(pair[0 if zh else 1])
