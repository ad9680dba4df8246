"""``duecare erase``: erase what is held of a person, and hand over the certificates.

The rule of this module: nothing is erased that was not named, or ordered with ``--all``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from duecare.cli.certificate import Written, write_certificate
from duecare.cli.output import FOR_EVER, HomeOption, JsonOption, counting, moment, plain, print_json, say
from duecare.errors import BadInput
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.vault.erasure import Finished, Outcome
    from duecare.vault.records import Vault


def erase(
    subject: Annotated[
        str | None, typer.Argument(help="The person, by the name of 32 hex digits.", show_default=False)
    ] = None,
    purpose: Annotated[list[str] | None, typer.Option("--purpose", help="A purpose; may be given again.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All purposes.")] = False,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget",
            help="Also forget the salts: the log alone names nobody then. Rows of ours keep the random name SUBJECT, "
            "and numbers that the log names.",
        ),
    ] = False,
    note: Annotated[str, typer.Option("--note", help=f"Why, in words; {FOR_EVER}")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write the certificates to (default: here).")
    ] = None,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish",
            help="Finish what was interrupted, and make all certificates that wait; with --out, write them.",
        ),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase what is held of a person at their request, for the purposes named; write each certificate.

    Where no witness cosigns now, it is erased all the same, and the certificate is made later: duecare certificate
    writes it then. Exit code 1 if a legal hold keeps something, or a certificate waits.

    Example: duecare erase 3c2d86b824444c2cff36b859f0b09aba --purpose fingerprint_entry --out certificates
    """
    from duecare.vault.records import Vault

    if (subject is None) is not finish or (subject is not None and bool(purpose) is everything):
        raise BadInput(
            "It is not clear what to erase.",
            hint="Name a person with --purpose or --all; or say --finish alone to finish what was begun.",
        )
    with Home(load(home=home)) as opened, Vault(opened) as vault:
        if subject is None:
            _finish(vault, out, as_json=as_json)
            return
        outcome, written = _erase(vault, subject, purpose or None, note, out or Path())
        whole = not outcome.held and all(each.path is not None for each in written.values())
        if forget and whole:
            _forget(vault, subject)
    if as_json:
        print_json(_as_json(outcome, written))
    else:
        _say(outcome, written)
    if not whole:
        raise typer.Exit(1)


def _finish(vault: Vault, out: Path | None, *, as_json: bool) -> None:
    """Do what was left undone, and tell; the certificates made are written into ``out``, where it is given."""
    from duecare.vault.erasure import finish

    with counting() as count:
        done = finish(vault, progress=count("certificates"))
    files = [write_certificate(vault, each, out) for each in done.ids] if out is not None else []
    _say_finished(done, files, as_json=as_json)


def _erase(
    vault: Vault, subject: str, purposes: list[str] | None, note: str, folder: Path
) -> tuple[Outcome, dict[str, Written]]:
    """What erasing came to, and each certificate by the id of its erasure, written into ``folder``."""
    from duecare.vault.erasure import erase

    outcome = erase(vault, subject, purposes, note=note)
    return outcome, {each.id: write_certificate(vault, each.id, folder) for each in outcome.erasures}


def _forget(vault: Vault, subject: str) -> None:
    from duecare.vault.erasure import forget

    with vault.database.session() as session:
        forget(session, subject, vault.clock.now())


def _as_json(outcome: Outcome, written: dict[str, Written]) -> dict[str, Any]:
    return {
        "erasures": [
            {
                "id": each.id, "purpose": each.purpose, "places": each.places,
                "certificate": written[each.id].path, "pending": written[each.id].why,
            }
            for each in outcome.erasures
        ],
        "held": outcome.held,
        "earlier": [{"id": each.id, "purpose": each.purpose, "at": each.begun_at} for each in outcome.earlier],
    }  # fmt: skip


def _say(outcome: Outcome, written: dict[str, Written]) -> None:
    for each in outcome.erasures:
        say(f"{plain(each.purpose)}: erased. {written[each.id].line()}")
    for name in outcome.held:
        say(f"[yellow]! {plain(name)}: kept by a legal hold[/], and used for nothing.")
    if not outcome.erasures and not outcome.held:
        say("Nothing was left to erase.")
        for each in outcome.earlier:
            say(f"{plain(each.purpose)}: erased at {moment(each.begun_at)}, certificate {each.id}")
        if outcome.earlier:
            say("[dim]duecare certificate ID --out FILE writes one.[/]")


def _say_finished(done: Finished, files: Sequence[Written], *, as_json: bool) -> None:
    if as_json:
        print_json({**done.__dict__, "written": [each.path for each in files if each.path]})
    else:
        say(f"Erasures finished {done.acts} · certificates made {done.certified} · waiting {done.pending}")
        for each in files:
            say(each.line())
        if done.pending:
            say(f"[yellow]! {plain(done.witness)}[/]")
    if done.pending or not all(each.path for each in files):
        raise typer.Exit(1)
