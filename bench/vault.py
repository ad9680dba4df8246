"""The vault: one field opened, many opened at once, one subject erased among ever more.

Every figure includes the decision of the rules and the evidence. An erasure is timed from the withdrawal to the
certificate in hand, cosigned by a witness that is a process of its own, over HTTP. What the disk takes is printed
beside: a commit waits for it, and so does every step of an erasure that must not be lost.
"""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

from duecare.consent import notices
from duecare.consent.models import GrantRow, SubjectRow
from duecare.consent.notices import Controller, Notice
from duecare.consent.purposes import Activity, Basis, PersonalField, Purpose, Retention, declare
from duecare.evidence.cosign import RemoteWitness
from duecare.evidence.cosignature import WitnessKey
from duecare.evidence.log import Log
from duecare.evidence.witness import Witness
from duecare.rules.engine import Engine
from duecare.settings import load
from duecare.store.home import Home
from duecare.vault import erasure
from duecare.vault.records import Vault

_AT = datetime(2026, 1, 1, tzinfo=UTC)
_SIZES = (10_000, 100_000, 1_000_000)
_PART = 10_000
_TIMES = 40
_NAMES = ("name", "phone", "address")
_FIELDS = (
    PersonalField("name", "姓名", "name"),
    PersonalField("phone", "手机号", "phone", lookup=True),
    PersonalField("address", "地址", "address"),
)
_KEPT = Retention("end", months=3, zh="寄送结束", en="the letters end")
_PURPOSE = Purpose(
    "letters", "寄送通知", "Letters", _NAMES, tuple(Activity), Basis.CONSENT, _KEPT, "letters",
    recipients=("the post",),
)  # fmt: skip
_NOTICE = Notice("letters", "告知书", "Notice", "寄送通知。", "We send letters.")
_KEEPER = Controller(name="某公司", code="91330000000000000X", address="杭州市", contact="privacy@example.com")


def run(scale: float = 1.0) -> None:
    """Print milliseconds for one field, fields a second in bulk, and milliseconds for an erasure at three sizes."""
    with tempfile.TemporaryDirectory(prefix="duecare-bench-") as folder:
        print(f"vault: SQLite, a durable write of 4 KiB takes {_durable(Path(folder)) * 1000:.2f} ms here")
        first = 0.0
        for size in _SIZES:
            first = _at_size(Path(folder) / str(size), max(_TIMES * 4, int(size * scale)), first)


def _at_size(folder: Path, size: int, first: float) -> float:
    home = folder / "home"
    with (
        _witness(folder / "witness", Log.at(home)) as witness,
        Home(load(home=home)) as held,
        Vault(held, Engine.load(), witnessed_by=[witness], places=()) as vault,
    ):
        subjects = _people(vault, size)
        sealed = _seconds(lambda: _seal(vault, subjects))
        chosen = subjects[:: max(1, size // (_TIMES * 12))]
        one = [_both(lambda who=who: vault.open("name", who, "letters", "bench")) for who in chosen]  # type: ignore[misc]
        some = subjects[: min(size, 20_000)]
        bulk = _seconds(lambda: vault.open_many(_NAMES, some, "letters", "bench"))
        find = [
            _both(lambda who=who: vault.find("phone", _phone(who), "letters", "bench"))  # type: ignore[misc]
            for who in chosen[:200]
        ]
        gone = [_both(lambda who=who: _withdraw(vault, who)) for who in chosen[:_TIMES]]  # type: ignore[misc]
    erased = statistics.median(each for each, _ in gone)
    first = first or erased
    late = sorted(each for each, _ in one)[int(len(one) * 0.99)]
    print(f"  {size:>9,} subjects, {3 * size:,} fields")
    print(f"    seal     {3 * size / sealed:>9,.0f} fields/s")
    print(f"    open     {_shown(one)}, {late * 1000:.2f} p99: decide, open, evidence")
    print(f"    in bulk  {3 * len(some) / bulk:>9,.0f} fields/s")
    print(f"    find     {_shown(find)}, by telephone number")
    print(f"    erase    {_shown(gone)}, certificate cosigned; {erased / first:.2f} x that of the first size")
    return first


def _shown(times: list[tuple[float, float]]) -> str:
    whole, own = (statistics.median(part) * 1000 for part in zip(*times, strict=True))
    return f"{whole:>9.2f} ms p50 ({own:.2f} ms of it our own processor)"


def _both(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of our own processor."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - used


def _people(vault: Vault, size: int) -> list[str]:
    """Subjects with a grant each, written as rows."""
    with vault.database.session() as session:
        declare(session, Engine.load(), _FIELDS, [_PURPOSE], _AT)
        notices.publish(session, _NOTICE, _KEEPER, _AT)
    subjects = [secrets.token_hex(16) for _ in range(size)]
    fixed = {
        "act": "bench", "purpose": "letters", "purpose_version": 1, "notice": "letters", "notice_version": 1,
        "separate": True, "language": "zh", "how": "bench", "screen": "bench", "given_at": _AT,
    }  # fmt: skip
    for start in range(0, size, _PART):
        part = subjects[start : start + _PART]
        with vault.database.session() as session:
            people = [{"id": each, "salt": secrets.token_hex(32), "created_at": _AT} for each in part]
            session.execute(insert(SubjectRow), people)
            session.execute(
                insert(GrantRow), [{**fixed, "record": str(uuid.uuid4()), "subject": each} for each in part]
            )
    return subjects


def _seal(vault: Vault, subjects: list[str]) -> None:
    for start in range(0, len(subjects), _PART):
        rows = {
            each: {"name": "成员甲", "phone": _phone(each), "address": "杭州市富阳区某路1号"}
            for each in subjects[start : start + _PART]
        }
        with vault.database.session() as session:
            vault.seal_many(session, rows, ["letters"], "bench")


def _phone(subject: str) -> str:
    return f"138{int(subject[:10], 16):013d}"


def _withdraw(vault: Vault, subject: str) -> None:
    outcome = erasure.withdraw(vault, subject, "letters", how="a click", screen="my data")
    if outcome.erasures[0].certificate is None:
        raise RuntimeError("the erasure was not certified")


@contextmanager
def _witness(folder: Path, log: Log) -> Iterator[RemoteWitness]:
    """A witness that knows ``log``, served by ``duecare witness serve``."""
    made = Witness.make(folder)
    made.trust(log.key)
    made.close()
    command = [sys.executable, "-m", "duecare", "witness", "serve", "--dir", str(folder), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        try:
            yield RemoteWitness(said["url"], WitnessKey.parse(said["key"]))
        finally:
            process.terminate()


def _durable(folder: Path) -> float:
    """Seconds that a small write takes until the disk has it."""
    with (folder / "durable").open("wb", buffering=0) as file:

        def write() -> None:
            file.write(bytes(4096))
            os.fsync(file.fileno())

        return statistics.median(_seconds(write) for _ in range(50))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
