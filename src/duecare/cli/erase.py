"""``duecare erase``: erase what is held of a person, and hand over the certificates.

The rule of this module: nothing is erased that was not named, or ordered with ``--all``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, counting, plain, print_json, say
from duecare.errors import BadInput, WitnessUnavailable
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.vault.erasure import Erasure, Finished
    from duecare.vault.records import Vault


def erase(
    subject: Annotated[
        str | None, typer.Argument(help="The person, by the name of 32 hex digits.", show_default=False)
    ] = None,
    purpose: Annotated[list[str] | None, typer.Option("--purpose", help="A purpose; may be given again.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All purposes.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Also forget the salts: nobody can tie the log to the person any more.")
    ] = False,
    note: Annotated[str, typer.Option("--note", help="Why, in words; kept with the erasure.")] = "",
    out: Annotated[Path, typer.Option("--out", help="Folder to write the certificates to.")] = Path(),
    finish: Annotated[
        bool, typer.Option("--finish", help="Finish what was interrupted, and make all certificates that wait.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase what is held of a person at their request, for the purposes named; write each certificate.

    Where the witness cannot be reached, it is erased all the same, and the certificate is made later. Exit code 1 if a
    legal hold keeps something, or a certificate waits.

    Example: duecare erase 3c2d86b824444c2cff36b859f0b09aba --purpose fingerprint_entry --out certificates
    """
    from duecare.vault.erasure import erase as work
    from duecare.vault.erasure import finish as complete
    from duecare.vault.erasure import forget as forget_them
    from duecare.vault.records import Vault

    if (subject is None) is not finish or (subject is not None and bool(purpose) is everything):
        raise BadInput(
            "It is not clear what to erase.",
            hint="Name a person with --purpose or --all; or say --finish alone to finish what was begun.",
        )
    with Home(load(home=home)) as opened, Vault(opened) as vault:
        if subject is None:
            with counting() as count:
                done = complete(vault, progress=count("certificates"))
            _say_finished(done, as_json=as_json)
            return
        outcome = work(vault, subject, purpose or None, note=note)
        written = {each.id: write_certificate(vault, each, out) for each in outcome.erasures}
        if forget and not outcome.held and all(written.values()):
            with opened.database.session() as session:
                forget_them(session, subject, opened.clock.now())
    if as_json:
        print_json(
            {
                "erasures": [
                    {"id": each.id, "purpose": each.purpose, "places": each.places, "certificate": written[each.id]}
                    for each in outcome.erasures
                ],
                "held": outcome.held,
            }
        )
    else:
        for each in outcome.erasures:
            where = plain(written[each.id]) if written[each.id] else "[yellow]the certificate waits for its witness[/]"
            say(f"{plain(each.purpose)}: erased. {where}")
        for name in outcome.held:
            say(f"[yellow]! {plain(name)}: kept by a legal hold[/], and used for nothing.")
    if outcome.held or not all(written.values()):
        raise typer.Exit(1)


def write_certificate(vault: Vault, erasure: Erasure, out: Path) -> Path | None:
    """Write the certificate of ``erasure`` into the folder ``out``; where. None: it waits for its witness."""
    from duecare.vault.erasure import certificate

    if not vault.witnesses:
        return None
    try:
        data = certificate(vault, erasure.id)
    except WitnessUnavailable:
        return None
    path = out / f"{erasure.id}.certificate.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written: {error.strerror}.", hint="It is erased; name a folder with --out and ask again."
        ) from None
    return path


def _say_finished(done: Finished, *, as_json: bool) -> None:
    if as_json:
        print_json(done.__dict__)
    else:
        say(f"Erasures finished {done.acts} · certificates made {done.certified} · waiting {done.pending}")
        if done.pending:
            say(f"[yellow]! {plain(done.witness)}[/]")
    if done.pending:
        raise typer.Exit(1)
