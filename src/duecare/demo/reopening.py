"""The site of a demo that is over: what its home remembers of it, and how it is opened again.

The rule of this module: a command that runs in the demo's home asks the demo's site or nobody. Its companies are made
up, and no real register is asked about them.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from duecare.demo.site import Site
from duecare.demo.story import Plan
from duecare.errors import BadInput, UseError
from duecare.registers.adapters.national_register import SOURCE

MARK = "demo.json"
"""The file that says that the demo made a folder, and of what world it tells."""

_WAIT = 1.0


@dataclass(frozen=True)
class Past:
    """What the home remembers: the plan of its world, and the address at which its site was."""

    folder: Path
    plan: Plan
    url: str

    @property
    def port(self) -> int:
        """The port of the site on this machine."""
        return urlsplit(self.url).port or 0


def remember(folder: Path, plan: Plan, url: str, settings: Mapping[str, Any], account: Mapping[str, Any]) -> None:
    """Let later commands in ``folder`` ask the demo's site and speak in the name of the demo's controller; keep the
    ``account`` of what came of it."""
    said = {"made_by": "duecare demo", "size": plan.size, "days": plan.days, "seed": plan.seed,
            "last": plan.end.isoformat(), "site": url, "account": account}  # fmt: skip
    (folder / MARK).write_text(json.dumps(said, ensure_ascii=False, indent=2, default=str), encoding="utf-8")
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in settings.items()]
    lines += ["", "[sites]", f"{SOURCE.name} = {json.dumps(url)}", ""]
    (folder / "settings.toml").write_text("\n".join(lines), encoding="utf-8")


def past(folder: Path) -> Past | None:
    """The demo that made ``folder``, none where none did or it was never finished."""
    try:
        said = json.loads((folder / MARK).read_text(encoding="utf-8"))
        plan = Plan(said["size"], said["days"], date.fromisoformat(said["last"]), said["seed"])
        return Past(folder, plan, str(said["site"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def asleep(folder: Path) -> str:
    """What to say to somebody whose command asks the demo's site while it is closed; empty where it is open, and in a
    home that no demo made."""
    found = past(folder)
    if found is None or _answers(found.port):
        return ""
    return f"The demo is over, and so is its official site at {found.url}: nothing can be looked up there now."


@contextmanager
def reopened(folder: Path) -> Iterator[Past]:
    """The site of the demo in ``folder``, at its old address and as on its last day, for the length of the block.

    Raises ``UseError`` where no demo made the folder, or where something listens at its address.
    """
    found = past(folder)
    if found is None:
        raise UseError(
            f"{folder} is no home of a finished demo.", hint="Run `duecare demo` first, or name its folder with --home."
        )
    if _answers(found.port):
        raise UseError(
            f"Something listens at {found.url}.",
            hint="Leave it running if it is this site; else end it first.",
        )
    with Site(found.plan.world(), port=found.port) as site:
        site.set_day(found.plan.end)
        yield found


def _answers(port: int) -> bool:
    if not 0 < port < 65_536:
        raise BadInput(f"The demo's site is at port {port}.", hint="Run the demo anew.")
    with socket.socket() as asked:
        asked.settimeout(_WAIT)
        return asked.connect_ex(("127.0.0.1", port)) == 0
