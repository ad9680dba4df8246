"""The evidence log, against SHA-256 over the same bytes; the way through the database into it; and its witness.

The floor hashes the entries as they lie in memory. Ours hashes each twice over (leaf and tree), writes tiles and
bundles, waits for the disk, and signs the checkpoint. The witness is a process of its own on this machine, spoken to
over HTTP; beside it stands what it takes to append one entry and to make it durable.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from duecare.evidence.audit import audit
from duecare.evidence.cosign import RemoteWitness, cosigned
from duecare.evidence.cosignature import WitnessKey
from duecare.evidence.log import Log
from duecare.evidence.outbox import Act, leaf, record_all, sequence
from duecare.evidence.witness import Witness
from duecare.store.database import Database

_AT = datetime(2026, 1, 1, tzinfo=UTC)


def run(scale: float = 1.0) -> None:
    """Print entries a second of an append, of the way through the outbox, and of an audit."""
    count = max(1, int(100_000 * scale))
    acts = [_act(at) for at in range(count)]
    entries = [leaf(at + 1, act.kind, act.subject, act.at, _BODY) for at, act in enumerate(acts)]
    joined = b"".join(entries)
    with tempfile.TemporaryDirectory(prefix="duecare-bench-") as folder:
        floor = statistics.median(_seconds(lambda: sha256(joined).digest()) for _ in range(5))
        each = statistics.median(_seconds(lambda: [sha256(entry).digest() for entry in entries]) for _ in range(5))
        logs = [Log.at(Path(folder) / str(number)) for number in range(3)]
        append = statistics.median(_seconds(lambda log=log: log.append(entries)) for log in logs)  # type: ignore[misc]
        print(f"log: {count:,} entries, {len(joined) / count:.0f} bytes each")
        print(f"  append     {count / append:>9,.0f}/s   {append / floor:.1f} x SHA-256 of all the bytes at once,")
        print(f"                          {append / each:.1f} x SHA-256 of each entry")
        checked = _seconds(lambda: audit(logs[0].folder, logs[0].key))
        print(f"  audit      {count / checked:>9,.0f}/s")
        _witness(Path(folder), logs[0])
        database, log = Database(f"sqlite:///{Path(folder) / 'bench.db'}"), Log.at(Path(folder) / "home")
        recorded = _seconds(lambda: _record(database, acts))
        sequenced = _seconds(lambda: sequence(database, log))
        print(f"  record     {count / recorded:>9,.0f}/s   in the act's transaction (SQLite)")
        print(f"  sequence   {count / sequenced:>9,.0f}/s   from the database into the log")
        database.close()


def _witness(folder: Path, log: Log, rounds: int = 100) -> None:
    """Append one entry and have it cosigned, again and again."""
    witness = Witness.make(folder / "witness")
    witness.trust(log.key)
    witness.close()
    command = [sys.executable, "-m", "duecare", "witness", "serve", "--dir", str(folder / "witness"), "--port", "0"]
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as served:
        assert served.stdout is not None
        said = json.loads(served.stdout.readline())
        required = [RemoteWitness(said["url"], WitnessKey.parse(said["key"]))]
        cosigned(log, required)
        appends, asks = [], []
        for _ in range(rounds):
            appends.append(_seconds(lambda: log.append([b"one more"])))
            asks.append(_seconds(lambda: cosigned(log, required)))
        served.terminate()
    both = sorted(append + ask for append, ask in zip(appends, asks, strict=True))
    print(f"  cosign     {_ms(asks)} ms   by a witness on this machine, over HTTP")
    print(f"  append one {_ms(appends)} ms")
    print(f"  both       {_ms(both)} ms   p95 {both[int(rounds * 0.95)] * 1000:.1f} ms")


def _ms(times: list[float]) -> str:
    return f"{statistics.median(times) * 1000:>9.1f}"


_BODY = (
    '{"batch":"2019-05-05-national-register","channel":"email","company":"91500000MA5U00000X","kind":"event",'
    '"section":"liquidation","to":"sha256:8d5e957f297893487bd98fa830fa6413b2a9f7f4a0d3f1a5c3ac8d1c6d7f1c5e"}'
)


def _act(at: int) -> Act:
    return Act("alert:send", f"alert:{at}", json.loads(_BODY), _AT)


def _record(database: Database, acts: list[Act]) -> None:
    with database.session() as session:
        record_all(session, acts)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
