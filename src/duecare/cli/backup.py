"""``duecare backup`` and ``duecare restore``.

The rule of this module: it says what a backup does not hold.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, plain, print_json, say, working
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
    """Put a backup back into a home that holds keys/ and, if it is left, log/. Erasures since are done again.

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
        print_json({**done.__dict__, "erasures": again.erasures, "slots": again.slots})
    else:
        say(f"Restored {done.id} of {done.made_at:%Y-%m-%d %H:%M} UTC · erasures done again {again.erasures}")
