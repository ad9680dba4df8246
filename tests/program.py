"""The program ``duecare`` as a process of its own, in a fraction of the time: ``run("ingest", …)``.

An interpreter that has loaded what others wrote and nothing of ours (``python -m tests.program``) forks for each
command; the child gets the command's words, folder, environment and files, and runs ``python -m duecare`` from there.
So a command still loads its own modules, meets no other in memory, and ends as a process ends.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

LOADED = (
    "alembic.command", "cedarpy", "cryptography.hazmat.primitives.asymmetric.ed25519", "deltalake", "duckdb", "fastapi",
    "httpx", "jinja2", "lxml.etree", "numpy", "psycopg", "pyarrow.parquet", "pydantic_settings",
    "rich.progress", "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite", "sqlalchemy.orm",
    "structlog", "tantivy", "typer.core", "typer.rich_utils", "uvicorn", "zstandard",
)  # fmt: skip
ROOT = Path(__file__).parents[1]


def run(
    *words: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    given: str = "",
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """What ``duecare`` with these ``words`` did, in ``cwd`` and ``env`` (those of the test, if none), with ``given`` on
    its standard input."""
    typed = [os.fspath(word) if isinstance(word, os.PathLike) else str(word) for word in words]
    with TemporaryDirectory(prefix="program-") as folder:
        files = [Path(folder) / name for name in ("in", "out", "err")]
        files[0].write_text(given, encoding="utf-8")
        order = {
            "words": typed,
            "cwd": os.fspath(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "files": [str(path) for path in files],
        }
        code = _nursery().bear(order, timeout)
        out, err = (path.read_text(encoding="utf-8") for path in files[1:])
    return subprocess.CompletedProcess(["duecare", *typed], code, out, err)


class _Nursery:
    """The interpreter that forks."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.program"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._turn = threading.Lock()
        atexit.register(self._process.kill)

    def bear(self, order: Mapping[str, object], timeout: float) -> int:
        """The exit code of a child that did ``order``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            if not select.select([self._process.stdout], [], [], timeout)[0]:
                os.killpg(self._process.pid, 9)
                _nursery.cache_clear()
                raise subprocess.TimeoutExpired(str(order["words"]), timeout)
            return int(self._process.stdout.readline())


@cache
def _nursery() -> _Nursery:
    return _Nursery()


def main() -> None:
    """Fork for each order on standard input, and answer with the exit code of the child."""
    import ibis

    for name in LOADED:
        importlib.import_module(name)
    ibis.to_sql(ibis.table({"a": "int64"}, name="t"), dialect="duckdb")  # loads what it compiles with
    assert "duecare" not in sys.modules
    assert threading.active_count() == 1  # those of allocators and of BLAS look after themselves at a fork
    gc.freeze()  # a child walks over none of it, so that it copies none
    while line := os.read(0, 1 << 20):
        while not line.endswith(b"\n"):
            line += os.read(0, 1 << 20)
        child = os.fork()
        if child == 0:
            _become(**json.loads(line))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(1, f"{code}\n".encode())


def _become(words: list[str], cwd: str, env: dict[str, str], files: list[str]) -> NoReturn:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    for number, path in enumerate(files):
        opened = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  (the other one is the orders')
    sys.argv = ["duecare", *words]
    code: object = 0
    try:
        runpy.run_module("duecare", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    # As an interpreter ends, but for taking to pieces what it shares with the one that it was forked from.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    main()
