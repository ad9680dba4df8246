"""``duecare policies``: what the rules say, in words.

The rule of this module: it shows exactly the policies that decide, in the order in which they are loaded, and examples
that the engine decided.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from duecare.cli.output import HomeOption, JsonOption, console, plain, print_json, say, table
from duecare.rules.engine import Engine
from duecare.rules.examples import Example, Pair, pairs
from duecare.settings import load

policies = typer.Typer(
    help="The holdings of the cases and your own policies, checked and in words.", no_args_is_help=True
)


@policies.callback()
def _policies() -> None:
    """Keep the subcommand even while there is only one."""


@policies.command()
def check(
    operator: Annotated[
        Path | None,
        typer.Option("--policies", help="Folder of your own *.cedar files (default: the setting policies)."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate all policies against the schema; list each with its sentence, a request it allows and one it forbids.

    The two requests are found by asking, and differ in as little as can be. Your own policies can forbid more than the
    holdings; a permit among them is refused. Exit code 1 if a policy decides no request at all: it has a word wrong.

    Example: duecare policies check --policies my-policies
    """
    chosen = load(home=home, policies=operator)
    engine = Engine.load(chosen.policies)
    found = pairs(engine)
    idle = [policy.reason.id for policy in engine.policies if not found[policy.reason.id].decides(policy)]
    if as_json:
        print_json(
            [
                {**vars(policy.reason), "file": policy.file.name, "operator": policy.file.operator}
                | _examples(found[policy.reason.id])
                for policy in engine.policies
            ]
        )
    else:
        _say(engine, found, idle, zh=chosen.language == "zh")
    if idle:
        raise typer.Exit(1)


def _say(engine: Engine, found: dict[str, Pair], idle: list[str], *, zh: bool) -> None:
    shown = table(
        "允许/禁止" if zh else "effect", "id", "裁判要旨" if zh else "what it says", text=("裁判要旨", "what it says")
    )
    for policy in engine.policies:
        reason, allows = policy.reason, policy.reason.effect == "permit"
        word = ("允许" if allows else "禁止") if zh else reason.effect
        words = f"{plain(reason.zh if zh else reason.en)}\n[dim]{plain(reason.en if zh else reason.zh)}"
        words += f"\n{plain('; '.join(each for each in (reason.article, reason.case) if each))}[/]"
        words += f"\n{_pair(found[reason.id], zh=zh)}"
        shown.add_row(f"[{'green' if allows else 'red'}]{word}[/]", plain(reason.id), words)
    console.print(shown)
    mine = sum(policy.file.operator for policy in engine.policies)
    say(f"\n[green]✓[/] {len(engine.policies)} policies fit the schema; {mine} of them are your own.")
    for name in idle:
        say(f"[red]✗[/] No request is decided by {plain(name)}: look for a word that is not in the schema.")


def _pair(pair: Pair, *, zh: bool) -> str:
    """Both requests in words: the allowed one in full, the forbidden one by what differs."""
    allowed, forbidden = ("可以", "不可以") if zh else ("allowed", "forbidden")
    if pair.allows is None or pair.forbids is None:
        one, other = (_request(each) if each else ("没有" if zh else "nothing") for each in (pair.allows, pair.forbids))
        return f"[green]{allowed}[/] {plain(one)}\n[red]{forbidden}[/] {plain(other)}"
    changed = ", ".join(_said(name, after) for name, (_, after) in pair.differences().items())
    but = "同上, 但" if zh else "the same, but"
    return f"[green]{allowed}[/] {plain(_request(pair.allows))}\n[red]{forbidden}[/] {but} {plain(changed)}"


def _request(example: Example) -> str:
    asked = example.request
    parts = [_said(f"resource.{name}", value) for name, value in asked.resource.items()]
    parts += [_said(name, value) for name, value in asked.context.items()]
    return f"{asked.action}: {', '.join(parts)}"


def _said(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"no {name}" if value is None else f"{name} {value}"


def _examples(pair: Pair) -> dict[str, Any]:
    differs = {name: {"allowed": one, "forbidden": other} for name, (one, other) in pair.differences().items()}
    return {
        "allows": pair.allows.as_json() if pair.allows else None,
        "forbids": pair.forbids.as_json() if pair.forbids else None,
        "differs": differs,
    }
