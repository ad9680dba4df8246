"""``duecare certificate``: the certificate of an erasure, as a file; and how each command writes one.

The rule of this module: what is erased is never told as if it were not, whatever befalls its certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duecare.cli.output import HomeOption, JsonOption, plain, print_json, say
from duecare.errors import BadInput, DuecareError
from duecare.settings import load
from duecare.store.home import Home

if TYPE_CHECKING:
    from duecare.vault.records import Vault


@dataclass(frozen=True)
class Written:
    """Where the certificate of the erasure ``id`` was written; else none, and ``why`` not."""

    id: str
    path: Path | None
    why: str = ""

    def line(self) -> str:
        """What a person is told after "erased"."""
        return plain(self.path) if self.path else f"[yellow]certificate pending[/], because: {plain(self.why)}"


def certificate(
    erasure: Annotated[str, typer.Argument(help="The erasure, by its name of 32 hex digits (duecare held lists it).")],
    out: Annotated[Path, typer.Option("--out", help="The file to write it to.", show_default=False)],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the certificate of an erasure to a file, also one that was made later; the witness is asked if it waits.

    Of a person who was forgotten the holder's part is not here any more. Exit code 1 if it cannot be made now.

    Example: duecare certificate 5f0c1d2e3b4a59687766554433221100 --out erased.certificate.json
    """
    from duecare.vault.erasure import certificate as made
    from duecare.vault.records import Vault

    with Home(load(home=home)) as opened, Vault(opened) as vault:
        data = made(vault, erasure)
    try:
        out.write_bytes(data)
    except OSError as error:
        raise BadInput(f"{out} cannot be written: {error.strerror}.", hint="Name another file with --out.") from None
    print_json({"certificate": out}) if as_json else say(plain(out))


def write_certificate(vault: Vault, erasure: str, folder: Path) -> Written:
    """Write the certificate of ``erasure`` into ``folder``, or say why it is not written now. Raises nothing."""
    from duecare.vault.erasure import certificate as made

    path = folder / f"{erasure}.certificate.json"
    try:
        data = made(vault, erasure)
    except DuecareError as error:
        return Written(erasure, None, str(error))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        hint = f"It is made and kept here: duecare certificate {erasure} --out FILE writes it."
        return Written(erasure, None, f"{path} cannot be written: {error.strerror}. {hint}")
    return Written(erasure, path)
