"""A process that lives the same life again and again, killed at a given moment: ``python -m tests.registers.lives``.

It imports everything once and forks each life from there, before any engine or connection exists, so that a life starts
in milliseconds. Orders come as JSON lines on standard input; each is answered by a line.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ibis
import psycopg
from alembic import command  # imported before the first fork
from sqlalchemy.dialects.postgresql import psycopg as server  # imported before the first fork
from sqlalchemy.dialects.sqlite import pysqlite as embedded  # imported before the first fork

from duecare.clock import SetClock
from duecare.registers import company, fold  # imported before the first fork
from duecare.registers.ingest import ingest_file, release, stage_arrival
from duecare.registers.models import Batch
from duecare.registers.tidy import tidy
from duecare.settings import load
from duecare.store import home as stores

from .listing import ListAdapter, day, write_list

WARM = (
    command,
    server,
    embedded,
    psycopg,
    company,
    ibis.to_sql(ibis.table({"a": "int64"}, name="t"), dialect="duckdb"),
)
LIST = [0, 10, 20, 5, 25, 30, 15, 40]
"""The days of the snapshots in the order of their arrival: 5 and 15 are late, 25 is cut short."""
SHORT = 25


def write_snapshots(folder: Path, seed: int = 20190505) -> None:
    """The files of the life: people come, go and come back, names change."""
    rng = random.Random(seed)
    for number in LIST:
        many = 30 if number != SHORT else 3
        rows: list[tuple[Any, ...]] = [("basic", f"E{i}", "", f"name {rng.randrange(3)}") for i in range(many)]
        for i in range(many):
            kept = rng.sample(range(3), rng.randrange(3))
            rows += [("people", f"E{i}", f"p{k}", rng.choice(["head", "member"])) for k in kept]
        write_list(folder, f"day{number}", rows)


def live(home: Path, database: str, folder: Path) -> None:
    """All that happens to a register: in order, late, tidied, held and released, read again by better parsers."""
    clock = SetClock(datetime(2025, 1, 1, tzinfo=UTC))
    first, second, third = ListAdapter("1", ("basic",)), ListAdapter("2"), ListAdapter("3")
    with stores.Home(load(home=home, database_url=database, threads=1), clock) as opened:
        for number in LIST:
            adapter = first if number <= SHORT and number != 15 else second
            outcome = ingest_file(opened, adapter, folder / f"day{number}.json", day(number))
            if number == 5:
                tidy(opened)
            if outcome.state == "held":
                _release(opened, outcome.batch, adapter)
        with opened.writing("lake"):
            fold.reread(opened, third, stage_arrival)


def tidy_up(home: Path, database: str, folder: Path) -> None:
    """Somebody tidies the home."""
    with stores.Home(load(home=home, database_url=database, threads=1)) as opened:
        tidy(opened)


WORKS = {"live": live, "tidy": tidy_up}


def _release(opened: stores.Home, batch: str, adapter: ListAdapter) -> None:
    from duecare.registers import catalogue

    catalogue.adapter_for = lambda home, name: adapter  # the tests' adapter is not an installed one
    release(opened, batch, "an operator", "the register was cut on purpose")
    with opened.database.session() as session:
        assert session.get_one(Batch, batch).state == "committed"


def _run(order: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    said, says = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said)
        code = 0
        try:
            WORKS[order["work"]](Path(order["home"]), order["database"], Path(order["folder"]))
        except BaseException:
            os.write(says, traceback.format_exc().encode()[-8000:])
            code = 1
        os._exit(code)
    os.close(says)
    watched = os.pidfd_open(child)
    ended, _, _ = select.select([watched], [], [], order["after"])
    if not ended:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(watched)
    error = b"".join(iter(lambda: os.read(said, 65536), b"")).decode()
    os.close(said)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {"killed": killed, "error": error, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)
