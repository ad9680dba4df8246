"""``duecare proof``: write the proof files that anyone can check with ``duecare verify``.

The rule of this module: a proof is written only after it has been verified as an outsider would.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from duecare.cli.output import HomeOption, JsonOption, errors, plain, print_json, say
from duecare.errors import BadInput, DuecareError, EvidenceBroken, UnknownName, UseError, WitnessUnavailable
from duecare.evidence.check import all_hold
from duecare.evidence.contents import Content
from duecare.evidence.cosign import cosigned, witnesses
from duecare.evidence.log import Log
from duecare.evidence.outbox import EvidenceEntry, sequence
from duecare.evidence.proof import bundle, proof_bytes, verify_bundle
from duecare.settings import Settings, load
from duecare.store.database import Database
from duecare.store.home import Home

_Write = Callable[..., tuple[int, Path]]


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

    Of an alert there is also one that holds what it says, whether anybody was told it or not. Where the alert in the
    database is not what was logged, that is an error. A witness that is down does not hinder the proof; it is then one
    of the log's signature alone.

    Example: duecare proof alert:17 --out proofs
    """
    older = _read(since) if since else None
    with Home(load(home=home)) as opened:
        database, log = opened.database, Log.at(opened.path)
        sequence(database, log)
        alert = _alert(about)
        entries = _entries(database, about, known=alert is not None)
        note = _cosigned(log, opened.settings)
        write = partial(_write, database, log, older, note, out)
        written = [write(entry_id) for entry_id in entries]
        broken: DuecareError | None = None  # raised last: what can be proved is told first
        if alert is not None:
            try:
                written.append(_of_alert(database, alert, write, zh=opened.settings.language == "zh"))
            except UnknownName:
                if not entries:
                    raise
                broken = EvidenceBroken(
                    f"The log has evidence about alert {alert}, but the database holds no such alert.",
                    hint="It was deleted, or lost with an older copy. Run duecare verify --all.",
                )
            except (EvidenceBroken, UseError) as error:
                broken = error
    if as_json:
        print_json([{"entry": entry_id, "file": str(path)} for entry_id, path in written])
    else:
        for _, path in written:
            say(plain(path))
        if written:
            say(f"[dim]duecare verify {plain(written[-1][1])} --key {plain(opened.path / 'keys' / 'log.pub')}[/]")
    if broken:
        raise broken


def _alert(about: str) -> int | None:
    """The id of the alert that is asked about; none where it is something else."""
    found = re.fullmatch(r"alert:(-?[1-9][0-9]*)", about, re.ASCII)
    return int(found[1]) if found else None


def _cosigned(log: Log, settings: Settings) -> bytes:
    """The log's checkpoint, cosigned where the witnesses can be reached."""
    try:
        return cosigned(log, witnesses(settings))
    except WitnessUnavailable as error:
        errors.print(f"[yellow]! not cosigned:[/] {plain(error)}")
        return log.note()


def _entries(database: Database, about: str, *, known: bool) -> list[int]:
    """The entries that are about one thing by their subject; of an alert (``known``) there may be none."""
    with database.session() as session:
        wanted = EvidenceEntry.id == int(about) if about.isdecimal() else EvidenceEntry.subject == about
        found = list(session.scalars(select(EvidenceEntry.id).where(wanted).order_by(EvidenceEntry.id)))
        if not found and not known:
            latest = select(EvidenceEntry.subject).order_by(EvidenceEntry.id.desc()).limit(12)
            raise UnknownName("evidence about", about, list(dict.fromkeys(session.scalars(latest))))
    return found


def _of_alert(database: Database, alert: int, write: _Write, *, zh: bool) -> tuple[int, Path]:
    """Write the proof of what alert ``alert`` says: of the entry that commits to it, with its text.

    Raises ``UnknownName``, and ``EvidenceBroken`` where the database is not what was logged.
    """
    from duecare.radar.raisings import raising_of

    with database.session() as session:
        raising, content = raising_of(session, alert)
    if content is None:
        errors.print(
            "[yellow]! 该动态产生时, 证据只记载变更编号, 未记载内容; 所写证明不含其内容。[/]"
            if zh
            else "[yellow]! When this alert was raised, evidence named only the changes and not what was said of them: "
            "the proof does not hold its content.[/]"
        )
        return write(raising.entry)
    return write(raising.entry, content, f"-alert-{alert}")


def _write(
    database: Database,
    log: Log,
    older: bytes | None,
    note: bytes,
    out: Path,
    entry_id: int,
    content: Content | None = None,
    name: str = "",
) -> tuple[int, Path]:
    data = proof_bytes(bundle(database, log, entry_id, older, note, content))
    if not all_hold(verify_bundle(data, log.key)):
        raise EvidenceBroken(f"The proof of entry {entry_id} does not hold.", hint="Run duecare verify --all.")
    path = out / f"evidence-{entry_id}{name}.proof.json"
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
