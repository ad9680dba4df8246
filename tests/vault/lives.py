"""A process that works on a vault and is killed at a line of the project's own code, the ``step``-th that it runs."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import select

from duecare.consent.models import GrantRow
from duecare.vault import erasure, retention, rotation
from duecare.vault.exports import export
from duecare.vault.records import Vault

from ..consent import world
from .park import BASIC, opened

FRESH = get_context("forkserver")
FRESH.set_forkserver_preload(["tests.vault.lives"])


def photo(subject: str) -> bytes:
    """The photo of a subject: what a search of the files would find."""
    return f"PHOTO-OF-{subject}".encode() * 3


def phone(subject: str) -> str:
    """The telephone number of a subject, by which they are found."""
    return f"138{int(subject[:6], 16):08d}"


def seal_batch(vault: Vault, count: int) -> None:
    """Many people agree, and their data is sealed: one batch."""
    with vault.database.session() as session:
        people = [world.holder(session) for _ in range(count)]
        for subject in people:
            for purpose in ("pass_contract", "pass_photo"):
                world.agree(session, subject, purpose)
        rows = {subject: {**BASIC, "phone": phone(subject)} for subject in people}
        vault.seal_many(session, rows, ["pass_contract"], "counter")
        vault.seal_many(session, {each: {"photo": photo(each)} for each in people}, ["pass_photo"], "counter")


def standing(vault: Vault, purpose: str) -> list[str]:
    """The subjects whose grant to a purpose stands."""
    with vault.database.session() as session:
        asked = select(GrantRow.subject).where(GrantRow.purpose == purpose, GrantRow.ended_at.is_(None))
        return sorted(session.scalars(asked))


def withdraw_one(vault: Vault, chance: random.Random) -> None:
    """Somebody takes their photo's grant back, a copy of it having been made."""
    people = standing(vault, "pass_photo")
    if people:
        subject = chance.choice(people)
        export(vault, subject, "counter")
        erasure.withdraw(vault, subject, "pass_photo", how="a click", screen="my data")


def expire_some(vault: Vault, chance: random.Random) -> None:
    """The passes of two people have expired long ago, and retention runs."""
    people = standing(vault, "pass_photo")
    with vault.database.session() as session:
        for subject in chance.sample(people, min(2, len(people))):
            retention.event(session, subject, "pass_expired", world.AT.date().replace(year=2010), at=world.AT)
    retention.run(vault)


WORK: dict[str, Callable[[Vault, random.Random], Any]] = {
    "batch": lambda vault, chance: seal_batch(vault, chance.randint(2, 4)),
    "withdrawal": withdraw_one,
    "rotation": lambda vault, _: rotation.rotate(vault),
    "retention": expire_some,
}


def work(home: str, url: str, what: str, seed: int, step: int, result: str) -> None:
    """Open the vault of ``home`` and do ``what``, killed at the ``step``-th line; 0: never, the lines are counted."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        if event == "call":
            return trace if "/duecare/" in frame.f_code.co_filename else None
        if event == "line":
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    with opened(Path(home), url, witnessed_by=[]) as vault:
        vault.close()
    sys.settrace(trace)
    with opened(Path(home), url, witnessed_by=[]) as vault:
        WORK[what](vault, random.Random(seed))
    sys.settrace(None)
    Path(result).write_text(str(count))
    os._exit(0)
