"""``duecare tidy``: what is no longer true takes no room."""

from __future__ import annotations

from duecare.cli.output import HomeOption, JsonOption, print_json, say, working
from duecare.settings import load
from duecare.store.home import Home


def tidy(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Put small files of the lake together, and remove those that killed processes and older versions left.

    It happens by itself after an ingest where there is enough to do. Facts, changes and every past moment stay as they
    are, and nobody who reads is disturbed. Example: duecare tidy
    """
    from duecare.registers.tidy import tidy as put_in_order

    with Home(load(home=home)) as opened, working("Tidying") as step:
        removed = put_in_order(opened, step)
    if as_json:
        print_json({"removed_files": removed.files, "removed_bytes": removed.size})
    elif removed.files:
        say(f"Removed {removed.files:,} files that nothing named any more, {removed.size:,} bytes.")
    else:
        say("There was nothing to remove.")
