"""``duecare policies``: what the rules say, in words.

The rule of this module: it shows exactly the policies that decide, in the order in which they are loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, console, plain, print_json, say, table
from duecare.rules.engine import Engine
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
    """Validate all policies against the schema, and list each with its sentence.

    Your own policies can forbid more than the holdings; a permit among them is refused.

    Example: duecare policies check --policies my-policies
    """
    chosen = load(home=home, policies=operator)
    engine = Engine.load(chosen.policies)
    if as_json:
        rows = [(policy.reason, policy.file) for policy in engine.policies]
        print_json([{**vars(reason), "file": file.name, "operator": file.operator} for reason, file in rows])
        return
    zh = chosen.language == "zh"
    shown = table("允许/禁止" if zh else "effect", "id", "裁判要旨" if zh else "what it says")
    for policy in engine.policies:
        reason, allows = policy.reason, policy.reason.effect == "permit"
        word = ("允许" if allows else "禁止") if zh else reason.effect
        words = f"{plain(reason.zh if zh else reason.en)}\n[dim]{plain(reason.en if zh else reason.zh)}"
        words += f"\n{plain('; '.join(each for each in (reason.article, reason.case) if each))}[/]"
        shown.add_row(f"[{'green' if allows else 'red'}]{word}[/]", plain(reason.id), words)
    console.print(shown)
    mine = sum(policy.file.operator for policy in engine.policies)
    say(f"\n[green]✓[/] {len(engine.policies)} policies fit the schema; {mine} of them are your own.")
