"""The log's side of witnessing: getting its checkpoint cosigned, and keeping the cosigned one.

The cosigned checkpoint is kept in ``checkpoint.cosigned`` beside ``checkpoint``. It may be older than the log: a
witness that is down holds nothing up but what needs its word.

The rule of this module: a note counts as cosigned only when every required signature in it has been verified here.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from duecare.errors import BadInput, EvidenceBroken, WitnessBroken, WitnessUnavailable
from duecare.evidence.checkpoint import Note, Signature, VerifierKey, open_checkpoint, parse_signature
from duecare.evidence.cosignature import WitnessKey, cosignatures
from duecare.evidence.log import Log
from duecare.evidence.tiles import LogReader
from duecare.evidence.witness import SIZE_TYPE, Submission
from duecare.settings import Settings

if TYPE_CHECKING:
    import httpx

KEPT = "checkpoint.cosigned"
"""The file of the cosigned checkpoint, in the folder of the log."""

WAIT_SECONDS = 5.0
"""How long a witness may take to answer before it counts as unavailable."""

_LARGEST_ANSWER = 1 << 16
_TRIES = 5


class ReadLog(LogReader):
    """A log that is only read, with the public key under which it verifies: enough to ask a witness about it."""

    def __init__(self, folder: Path, key: VerifierKey) -> None:
        super().__init__(folder)
        self.key = key

    @property
    def size(self) -> int:
        """Entries in the log, as its checkpoint says now."""
        return self.checkpoint(self.key).size


class RemoteWitness:
    """A witness at an address, with the key under which its cosignatures must verify."""

    def __init__(self, url: str, key: WitnessKey, wait: float = WAIT_SECONDS) -> None:
        self.url, self.key, self._wait = url.rstrip("/"), key, wait

    def cosign(self, log: Log | ReadLog, note: Note, old: int) -> tuple[Note, Signature]:
        """Ask for the cosignature of ``note``; ``old`` is the size that the witness is believed at.

        Where the log has grown meanwhile, a newer checkpoint is cosigned, and returned with the signature. Raises
        ``WitnessUnavailable``, ``BadInput`` where it does not know the log, ``EvidenceBroken`` where it has seen
        another log than this one.
        """
        for _ in range(_TRIES):
            size = open_checkpoint(note.data(), log.key).size
            response = self._ask(Submission(old, tuple(log.consistency(old, size)), note.data()))
            if response.status_code == 200:
                return note, self._signature(response.content, note)
            if response.status_code != 409:
                raise self._refused(response, log, size)
            old = self._size(response, log, size)
            if old > size:
                # Another process of ours may have gone ahead of us; if none has, our log has gone back.
                note = Note.parse(log.note())
                if open_checkpoint(note.data(), log.key).size < old:
                    raise _went_back(f"The witness {self.key.name} has cosigned {old} entries", log.size)
        raise WitnessUnavailable(f"The witness {self.key.name} at {self.url} names a new size each time it is asked.")

    def _ask(self, submission: Submission) -> httpx.Response:
        import httpx

        deadline = time.monotonic() + self._wait
        try:
            with _client(os.getpid()).stream(
                "POST", f"{self.url}/add-checkpoint", content=submission.data(), timeout=self._wait
            ) as response:
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    if len(body) > _LARGEST_ANSWER:
                        raise WitnessBroken(f"The answer of the witness {self.key.name} is longer than any can be.")
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout(f"no whole answer in {self._wait} seconds")
                return httpx.Response(response.status_code, headers=response.headers, content=bytes(body))
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise WitnessUnavailable(
                f"The witness {self.key.name} at {self.url} cannot be reached: {error or type(error).__name__}.",
                hint="Nothing is lost; ask again when it is back.",
            ) from None
        except httpx.InvalidURL as error:
            raise BadInput(f"The witness address {self.url!r} is not one: {error}.", hint="Write http://…") from None

    def _signature(self, content: bytes, note: Note) -> Signature:
        """The cosignature in the answer; lines of other keys are passed over."""
        for line in content.decode("utf-8", "replace").removesuffix("\n").split("\n"):
            try:
                signature = parse_signature(line)
            except EvidenceBroken as error:
                raise WitnessBroken(f"The answer of the witness {self.key.name} is none: {error.message}") from None
            if (signature.name, signature.key_id) == (self.key.name, self.key.key_id) and note.with_signature(
                signature
            ).signed_by(self.key):
                return signature
        raise WitnessBroken(
            f"The witness at {self.url} answered with no valid cosignature of the key {self.key}.",
            hint="Ask who keeps it for its public key, and put that into the setting witnesses.",
        )

    def _size(self, response: httpx.Response, log: Log | ReadLog, size: int) -> int:
        text = response.content.decode("ascii", "replace").removesuffix("\n")
        if response.headers.get("content-type", "").partition(";")[0] != SIZE_TYPE:
            raise self._refused(response, log, size)
        if not text.isdecimal() or len(text) > 19:
            raise WitnessBroken(f"The witness {self.key.name} named the size {text[:30]!r}, which is none.")
        return int(text)

    def _refused(self, response: httpx.Response, log: Log | ReadLog, size: int) -> Exception:
        said = response.text.strip()[:200]
        status = response.status_code
        if status in (403, 404):
            return BadInput(
                f"The witness {self.key.name} at {self.url} does not know the log {log.key.name} by its key: {said}",
                hint=f"Its keeper runs: duecare witness trust --dir DIR {log.key}",
            )
        if status in (409, 422):
            return EvidenceBroken(
                f"The witness {self.key.name} has seen another past of this log than the {size} entries here: {said}",
                hint="One of the two was rewritten. Nothing was changed; compare with duecare verify --all.",
            )
        if status == 429 or status >= 500:
            return WitnessUnavailable(f"The witness {self.key.name} at {self.url} answered {status}: {said}")
        return WitnessBroken(f"The witness {self.key.name} at {self.url} answered {status}: {said}")


def witnesses(settings: Settings) -> tuple[RemoteWitness, ...]:
    """The witnesses of the setting ``witnesses``. Raises ``BadInput`` naming the one whose key cannot be read."""
    found = []
    for number, each in enumerate(settings.witnesses):
        try:
            key = WitnessKey.parse(each.key)
        except BadInput as error:
            raise BadInput(f"Setting witnesses.{number}.key: {error.message}", hint=error.hint) from None
        if not each.url.startswith(("http://", "https://")):
            raise BadInput(f"Setting witnesses.{number}.url is {each.url!r}.", hint="Write http://… or https://….")
        found.append(RemoteWitness(each.url, key))
    return tuple(found)


def cosigned(log: Log, required: Sequence[RemoteWitness], size: int | None = None) -> bytes:
    """A checkpoint note of at least ``size`` entries (default: all there are), cosigned by every required witness.

    The kept one is returned where it reaches that far; else the witnesses are asked, all at once, and the answer is
    kept. Call it outside of any transaction and, from async code, in a thread. It never waits for an append, nor an
    append for it. Raises ``BadInput`` where the log is not that long, ``WitnessUnavailable`` (nothing is lost, call
    again), ``EvidenceBroken`` where a witness has seen another log.
    """
    keys = [each.key for each in required]
    held = kept(log, keys)
    reached = open_checkpoint(held.data(), log.key).size if held else 0
    # The log is read after what is kept of it: a kept size that is larger cannot come from a process ahead of us.
    data = log.note()
    now = open_checkpoint(data, log.key).size
    size = now if size is None else size
    if size > now:
        raise BadInput(f"The log holds {now} entries, not yet {size}.", hint="Sequence what was recorded first.")
    if reached > now:
        raise _went_back(f"The kept {KEPT} has {reached} entries", now)
    if held and reached >= size:
        return held.data()
    if not required:
        return data
    note = _ask_all(log, required, Note.parse(data), reached)
    _keep(log, note.data())
    return note.data()


def kept(log: Log, keys: Sequence[WitnessKey]) -> Note | None:
    """The kept checkpoint, if it is the log's and cosigned by all of ``keys``; else none: it can be asked for anew."""
    try:
        note = Note.parse((log.folder / KEPT).read_bytes())
        open_checkpoint(note.data(), log.key)
    except (FileNotFoundError, EvidenceBroken):
        return None
    return note if keys and len(cosignatures(note, keys)) == len(keys) else None


def _ask_all(log: Log, required: Sequence[RemoteWitness], note: Note, known: int) -> Note:
    """``note``, or a newer one, with the cosignatures of all. They are asked again until all signed the same."""
    for _ in range(_TRIES):
        ask = partial(_ask, log, note, known)
        if len(required) == 1:
            answers = [ask(required[0])]
        else:
            with ThreadPoolExecutor(len(required), thread_name_prefix="witness") as threads:
                answers = list(threads.map(ask, required))
        newest = max((each for each, _ in answers), key=lambda each: open_checkpoint(each.data(), log.key).size)
        if all(each.text == newest.text for each, _ in answers):
            for _, signature in answers:
                newest = newest.with_signature(signature)
            return newest
        note = newest
    raise WitnessUnavailable("The log grows faster than its witnesses cosign it.", hint="Ask again.")


def _ask(log: Log, note: Note, known: int, witness: RemoteWitness) -> tuple[Note, Signature]:
    return witness.cosign(log, note, known)


def _went_back(what: str, now: int) -> EvidenceBroken:
    return EvidenceBroken(
        f"{what}, the log here only {now}: it was replaced by an older copy.",
        hint="Restore the newer log; do not add to this one.",
    )


def _keep(log: Log, data: bytes) -> None:
    """Put ``data`` in the place of the kept checkpoint. It can be had again, so a power cut may take it."""
    temporary = log.folder / f".{KEPT}.{secrets.token_hex(4)}"
    temporary.write_bytes(data)
    temporary.rename(log.folder / KEPT)


@lru_cache(maxsize=1)
def _client(_process: int) -> httpx.Client:
    """One client for each process: connections are kept, and never shared with a fork."""
    import httpx

    limits = httpx.Limits(max_connections=32, keepalive_expiry=30)
    return httpx.Client(limits=limits, follow_redirects=False, trust_env=False)
