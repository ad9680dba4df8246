"""Is this home the newest there is? A witness knows; a note outside of the home bridges the time until it answers.

Where database, keys and log are put back from one old copy, nothing in the home can tell: what was erased since is
there again. A witness remembers a longer log. Until one has answered, the note says how far the log was on this
machine, and when a witness last said so (docs/decisions/a-home-asks-its-witness.md).

The rule of this module: in a home that has witnesses nothing personal is opened by a copy that nobody vouches for,
unless an operator takes that upon themselves, which is evidence.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from duecare.errors import BadInput, EvidenceBroken, WitnessBroken, WitnessUnavailable
from duecare.evidence import merkle
from duecare.evidence.checkpoint import Note, open_checkpoint
from duecare.evidence.cosign import RemoteWitness
from duecare.evidence.outbox import record
from duecare.store import durable
from duecare.vault.entries import one_line

if TYPE_CHECKING:
    from duecare.vault.records import Vault

WITNESS_SECONDS = 2.0
"""How long the opening of a vault waits for a witness."""

AGAIN_SECONDS = 5.0
"""How soon the witnesses are asked again by an opening that waits for their word."""

_SAID = "vault:open_unwitnessed"


@dataclass(frozen=True)
class Seen:
    """The note: how long the log was, its root (hex), and when a witness last vouched for the home."""

    size: int
    root: str
    witnessed_at: datetime


class Newest:
    """Whether somebody vouches for this home. Asked by every opening, which costs nothing once it is known."""

    def __init__(self, vault: Vault) -> None:
        self._vault, self._known = vault, not vault.witnesses
        self._why, self._asked, self._guard = "", 0.0, threading.Lock()
        self._path: Path = vault.home.settings.state / f"{vault.home.id}.seen"

    def ask(self) -> bool:
        """Have each witness cosign the log as it is; whether one did. One that has seen a longer log says so.

        Raises ``EvidenceBroken`` where a witness has seen another log, or this machine a longer one.
        """
        vault, answered = self._vault, False
        if not vault.witnesses:
            return True
        self._asked = time.monotonic()
        seen = self._read()
        self._compare(seen)
        for each in vault.witnesses:
            note = Note.parse(vault.log.note())
            size = open_checkpoint(note.data(), vault.log.key).size
            try:
                RemoteWitness(each.url, each.key, WITNESS_SECONDS).cosign(vault.log, note, size)
                answered = True
            except (WitnessUnavailable, BadInput, WitnessBroken) as error:
                # It may be down for a while, not know us yet or be broken: the note bridges that.
                self._why = str(error)
                structlog.get_logger().warning("witness not asked", witness=each.key.name, why=str(error))
        if answered:
            self._write(vault.clock.now())
        hours = timedelta(hours=vault.home.settings.witness_hours)
        fresh = seen is not None and timedelta(0) <= vault.clock.now() - seen.witnessed_at <= hours
        self._known = self._known or answered or fresh
        return answered

    def note(self) -> None:
        """Note how long the log is now; the word of a witness stays as old as it is."""
        seen = self._read() if self._vault.witnesses else None
        if seen is not None and self._vault.log.size > seen.size:
            self._write(seen.witnessed_at)

    def require(self) -> None:
        """Raise ``WitnessUnavailable`` where nobody vouches for this home. Call it outside of any transaction."""
        if self._known:
            return
        with self._guard:
            if not self._known and time.monotonic() - self._asked > AGAIN_SECONDS:
                self.ask()
            if self._known:
                return
            by = self._vault.home.settings.unwitnessed
            if not by:
                raise WitnessUnavailable(
                    f"No witness has vouched for this home within {self._vault.home.settings.witness_hours} hours, and "
                    f"it could be an older copy, in which what was erased is there again. {self._why}",
                    hint="Bring a witness back: it is asked again by itself. To take the risk, set DUECARE_UNWITNESSED "
                    "to who answers for it and why; it is kept as evidence.",
                )
            one_line(unwitnessed=by)
            with self._vault.database.session() as session:
                body = {"by": by, "size": self._vault.log.size, "why": self._why}
                record(session, _SAID, f"log:{self._vault.log.key.name}", body, self._vault.clock.now())
            self._known = True

    def _compare(self, seen: Seen | None) -> None:
        if seen is None:
            return
        log = self._vault.log
        if log.size < seen.size or merkle.tree_root(seen.size, log.nodes(seen.size)).hex() != seen.root:
            raise EvidenceBroken(
                f"This machine has seen {seen.size} entries of the log, and those are not what stands here "
                f"({log.size}): the home was replaced by an older copy.",
                hint=f"Restore the newer one. What was seen is noted in {self._path}.",
            )

    def _read(self) -> Seen | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            said = json.loads(self._path.read_text(encoding="utf-8"))
            return Seen(int(said["size"]), str(said["root"]), datetime.fromisoformat(said["witnessed_at"]))
        return None

    def _write(self, at: datetime) -> None:
        log = self._vault.log
        held = log.checkpoint(log.key)
        said = {"size": held.size, "root": held.root.hex(), "witnessed_at": at.isoformat()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            durable.replace(self._path, json.dumps(said).encode())
        except OSError as error:
            structlog.get_logger().warning("not noted how long the log is", path=str(self._path), why=str(error))
