"""The log's side of witnessing: what is asked, what is kept, and what is made of every kind of answer."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from duecare.errors import BadInput, EvidenceBroken, Transient, WitnessUnavailable
from duecare.evidence.checkpoint import Note, SigningKey, open_checkpoint
from duecare.evidence.cosign import KEPT, RemoteWitness, cosigned, kept, witnesses
from duecare.evidence.cosignature import WitnessSigningKey, cosignatures
from duecare.evidence.log import Log
from duecare.evidence.witness import SIZE_TYPE, Witness
from duecare.settings import load

from .witnessing import Served

KEY = SigningKey("duecare/test", bytes(range(32)))
FRESH = get_context("forkserver")
FRESH.set_forkserver_preload(["duecare.evidence.cosign"])


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log", KEY)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "witness", KEY.verifier) as made:
        yield made


def size_of(data: bytes, *served: Served) -> int:
    """The size of a note that the log signed and every one of ``served`` cosigned."""
    assert [each.witness for each in cosignatures(Note.parse(data), [one.key for one in served])] == [
        one.key for one in served
    ]
    return open_checkpoint(data, KEY.verifier).size


def grow(log: Log, count: int = 1) -> None:
    size = log.size
    log.append([b"entry %d" % at for at in range(size, size + count)])


def test_each_state_is_cosigned(log: Log, served: Served) -> None:
    """However the log grows, its present state is cosigned when asked for, the empty one too."""
    assert size_of(cosigned(log, [served.remote()]), served) == 0
    for count in (1, 6, 293, 1):
        grow(log, count)
        assert size_of(cosigned(log, [served.remote()]), served) == log.size


def test_what_reaches_far_enough_is_not_asked_for_again(log: Log, served: Served) -> None:
    """The kept note serves every entry it covers, without the witness; what goes beyond it needs the witness."""
    grow(log, 5)
    data = cosigned(log, [served.remote()])
    grow(log, 3)
    served.stop()
    assert cosigned(log, [served.remote()], size=5) == data
    assert cosigned(log, [served.remote()], size=1) == data
    with pytest.raises(WitnessUnavailable):
        cosigned(log, [served.remote()], size=6)
    assert (log.folder / KEPT).read_bytes() == data
    with pytest.raises(BadInput, match="8 entries, not yet 9"):
        cosigned(log, [served.remote()], size=9)


def test_a_witness_that_is_down_holds_nothing_up(log: Log, served: Served) -> None:
    """While the witness is down the log grows; when it is back, all of it is cosigned. The error says it may pass."""
    served.kill()
    grow(log, 4)
    with pytest.raises(Transient, match="cannot be reached"):
        cosigned(log, [served.remote()])
    grow(log, 4)
    served.restart()
    assert size_of(cosigned(log, [served.remote()]), served) == 8


def test_a_witness_that_never_answers_is_given_up(log: Log) -> None:
    """A witness that takes the request and says nothing is unavailable after the wait."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        remote = RemoteWitness(f"http://127.0.0.1:{silent.getsockname()[1]}", WitnessSigningKey.make("w").verifier, 0.1)
        with pytest.raises(WitnessUnavailable):
            cosigned(log, [remote])
    assert not (log.folder / KEPT).exists()


class Trickle(BaseHTTPRequestHandler):
    """Sends a byte of its answer now and then, for ever."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "60000")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x")
                self.wfile.flush()
                self.server.pause.wait(0.02)  # type: ignore[attr-defined]
        except OSError:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


def test_a_witness_that_trickles_is_given_up(log: Log) -> None:
    """A witness whose answer never ends is unavailable after the wait, though something arrives all the time."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Trickle)
    server.pause = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        remote = RemoteWitness(f"http://127.0.0.1:{server.server_port}", WitnessSigningKey.make("w").verifier, 0.3)
        with pytest.raises(WitnessUnavailable, match=r"no whole answer in 0\.3 seconds"):
            cosigned(log, [remote])
    finally:
        server.shutdown()
        server.server_close()


def test_a_log_that_knows_nothing_catches_up(log: Log, served: Served) -> None:
    """Without the kept note the witness is asked from nothing, tells where it is, and is asked again."""
    grow(log, 5)
    cosigned(log, [served.remote()])
    grow(log, 5)
    (log.folder / KEPT).unlink()
    assert size_of(cosigned(log, [served.remote()]), served) == 10


@pytest.mark.parametrize("left", [b"", b"no note", b"other"])
def test_a_damaged_kept_note_is_asked_for_anew(log: Log, served: Served, left: bytes) -> None:
    """What is kept can be had again: a note that was damaged, or is another log's, is as good as none."""
    grow(log, 2)
    cosigned(log, [served.remote()])
    other = Log(log.folder.parent / "other", SigningKey.make("duecare/other"))
    (log.folder / KEPT).write_bytes(other.note() if left == b"other" else left)
    assert kept(log, [served.key]) is None
    assert size_of(cosigned(log, [served.remote()]), served) == 2


def test_a_kept_note_of_too_few_witnesses_is_not_enough(log: Log, served: Served, tmp_path: Path) -> None:
    """When a witness is added, what was cosigned without it is cosigned anew by all."""
    grow(log, 3)
    cosigned(log, [served.remote()])
    with Served(tmp_path / "second", KEY.verifier) as second:
        both = [served.remote(), second.remote()]
        assert size_of(cosigned(log, both), served, second) == 3
        grow(log)
        assert size_of(cosigned(log, both), served, second) == 4
        second.kill()
        grow(log)
        with pytest.raises(WitnessUnavailable, match=second.key.name):
            cosigned(log, both)
        assert size_of(cosigned(log, both, size=4), served, second) == 4
        assert size_of(cosigned(log, [served.remote()]), served) == 5
        second.restart()
        assert size_of(cosigned(log, both), served, second) == 5


def test_no_witness_no_cosignature(log: Log) -> None:
    """Where none is required, the note is the log's own."""
    grow(log)
    assert cosigned(log, []) == log.note()


def test_an_older_copy_of_the_log_is_found_out(log: Log, served: Served, tmp_path: Path) -> None:
    """A log that was put back has fewer entries than its witness cosigned: nobody is to add to it."""
    grow(log, 5)
    cosigned(log, [served.remote()])
    copy = tmp_path / "copy"
    shutil.copytree(log.folder, copy)
    grow(log, 5)
    cosigned(log, [served.remote()])
    late = (log.folder / KEPT).read_bytes()
    older = Log(copy, KEY)
    (copy / KEPT).unlink()
    with pytest.raises(EvidenceBroken, match=r"has cosigned 10 entries, .* only 5: it was replaced by an older copy"):
        cosigned(older, [served.remote()])
    grow(older, 2)
    with pytest.raises(EvidenceBroken, match=r"has cosigned 10 entries, .* only 7"):
        cosigned(older, [served.remote()])
    (copy / KEPT).write_bytes(late)
    served.kill()
    with pytest.raises(EvidenceBroken, match=r"has 10 entries, .* only 7"):
        cosigned(older, [served.remote()])


def test_another_past_is_found_out(log: Log, served: Served, tmp_path: Path) -> None:
    """A log that went on from an older copy in another way is not cosigned, at the same size or a larger one."""
    grow(log, 5)
    copy = tmp_path / "copy"
    shutil.copytree(log.folder, copy)
    grow(log, 5)
    cosigned(log, [served.remote()])
    other = Log(copy, KEY)
    other.append([b"another"] * 5)
    with pytest.raises(EvidenceBroken, match="another past"):
        cosigned(other, [served.remote()])
    grow(other, 5)
    with pytest.raises(EvidenceBroken, match="another past"):
        cosigned(other, [served.remote()])
    assert size_of(cosigned(log, [served.remote()]), served) == 10


def test_a_witness_that_does_not_know_the_log_gets_to_know_it(tmp_path: Path, log: Log) -> None:
    """The error names the command with which the witness's keeper gets to know the log, while it is served."""
    with Served(tmp_path / "w") as stranger:
        with pytest.raises(BadInput, match="does not know") as error:
            cosigned(log, [stranger.remote()])
        assert error.value.hint.endswith(f"duecare witness trust --dir DIR {KEY.verifier}")
        witness = Witness.at(stranger.folder)
        witness.trust(KEY.verifier)
        witness.close()
        assert size_of(cosigned(log, [stranger.remote()]), stranger) == 0


def test_a_wrong_key_is_found_out(log: Log, served: Served) -> None:
    """A witness that answers with another key than the one in the settings is not believed."""
    wrong = RemoteWitness(served.url, WitnessSigningKey.make(served.key.name).verifier)
    with pytest.raises(EvidenceBroken, match="no valid cosignature of the key"):
        cosigned(log, [wrong])
    assert not (log.folder / KEPT).exists()


class Liar(BaseHTTPRequestHandler):
    """Answers whatever it was told to."""

    answer: tuple[int, str, bytes] = (200, "text/plain", b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, body = self.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        ((200, "text/plain", b""), EvidenceBroken, "not a signature line"),
        ((200, "text/plain", b"\xff\n"), EvidenceBroken, "not a signature line"),
        ((200, "text/plain", "\u2014 somebody AAAAAAAA\n".encode()), EvidenceBroken, "no valid cosignature"),
        ((200, "text/plain", b"x" * 70_000), EvidenceBroken, "longer than any"),
        ((409, SIZE_TYPE, b"99999999\n"), EvidenceBroken, "older copy"),
        ((409, SIZE_TYPE, b"-1\n"), EvidenceBroken, "which is none"),
        ((409, SIZE_TYPE, "٣\n".encode()), EvidenceBroken, "which is none"),
        ((409, SIZE_TYPE, b"9" * 5000), EvidenceBroken, "which is none"),
        ((409, SIZE_TYPE, b"1\n"), WitnessUnavailable, "a new size each time"),
        ((409, "text/plain", b"another root\n"), EvidenceBroken, "another past"),
        ((422, "text/plain", b"no\n"), EvidenceBroken, "another past"),
        ((400, "text/plain", b"what?\n"), EvidenceBroken, "answered 400: what?"),
        ((301, "text/plain", b""), EvidenceBroken, "answered 301"),
        ((429, "text/plain", b""), WitnessUnavailable, "answered 429"),
        ((503, "text/plain", b"busy\n"), WitnessUnavailable, "answered 503: busy"),
    ],
)
def test_no_answer_is_believed_unseen(
    log: Log, answer: tuple[int, str, bytes], error: type[Exception], why: str
) -> None:
    """Whatever a witness answers, nothing is kept that does not verify, and what is wrong is said."""
    grow(log, 3)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Told", (Liar,), {"answer": answer}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        remote = RemoteWitness(f"http://127.0.0.1:{server.server_port}/", WitnessSigningKey.make("w").verifier)
        with pytest.raises(error, match=why):
            cosigned(log, [remote])
    finally:
        server.shutdown()
        server.server_close()
    assert not (log.folder / KEPT).exists()
    assert log.append([b"next"]) == 3


def _grow_and_cosign(folder: str, remotes: list[tuple[str, Any]], done: Any) -> None:
    log, required = Log(Path(folder), KEY), [RemoteWitness(url, key, 30) for url, key in remotes]
    for _ in range(12):
        first = log.append([b"entry %d" % os.getpid()])
        data = cosigned(log, required, first + 1)
        found = cosignatures(Note.parse(data), [each.key for each in required])
        done.put((len(found), open_checkpoint(data, KEY.verifier).size > first))


def test_processes_that_grow_and_cosign_at_once(log: Log, served: Served, tmp_path: Path) -> None:
    """Several processes append and ask two witnesses at the same time: each entry gets a note that covers it."""
    done = FRESH.Queue()
    with Served(tmp_path / "second", KEY.verifier) as second:
        remotes = [(each.url, each.key) for each in (served, second)]
        workers = [FRESH.Process(target=_grow_and_cosign, args=(str(log.folder), remotes, done)) for _ in range(3)]
        for worker in workers:
            worker.start()
        answers = [done.get(timeout=120) for _ in range(36)]
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        assert answers == [(2, True)] * 36
        assert size_of(cosigned(log, [served.remote(), second.remote()]), served, second) == 36
    assert not list(log.folder.glob(".checkpoint*"))


def test_a_kill_between_signing_and_keeping_costs_nothing(log: Log, served: Served) -> None:
    """A note that the witness signed, but that was lost on the way, is signed again."""
    grow(log, 3)
    served.remote().cosign(log, Note.parse(log.note()), 0)
    assert size_of(cosigned(log, [served.remote()]), served) == 3


def test_the_setting(tmp_path: Path, served: Served, log: Log) -> None:
    """Witnesses are named in the settings by url and key; a wrong one is refused by its place in the list."""
    (tmp_path / "settings.toml").write_text(f'[[witnesses]]\nurl = "{served.url}/"\nkey = "{served.key}"\n')
    (found,) = witnesses(load(home=tmp_path))
    assert (found.url, found.key) == (served.url, served.key)
    assert size_of(cosigned(log, [found]), served) == 0
    for wrong, why in (
        ({"url": served.url, "key": str(KEY.verifier)}, r"witnesses\.0\.key: .* is the key of a log"),
        ({"url": "witness.example", "key": str(served.key)}, r"witnesses\.0\.url is 'witness\.example'"),
    ):
        with pytest.raises(BadInput, match=why):
            witnesses(load(home=tmp_path / "empty", witnesses=[wrong]))
    with pytest.raises(BadInput, match=r"witnesses\.0\.key"):
        load(home=tmp_path / "empty", witnesses=[{"url": served.url}])


def test_the_setting_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    """In the environment the list is JSON."""
    monkeypatch.setenv("DUECARE_WITNESSES", f'[{{"url": "{served.url}", "key": "{served.key}"}}]')
    assert [each.key for each in witnesses(load(home=tmp_path))] == [served.key]
