"""``duecare backup`` and ``duecare restore``.

The rule of this module: it says what a backup does not hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, console, plain, print_json, say, working
from duecare.cli.passes.missing import lines
from duecare.settings import load
from duecare.store.home import Home


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for the backup.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a sealed backup of the home: database, lake, blobs, log. The keys are not in it.

    Copy keys/ to another place at the same time, and keep only the newest copy of it.

    Example: duecare backup backups/monday
    """
    from duecare.vault.backup import LEFT_OUT
    from duecare.vault.backup import backup as work

    with Home(load(home=home)) as opened, working("sealing"):
        made = work(opened, folder)
    if as_json:
        print_json({**made.__dict__, "left_out": LEFT_OUT})
        return
    say(f"Backup {made.id}: {plain(made.folder)}, {made.size:,} bytes")
    say(f"[yellow]! Not in it[/]: {', '.join(f'{name}/' for name in LEFT_OUT)}.")
    say(f"[bold]Copy {plain(opened.path / 'keys')} to another place now[/]; without it the backup is noise.")


def restore(
    folder: Annotated[Path, typer.Argument(help="The folder of the backup.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back into a home that holds keys/ and, if it is left, log/. What ended since ends again.

    Erasures, lost cards, refunds, used tickets are done again from the log. What the log alone cannot bring back, such
    as who bought a pass since, is named.

    Example: duecare restore backups/monday
    """
    from duecare.vault.backup import restore as work
    from duecare.vault.records import Vault

    settings = load(home=home)
    with working("restoring"):
        done = work(settings, folder)
        with Home(settings) as opened, Vault(opened) as vault:
            again = vault.recovered
    if as_json:
        missing = [each.as_json() for each in again.missing]
        print_json({**done.__dict__, **again.__dict__, "missing": missing})
        return
    say(f"Restored {done.id} of {done.made_at:%Y-%m-%d %H:%M} UTC · erasures done again {again.erasures}")
    if again.again:
        say("Done again from the log: " + ", ".join(f"{kind} {count}" for kind, count in sorted(again.again.items())))
    if again.missing:
        say("[yellow]! The log knows of these, and nothing can make them again[/]:")
        console.print(lines(again.missing))
