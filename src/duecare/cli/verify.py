"""``duecare verify``: is this proof, certificate or receipt genuine, is the entry in the log, did the log only grow?

The rule of this module: it needs no network, no database and no trust in us: a file, public keys, and at most the
log's own files. A witness is asked only where that was said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from duecare.cli.certified import say_certificate
from duecare.cli.output import HomeOption, JsonOption, errors, plain, print_json, say
from duecare.consent import receipts
from duecare.errors import BadInput, EvidenceBroken, WitnessUnavailable
from duecare.evidence import certificate
from duecare.evidence.audit import audit
from duecare.evidence.check import Check, all_hold, answer
from duecare.evidence.checkpoint import Checkpoint, Note, VerifierKey, open_checkpoint, read_key, read_public
from duecare.evidence.cosign import KEPT, ReadLog, RemoteWitness, witnesses
from duecare.evidence.cosignature import WitnessKey
from duecare.evidence.document import Included, format_of, verify_cosigned
from duecare.evidence.outbox import waiting
from duecare.evidence.proof import FORMAT as PROOF
from duecare.evidence.proof import Proof, parse_proof, verify_bundle, verify_growth
from duecare.evidence.tiles import LogReader
from duecare.settings import Settings, load
from duecare.store.database import exists_at
from duecare.store.home import Home

_WITNESS_HINT = "Give the witness's public key with --witness FILE; its keeper has it at witness.pub in its folder."


def verify(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A certificate, a receipt, a proof file, or a checkpoint noted earlier.", show_default=False
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Re-derive the whole log of the home; with FILE, also growth since it.")
    ] = False,
    key: Annotated[
        Path | None, typer.Option("--key", help="The log's public key (default: the home's own).", show_default=False)
    ] = None,
    witness: Annotated[
        list[Path] | None,
        typer.Option(
            "--witness",
            help="A witness's public key; each given must have cosigned. With --all: what is kept as cosigned. Default "
            "for a certificate: those of the setting witnesses.",
            show_default=False,
        ),
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="With --all: ask the witnesses of the settings whether they saw more of it.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an erasure certificate, a receipt, a proof file or the whole log, from files alone.

    A certificate is checked for its signature, the cosignatures of its witnesses and its place in the log; a proof for
    its signature and place; a receipt also for what it says. Where the home's log is at hand, it must only have grown
    since. A checkpoint is compared with the home's log. A log that was put back to an older copy holds in itself: who
    has seen more of it is the witness (``--ask``). With --all the alerts in the home's database are compared with the
    log, and it is said how much evidence waits there and is not in the log yet. Exit code 0: everything holds; 1: a
    check failed.

    Example: duecare verify certificate.json --key log.pub --witness witness.pub
    """
    chosen = load(home=home)
    _must_be_clear(chosen, file, everything=everything, ask=ask)
    data = _read(file) if file is not None else None
    public = read_key(key or chosen.home / "keys" / "log.pub")
    log = _log_of(chosen, needed=everything)
    keys = _witness_keys(chosen, witness or (), data)
    checks, proved = verify_file(data, public, log, keys) if data is not None else ([], None)
    unsequenced = 0
    if log is not None and everything:
        unsequenced = _waiting(chosen)
        checks += _verify_whole(log, public, keys, chosen if ask else None, quiet=as_json)
        checks += _alerts(chosen, log, public)
    if as_json:
        print_json({**_document(file, public, checks, proved), "waiting": unsequenced})
    else:
        _print(file, public, checks, proved, zh=chosen.language == "zh")
        if unsequenced:
            _say_waiting(unsequenced, zh=chosen.language == "zh")
    if not all_hold(checks):
        raise typer.Exit(1)


def _must_be_clear(chosen: Settings, file: Path | None, *, everything: bool, ask: bool) -> None:
    """Raises ``BadInput`` where nothing was named to verify, or no witness to ask."""
    if file is None and not everything:
        raise BadInput(
            "There is nothing to verify.", hint="Name a certificate, receipt, proof or checkpoint file, or give --all."
        )
    if ask and not (everything and chosen.witnesses):
        raise BadInput(
            "There is no witness to ask about the whole log.",
            hint="Give --all too, and put the url and key of a witness into the setting witnesses.",
        )


def _log_of(chosen: Settings, *, needed: bool) -> LogReader | None:
    """The log of the home; none where there is only a file, as outside. Raises ``BadInput`` where it is ``needed``."""
    if (chosen.home / "log" / "checkpoint").exists():
        return LogReader(chosen.home / "log")
    if needed:
        raise BadInput(f"There is no log in {chosen.home}.", hint="Name the home of a log with --home.")
    return None


def _witness_keys(chosen: Settings, given: Sequence[Path], data: bytes | None) -> list[WitnessKey]:
    """The keys of the witnesses that must have cosigned: those given; else, for a certificate, of the settings."""
    keys = [read_public(path, WitnessKey, _WITNESS_HINT) for path in given]
    if data is not None and format_of(data) == certificate.FORMAT and not keys:
        keys = [each.key for each in witnesses(chosen)]
    return keys


def _verify_whole(
    log: LogReader, public: VerifierKey, keys: Sequence[WitnessKey], asking: Settings | None, *, quiet: bool
) -> list[Check]:
    """The checks of the whole log: derived again, cosigned by ``keys``, and seen no longer by the witnesses of the
    settings ``asking``."""
    checks = _audit(log, public, quiet=quiet)
    if keys:
        checks += _witnessed(log, public, keys)
    if asking is not None:
        checks += _asked(ReadLog(log.folder, public), witnesses(asking))
    return checks


def _waiting(chosen: Settings) -> int:
    """How many entries of the home's database are not in its log yet; 0 where there is only a log, as outside."""
    if not _has_database(chosen):
        return 0
    with Home(chosen) as opened:
        return waiting(opened.database)


def _alerts(chosen: Settings, log: LogReader, public: VerifierKey) -> list[Check]:
    """Whether the alerts in the home's database are those that the log holds; nothing where there is only a log."""
    if not _has_database(chosen):
        return []
    try:
        size = log.checkpoint(public).size
    except EvidenceBroken:
        return []  # said already
    from duecare.radar.raisings import verify_alerts

    with Home(chosen) as opened:
        return [verify_alerts(opened.database, log, size)]


def _has_database(chosen: Settings) -> bool:
    return exists_at(chosen.database) and (chosen.home / "home.id").exists()


def _say_waiting(count: int, *, zh: bool) -> None:
    say(
        f"  [yellow]! {count} 条记录尚未写入日志[/], 以上对日志的核验不包括它们; duecare retention run 将其写入。"
        if zh
        else f"  [yellow]! {count} entries wait to be put into the log[/]: what is said of the log above does not "
        "cover them. The next duecare retention run or proof puts them in."
    )
    say()


def verify_file(
    data: bytes, public: VerifierKey, log: LogReader | None, keys: Sequence[WitnessKey] = ()
) -> tuple[list[Check], Included | None]:
    """The checks of a certificate, receipt, proof or checkpoint file, and what a genuine one of the first three says.

    ``log`` is the log to compare with, where one is at hand. A log of another origin is not compared with.
    """
    if data.startswith(b"{"):
        form = format_of(data)
        known = (PROOF, certificate.FORMAT, receipts.FORMAT)
        if form not in (*known, ""):
            return [answer("form", False, f"the format {form!r} is none of {', '.join(known)}")], None
        read: Callable[[bytes], Included]
        if form == certificate.FORMAT:
            checks, read = certificate.verify_certificate(data, public, keys), certificate.parse_certificate
        elif form == receipts.FORMAT:
            checks, read = receipts.verify_receipt(data, public, keys or None), receipts.parse_receipt
        else:
            checks, read = verify_bundle(data, public, keys or None), parse_proof
        if not all_hold(checks):
            return checks, None
        proved = read(data)
        if log is not None and _same_origin(log, public):
            checks.append(_grown(proved.checkpoint, public, log))
        return checks, proved
    try:
        noted = open_checkpoint(data, public)
    except EvidenceBroken as error:
        return [answer("form" if not _is_note(data) else "signature", False, error)], None
    checks = [answer("form", True, "checkpoint"), answer("signature", True, f"{noted.origin}, {noted.size} entries")]
    if keys:
        checks.append(verify_cosigned(data, keys))
    if log is None:
        raise BadInput("There is no log here to compare the checkpoint with.", hint="Name its home with --home.")
    return [*checks, _grown(data, public, log)], None


def _grown(older: bytes, public: VerifierKey, log: LogReader) -> Check:
    """Whether the log at hand stands unchanged since the (genuine) checkpoint ``older``."""
    try:
        now: Checkpoint = log.checkpoint(public)
        then = open_checkpoint(older, public)
        if then.size > now.size:
            return answer("growth", False, f"the log here has {now.size} entries, the file speaks of {then.size}")
        return verify_growth(older, now, log.consistency(then.size, now.size), public)
    except EvidenceBroken as error:
        return answer("growth", False, error)


def _witnessed(log: LogReader, public: VerifierKey, keys: Sequence[WitnessKey]) -> list[Check]:
    """Whether the witnesses cosigned what is kept as cosigned, and the log stands unchanged since."""
    try:
        data = (log.folder / KEPT).read_bytes()
    except FileNotFoundError:
        return [answer("cosignature", False, f"the log has no {KEPT}: nothing of it was cosigned yet")]
    return [verify_cosigned(data, keys), _grown(data, public, log)]


def _asked(log: ReadLog, known: Sequence[RemoteWitness]) -> list[Check]:
    """Whether each witness has seen no more of the log than is here, and no other one; it cosigns what is here."""
    checks = []
    for each in known:
        try:
            note = Note.parse(log.note())
            each.cosign(log, note, open_checkpoint(note.data(), log.key).size)
            checks.append(answer("witness", True, each.key.name))
        except (EvidenceBroken, BadInput, WitnessUnavailable) as error:
            checks.append(answer("witness", False, error))
    return checks


def _same_origin(log: LogReader, public: VerifierKey) -> bool:
    try:
        return Checkpoint.parse(Note.parse(log.note()).text).origin == public.name
    except EvidenceBroken:
        return True


def _is_note(data: bytes) -> bool:
    try:
        Note.parse(data)
    except EvidenceBroken:
        return False
    return True


def _audit(log: LogReader, public: VerifierKey, *, quiet: bool) -> list[Check]:
    with Progress(console=errors, transient=True, disable=quiet) as progress:
        task = progress.add_task("重新推算日志 / re-deriving the log", total=None)
        return audit(
            log.folder, public, progress=lambda done, total: progress.update(task, completed=done, total=total)
        )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{file} cannot be read: {error.strerror}.", hint="Name a certificate, proof or checkpoint file."
        ) from None


def _document(file: Path | None, public: VerifierKey, checks: list[Check], proved: Included | None) -> dict[str, Any]:
    openings = proved.holder if isinstance(proved, certificate.Certificate) else ()
    return {
        "file": str(file) if file else None,
        "key": str(public),
        "holds": all_hold(checks),
        "checks": [check.as_json() for check in checks],
        "entry": proved.entry if proved else None,
        "content": _content(proved),
        "opened": {opening.commitment: opening.value for opening in openings},
    }


def _content(proved: Included | None) -> dict[str, Any] | None:
    """The text that a proof holds, for programs; none where it holds none."""
    if not isinstance(proved, Proof) or proved.content is None:
        return None
    from duecare.cli.content import content_json

    return content_json(proved)


def _print(file: Path | None, public: VerifierKey, checks: list[Check], proved: Included | None, *, zh: bool) -> None:
    say(f"\n[bold]{plain(file or public.name)}[/]\n")
    failed = [check for check in checks if not check.holds]
    if failed:
        say(f"  [bold red]{f'{len(failed)} 项不成立, 不能作为证明' if zh else f'{len(failed)} failed: no proof'}[/]\n")
    for check in checks:
        seal, style = ("核 ✓", "bold green") if check.holds else ("疑 ✗", "bold red")
        words, other = (check.meaning_zh, check.meaning_en) if zh else (check.meaning_en, check.meaning_zh)
        say(f"  [{style}]{seal}  {plain(words)}[/]")
        say(f"        [dim]{plain(other)}[/]")
        if check.detail:
            say(f"        [dim]{plain(check.detail)}[/]")
        say()
    if all(check.name not in ("growth", "witness") for check in checks) and all_hold(checks):
        say(
            "  只增不改: 手头没有较早的状态可以比较"
            if zh
            else "  Only grown: no earlier state is at hand to compare with."
        )
        say()
    if isinstance(proved, certificate.Certificate):
        say_certificate(proved, zh=zh)
    elif proved is not None:
        entry = proved.entry
        say(f"  {'记录内容' if zh else 'The entry'}: {plain(entry['kind'])} · {plain(entry['subject'])}")
        say(f"  {plain(entry['at'])}  {plain(json.dumps(entry['body'], ensure_ascii=False))}\n")
        if isinstance(proved, Proof) and proved.content is not None:
            from duecare.cli.content import say_content

            say_content(proved, zh=zh)
    say(f"  [dim]{'验证所用公钥' if zh else 'Checked with the public key'} {plain(public)}[/]\n")
