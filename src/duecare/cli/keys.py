"""``duecare keys``: the state of the vault's keys, and their rotation. No key is ever shown.

The rule of this module: it prints numbers and names of keys, nothing that opens anything.
"""

from __future__ import annotations

from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, plain, print_json, say, working
from duecare.settings import load
from duecare.store.home import Home

keys = typer.Typer(help="The vault's keys: their state, and rotation.", no_args_is_help=True)


@keys.command()
def show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show which keys there are, how many were erased, and whether any is missing. Exit code 1 if one is missing.

    Example: duecare keys show
    """
    from duecare.vault.backup import backups
    from duecare.vault.records import Vault
    from duecare.vault.rotation import inventory

    with Home(load(home=home)) as opened, Vault(opened) as vault:
        found, kept = inventory(vault), backups(opened.path)
    if as_json:
        print_json({**found.__dict__, "backups": kept})
    else:
        say(f"Master key {found.master} · index key {found.index or 'none yet'}")
        say(f"Keys of people: {found.live} live, {found.erased} erased")
        if found.unused:
            say(f"[dim]{found.unused} slots hold keys that nothing was sealed under[/]")
        if found.missing:
            say(f"[red]! {found.missing} keys are missing[/]: keys/ is an older copy. Put the newest one back.")
        say(f"Backups that can be restored: {', '.join(kept) or 'none'}")
    if found.missing:
        raise typer.Exit(1)


@keys.command()
def rotate(
    end_backup: Annotated[
        str | None,
        typer.Option("--end-backup", help="Destroy the key of this backup instead: its copies become noise."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put all keys under a new master key and the look-ups under a new index key; the old ones are destroyed.

    The vault stays in use. Copies of keys/ that were made before are noise afterwards: make a new one.

    Example: duecare keys rotate
    """
    from duecare.vault.backup import end_backup as end
    from duecare.vault.records import Vault
    from duecare.vault.rotation import rotate as work

    with Home(load(home=home)) as opened:
        if end_backup is not None:
            end(opened.path, end_backup)
            print_json({"ended": end_backup}) if as_json else say(f"The backup {plain(end_backup)} is noise now.")
            return
        with Vault(opened) as vault, working("rotating"):
            done = work(vault)
    if as_json:
        print_json(done.__dict__)
    else:
        say(f"Master key {done.master} · index key {done.index or 'none yet'} · look-ups made again {done.lookups}")
