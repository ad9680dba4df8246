"""``duecare receipt``: a person's own copy of a grant, with the proof that it is what was recorded.

The rule of this module: a receipt is written only after it has been verified as an outsider would.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, plain, print_json, say
from duecare.consent.receipts import build, receipt_bytes, verify_receipt
from duecare.errors import BadInput, EvidenceBroken
from duecare.evidence.check import all_hold
from duecare.evidence.log import Log
from duecare.evidence.outbox import sequence
from duecare.settings import load
from duecare.store.home import Home


def receipt(
    grant: Annotated[int, typer.Argument(help="The grant, by the number that `duecare consent show` gives.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the file of the receipt here.", show_default=False)
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a person the receipt of a grant: ISO/IEC TS 27560 in JSON-LD, bound to the log.

    The file holds the receipt, the entry of the log it is bound to and its place; `duecare verify` checks it offline.

    Example: duecare receipt 17 --out receipt-17.json
    """
    with Home(load(home=home)) as opened:
        database, log = opened.database, Log.at(opened.path)
        sequence(database, log)
        document = build(database, log, grant)
        key = opened.path / "keys" / "log.pub"
    checks = verify_receipt(document, log.key)
    if not all_hold(checks):
        failed = next(check for check in checks if not check.holds)
        raise EvidenceBroken(
            f"The receipt of grant {grant} does not hold ({failed.name}: {failed.detail}).",
            hint="Run duecare verify --all.",
        )
    if out is not None:
        _write(out, receipt_bytes(document))
    if as_json or out is None:
        print_json(document["receipt"])
        return
    say(plain(out))
    say(f"[dim]duecare verify {plain(out)} --key {plain(key)}[/]")


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}.", hint="Name a file with --out.") from None
