"""``duecare proof``: write the proof files that anyone can check with ``duecare verify``.

The rule of this module: a proof is written only after it has been verified as an outsider would.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from duecare.cli.output import HomeOption, JsonOption, errors, plain, print_json, say
from duecare.errors import BadInput, EvidenceBroken, UnknownName, WitnessUnavailable
from duecare.evidence.check import all_hold
from duecare.evidence.cosign import cosigned, witnesses
from duecare.evidence.log import Log
from duecare.evidence.outbox import EvidenceEntry, sequence
from duecare.evidence.proof import bundle, proof_bytes, verify_bundle
from duecare.settings import Settings, load
from duecare.store.database import Database
from duecare.store.home import Home


def proof(
    about: Annotated[
        str, typer.Argument(help="What the evidence is about, such as alert:17; or the number of an entry.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write the proof files to.")] = Path(),
    since: Annotated[
        Path | None, typer.Option("--since", help="A checkpoint noted earlier: prove also that the log grew from it.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a proof file for every entry of the log about one thing, cosigned by the witnesses of the settings.

    A witness that is down does not hinder the proof; it is then one of the log's signature alone.

    Example: duecare proof alert:17 --out proofs
    """
    older = _read(since) if since else None
    with Home(load(home=home)) as opened:
        database, log = opened.database, Log.at(opened.path)
        sequence(database, log)
        note = _cosigned(log, opened.settings)
        written = [_write(database, log, entry_id, older, note, out) for entry_id in _entries(database, about)]
    if as_json:
        print_json([{"entry": entry_id, "file": str(path)} for entry_id, path in written])
        return
    for _, path in written:
        say(plain(path))
    say(f"[dim]duecare verify {plain(written[0][1])} --key {plain(opened.path / 'keys' / 'log.pub')}[/]")


def _cosigned(log: Log, settings: Settings) -> bytes:
    """The log's checkpoint, cosigned where the witnesses can be reached."""
    try:
        return cosigned(log, witnesses(settings))
    except WitnessUnavailable as error:
        errors.print(f"[yellow]! not cosigned:[/] {plain(error)}")
        return log.note()


def _entries(database: Database, about: str) -> list[int]:
    with database.session() as session:
        wanted = EvidenceEntry.id == int(about) if about.isdecimal() else EvidenceEntry.subject == about
        found = list(session.scalars(select(EvidenceEntry.id).where(wanted).order_by(EvidenceEntry.id)))
        if not found:
            latest = select(EvidenceEntry.subject).order_by(EvidenceEntry.id.desc()).limit(12)
            raise UnknownName("evidence about", about, list(dict.fromkeys(session.scalars(latest))))
    return found


def _write(
    database: Database, log: Log, entry_id: int, older: bytes | None, note: bytes, out: Path
) -> tuple[int, Path]:
    data = proof_bytes(bundle(database, log, entry_id, older, note))
    if not all_hold(verify_bundle(data, log.key)):
        raise EvidenceBroken(f"The proof of entry {entry_id} does not hold.", hint="Run duecare verify --all.")
    path = out / f"evidence-{entry_id}.proof.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.", hint="Name a folder with --out.") from None
    return entry_id, path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.", hint="Name a copy of a checkpoint.") from None
