"""The witness: what it cosigns and what not, whatever is sent to it and whenever it is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import stat
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duecare.clock import SetClock
from duecare.errors import BadInput, Busy, EvidenceBroken
from duecare.evidence import merkle, witness_server
from duecare.evidence import witness as witness_module
from duecare.evidence.checkpoint import Checkpoint, Note, Signature, SigningKey, parse_signature
from duecare.evidence.cosignature import WitnessSigningKey, cosignatures
from duecare.evidence.log import Log
from duecare.evidence.witness import SIZE_TYPE, Answer, Submission, Witness
from duecare.evidence.witness_server import serve

from .. import program
from .witnessing import Served

KEY = SigningKey("duecare/test", bytes(range(32)))
OTHER = SigningKey("duecare/other", bytes(range(32)))
AT = datetime(2026, 3, 1, tzinfo=UTC)
FALSE = bytes(31) + b"\x01"
FRESH = get_context("forkserver")
FRESH.set_forkserver_preload(["duecare.evidence.witness_server"])


class Tree:
    """A log in memory, whose past may be another than it says elsewhere: ``fork`` differs from that entry on."""

    def __init__(self, fork: int | None = None, key: SigningKey = KEY) -> None:
        self._fork, self._key = fork, key

    def _leaf(self, at: int) -> bytes:
        return merkle.leaf_hash(b"%d%s" % (at, b"" if self._fork is None or at < self._fork else b" rewritten"))

    def _nodes(self, level: int, index: int) -> bytes:
        return merkle.perfect_root([self._leaf(at) for at in range(index << level, (index + 1) << level)])

    def head(self, size: int) -> Checkpoint:
        return Checkpoint(self._key.name, size, merkle.tree_root(size, self._nodes))

    def note(self, size: int) -> bytes:
        return self.head(size).sign(self._key).data()

    def request(self, old: int, size: int) -> bytes:
        proof = merkle.consistency_proof(old, size, self._nodes) if old <= size else []
        return Submission(old, tuple(proof), self.note(size)).data()


TREE, FORK = Tree(), Tree(2)


@pytest.fixture
def witness(tmp_path: Path) -> Any:
    made = Witness.make(tmp_path / "witness", clock=SetClock(AT))
    made.trust(KEY.verifier)
    yield made
    made.close()


def seen(witness: Witness) -> int:
    (log,) = witness.logs()
    return log.size


def assert_cosigned(witness: Witness, answer: Answer, note: bytes) -> None:
    assert answer.status == 200, answer
    line = parse_signature(answer.body.decode().removesuffix("\n"))
    (found,) = cosignatures(Note.parse(note).with_signature(line), [witness.key])
    assert found.at == "2026-03-01 00:00:00 UTC"


def test_a_log_that_grows_is_cosigned(witness: Witness) -> None:
    """From nothing, in any steps, and again at the same size: each time the whole note carries a valid cosignature."""
    for old, size in ((0, 0), (0, 1), (1, 1), (1, 7), (7, 7), (7, 300)):
        assert_cosigned(witness, witness.add_checkpoint(TREE.request(old, size)), TREE.note(size))
        assert seen(witness) == size


def test_what_was_seen_is_shown(witness: Witness) -> None:
    """The witness tells which logs it knows, what it cosigned last and when, with the log's own signature."""
    (before,) = witness.logs()
    assert (before.size, before.note, before.at) == (0, "", None)
    witness.add_checkpoint(TREE.request(0, 7))
    (log,) = witness.logs()
    assert (log.origin, log.keys, log.size, log.at) == ("duecare/test", (KEY.verifier,), 7, AT)
    assert log.note.encode() == TREE.note(7)


def changed(request: bytes, **parts: Any) -> bytes:
    found = Submission.parse(request)
    return Submission(
        parts.get("old", found.old), parts.get("proof", found.proof), parts.get("note", found.note)
    ).data()


def with_root(size: int, root: bytes) -> bytes:
    return Checkpoint(KEY.name, size, root).sign(KEY).data()


@pytest.mark.parametrize(
    ("request_", "status", "why"),
    [
        (Tree(key=OTHER).request(0, 1), 404, "does not know the log duecare/other"),
        (Submission(0, (), TREE.head(1).sign(SigningKey.make("duecare/test")).data()).data(), 403, "not signed"),
        (Submission(0, (), TREE.head(1).sign(OTHER).data()).data(), 403, "not signed"),
        (TREE.request(8, 7), 400, "8 is larger than the checkpoint's 7"),
        (changed(TREE.request(3, 7), old=4), 409, "3"),
        (TREE.request(0, 7), 409, "3"),
        (TREE.request(2, 2), 409, "3"),
        (changed(TREE.request(3, 7), proof=()), 422, "from 3 to 7"),
        (changed(TREE.request(3, 7), proof=(FALSE,)), 422, "from 3 to 7"),
        (changed(TREE.request(3, 7), proof=(*Submission.parse(TREE.request(3, 7)).proof, FALSE)), 422, "from 3 to 7"),
        (changed(TREE.request(3, 3), proof=(FALSE,)), 422, "from 3 to 3"),
        (FORK.request(3, 7), 422, "from 3 to 7"),
        (Submission(3, (), with_root(3, FALSE)).data(), 409, "Another root"),
        (FORK.request(3, 3), 409, "Another root"),
        (Submission(3, (), with_root(2**63, FALSE)).data(), 400, "larger than any"),
    ],
)  # fmt: skip
def test_everything_else_is_refused(witness: Witness, request_: bytes, status: int, why: str) -> None:
    """With 3 entries cosigned: each departure has the status that C2SP tlog-witness gives it, and changes nothing."""
    witness.add_checkpoint(TREE.request(0, 3))
    answer = witness.add_checkpoint(request_)
    assert answer.status == status
    assert why in answer.body.decode()
    assert "\u2014" not in answer.body.decode()
    names_size = status == 409 and "root" not in why
    assert (answer.content_type == SIZE_TYPE) is names_size
    if names_size:
        assert answer.body == b"3\n"
    assert_cosigned(witness, witness.add_checkpoint(TREE.request(3, 4)), TREE.note(4))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (Submission(0, (), with_root(0, FALSE)).data(), 422),
        (Submission(0, (FALSE,), TREE.note(0)).data(), 422),
        (Submission(0, (FALSE,), TREE.note(1)).data(), 422),
        (TREE.request(1, 1), 409),
    ],
)
def test_the_first_state_is_checked_too(witness: Witness, request_: bytes, status: int) -> None:
    """Of a log never seen before, the empty state has one root, and no proof leads from nothing."""
    assert witness.add_checkpoint(request_).status == status
    assert seen(witness) == 0
    assert witness.add_checkpoint(TREE.request(0, 0)).status == 200


GOOD = TREE.request(2, 5)


@pytest.mark.parametrize(
    "request_",
    [b"", b"\n", b"old\n\n" + TREE.note(1), b"old 1" + TREE.note(1), b"old 01\n\n" + TREE.note(1),
     b"old +1\n\n" + TREE.note(1), b"old -1\n\n" + TREE.note(1), b"new 0\n\n" + TREE.note(1),
     b"old  0\n\n" + TREE.note(1), "old ٣\n\n".encode() + TREE.note(1), b"old 0\r\n\r\n" + TREE.note(1),
     b"old " + b"9" * 5000 + b"\n\n" + TREE.note(1), b"old 0\nAAAA\n\n" + TREE.note(1),
     b"old 0\nnot base64\n\n" + TREE.note(1), b"old 0\n" + b64encode(FALSE)[:-2] + b"B=\n\n" + TREE.note(1),
     b"old 0\n" + (b64encode(FALSE) + b"\n") * 64 + b"\n" + TREE.note(1), b"old 0\n\n", b"old 0\n\nnot a note",
     b"old 0\n\n" + TREE.note(1)[:-1], b"old 0\n\n" + TREE.note(1) + b"x",
     b"old 0\n\n" + TREE.note(1).replace(b"1", b"01"),
     b"old 0\n\n" + b"\xff" * 100, GOOD.replace(b"\n", b"\n\n", 1)],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(witness: Witness, request_: bytes) -> None:
    """A request that is not exactly in its form is a bad request, and changes nothing."""
    assert witness.add_checkpoint(request_).status == 400
    assert seen(witness) == 0


def test_63_hashes_are_read(witness: Witness) -> None:
    """As many lines of proof as the specification allows are read, and judged."""
    assert witness.add_checkpoint(Submission(0, (FALSE,) * 63, TREE.note(1)).data()).status == 422


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(position=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(witness: Witness, position: int, bit: int) -> None:
    """A good request with any bit changed is refused; nothing breaks and nothing is stored."""
    if seen(witness) == 0:
        witness.add_checkpoint(TREE.request(0, 2))
    spoiled = bytearray(GOOD)
    spoiled[position] ^= 1 << bit
    assert witness.add_checkpoint(bytes(spoiled)).status in (400, 403, 404, 409, 422)
    assert seen(witness) == 2


def test_lines_of_unknown_keys_are_passed_over_and_not_kept(witness: Witness) -> None:
    """Anybody can add a line to a note: it neither helps nor hinders nor is it kept. A false one of the log hinders."""
    note = Note.parse(TREE.note(3))
    more = note.with_signature(SigningKey.make("somebody").sign(note.text))
    assert_cosigned(witness, witness.add_checkpoint(Submission(0, (), more.data()).data()), more.data())
    assert witness.logs()[0].note.encode() == note.data()
    false = note.with_signature(Signature(KEY.name, KEY.verifier.key_id, bytes(64)))
    assert witness.add_checkpoint(Submission(3, (), false.data()).data()).status == 403


def test_a_log_may_have_several_keys(witness: Witness) -> None:
    """While a log changes its key, a signature of either is enough."""
    new = SigningKey.make("duecare/test")
    assert witness.trust(new.verifier)
    assert not witness.trust(new.verifier)
    assert witness.add_checkpoint(TREE.request(0, 3)).status == 200
    assert witness.add_checkpoint(Submission(3, (), TREE.head(3).sign(new).data()).data()).status == 200


def test_logs_are_told_apart(witness: Witness) -> None:
    """What was seen of one log says nothing about another."""
    witness.trust(OTHER.verifier)
    assert witness.add_checkpoint(TREE.request(0, 5)).status == 200
    assert witness.add_checkpoint(Tree(key=OTHER).request(0, 2)).status == 200
    assert [(log.origin, log.size) for log in witness.logs()] == [("duecare/other", 2), ("duecare/test", 5)]


def test_two_states_of_one_size_are_kept_as_proof(witness: Witness) -> None:
    """A log that signed another root for the size cosigned has convicted itself: both notes are kept, once."""
    witness.add_checkpoint(TREE.request(0, 3))
    for _ in range(2):
        assert witness.add_checkpoint(FORK.request(3, 3)).status == 409
    somebody = Note.parse(FORK.note(3)).with_signature(SigningKey.make("somebody").sign(FORK.head(3).text()))
    assert witness.add_checkpoint(Submission(3, (), somebody.data()).data()).status == 409
    (log,) = witness.logs()
    assert [each.encode() for each in log.contradictions] == [FORK.note(3)]
    assert log.note.encode() == TREE.note(3)


STEPS = st.lists(
    st.tuples(st.sampled_from([TREE, FORK, Tree(5)]), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(steps=STEPS)
def test_whatever_is_sent_only_one_past_is_cosigned(tmp_path_factory: pytest.TempPathFactory, steps: Any) -> None:
    """Three logs of one key with different pasts, in any order: sizes never go back, and every two cosigned states
    are states of one log that only grew."""
    witness = Witness.make(tmp_path_factory.mktemp("witness") / "w")
    witness.trust(KEY.verifier)
    signed: list[Checkpoint] = []
    for tree, old, size in steps:
        if witness.add_checkpoint(tree.request(old, size)).status == 200:
            signed.append(tree.head(size))
    witness.close()
    assert [head.size for head in signed] == sorted(head.size for head in signed)
    assert any(all(tree.head(head.size).root == head.root for head in signed) for tree in (TREE, FORK, Tree(5)))


def _next(size: int, request: tuple[Witness, Tree]) -> Answer:
    return request[0].add_checkpoint(request[1].request(size - 1, size))


def test_two_at_once_never_both_win(witness: Witness) -> None:
    """Many requests at the same moment, from two pasts: of each size one root is cosigned, and the size only grows."""
    other_process = Witness.at(witness.folder)
    signed: list[tuple[int, bytes]] = []
    for size in range(1, 25):
        requests = [(each, tree) for each in (witness, other_process) for tree in (TREE, Tree(0)) for _ in range(2)]
        with ThreadPoolExecutor(len(requests)) as threads:
            answers = list(threads.map(partial(_next, size), requests))
        asked = zip(answers, requests, strict=True)
        won = {tree.head(size).root for answer, (_, tree) in asked if answer.status == 200}
        assert len(won) == 1
        signed += [(size, root) for root in won]
    other_process.close()
    assert len(signed) == 24
    assert len({root == TREE.head(size).root for size, root in signed}) == 1


def test_a_held_store_is_busy(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the store, a request waits, and is told so when that takes too long."""
    monkeypatch.setattr(witness_module, "_WAIT_SECONDS", 0.05)
    waiting = Witness.at(witness.folder)
    with witness._transaction(), pytest.raises(Busy, match="database is locked"):
        waiting.add_checkpoint(TREE.request(0, 1))
    waiting.close()


def test_a_store_that_is_full_signs_nothing(witness: Witness) -> None:
    """Where what is to be signed cannot be stored, it is not signed; once there is room again, it is."""
    witness.add_checkpoint(TREE.request(0, 3))
    pages = witness._store.execute("PRAGMA page_count").fetchone()[0]
    witness._store.execute(f"PRAGMA max_page_count = {pages}")
    note = Checkpoint(KEY.name, 7, TREE.head(7).root, ("x" * 30_000,)).sign(KEY).data()
    request = changed(TREE.request(3, 7), note=note)
    with pytest.raises(Busy, match="full"):
        witness.add_checkpoint(request)
    assert seen(witness) == 3
    witness._store.execute("PRAGMA max_page_count = 1000000")
    assert_cosigned(witness, witness.add_checkpoint(request), note)
    assert seen(witness) == 7


class Deadly(WitnessSigningKey):
    """A key that ends the process at the moment it is to sign."""

    def cosign(self, text: str, at: datetime) -> Signature:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def _sign_and_die(folder: str) -> None:
    key = WitnessSigningKey.parse((Path(folder) / "witness.key").read_text())
    Witness(Path(folder), Deadly(key.name, key.seed)).add_checkpoint(TREE.request(0, 7))


def test_it_is_stored_before_it_is_signed(witness: Witness) -> None:
    """Killed at the moment of signing, the witness remembers what it was about to sign, and signs no other past."""
    child = FRESH.Process(target=_sign_and_die, args=(str(witness.folder),))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert seen(witness) == 7
    assert witness.add_checkpoint(FORK.request(0, 7)).status == 409
    assert witness.add_checkpoint(FORK.request(7, 7)).status == 409
    assert_cosigned(witness, witness.add_checkpoint(TREE.request(7, 7)), TREE.note(7))


def _submit(url: str, tree: Tree, signed: list[tuple[int, bytes]], stop: threading.Event) -> None:
    """Ask for cosignatures of ever larger states of ``tree`` until the witness is gone; note what was signed."""
    with httpx.Client(base_url=url, timeout=10) as client:
        size = 0
        while not stop.is_set():
            try:
                answer = client.post("/add-checkpoint", content=tree.request(size, size + 1))
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                signed.append((size + 1, tree.head(size + 1).root))
                size += 1
            elif answer.headers["content-type"] == SIZE_TYPE:
                size = int(answer.text)
            else:
                return


def test_killed_at_any_moment_it_cosigns_one_past(tmp_path: Path) -> None:
    """Killed a dozen times amid requests from two pasts of a log: over all its lives it cosigned one of them only, and
    remembers at least what it cosigned."""
    chance, signed = random.Random(20260301), list[tuple[int, bytes]]()
    served = Served(tmp_path / "witness", KEY.verifier)
    for _ in range(12):
        before = len(signed)
        stop = threading.Event()
        clients = [threading.Thread(target=_submit, args=(served.url, tree, signed, stop)) for tree in (TREE, Tree(0))]
        for client in clients:
            client.start()
        enough = before + chance.randint(1, 40)
        while len(signed) < enough and any(client.is_alive() for client in clients):
            clients[0].join(0.001)
        served.kill()
        stop.set()
        for client in clients:
            client.join()
        witness = Witness.at(tmp_path / "witness")
        assert seen(witness) >= max(size for size, _ in signed)
        witness.close()
        served.restart()
    served.kill()
    assert len(signed) > 60
    assert any(all(tree.head(size).root == root for size, root in signed) for tree in (TREE, Tree(0)))


def test_the_key_is_private_and_kept(tmp_path: Path) -> None:
    """The folder and the key are for their owner's eyes only; a second making changes nothing."""
    first = Witness.make(tmp_path / "w", "witness.example/w1")
    again = Witness.make(tmp_path / "w", "another name")
    assert first.key == again.key
    assert first.key.name == "witness.example/w1"
    assert stat.S_IMODE((tmp_path / "w").stat().st_mode) == 0o700
    for name in ("witness.key", "witness.db"):
        assert stat.S_IMODE((tmp_path / "w" / name).stat().st_mode) == 0o600
    first.close()
    again.close()


def test_a_witness_that_forgot_cosigns_no_more(witness: Witness, tmp_path: Path) -> None:
    """Without its store a witness is not opened, nor is a new key made for what an old one saw."""
    witness.add_checkpoint(TREE.request(0, 3))
    witness.close()
    folder, copy = witness.folder, tmp_path / "copy"
    shutil.copytree(folder, copy)
    for left in folder.glob("witness.db*"):
        left.unlink()
    for way in (Witness.at, Witness.make):
        with pytest.raises(EvidenceBroken, match=r"lost witness\.db"):
            way(folder)
    for left in copy.glob("witness.db-*"):
        left.unlink()
    whole = (copy / "witness.db").read_bytes()
    for damaged in (b"", b"not a database at all", whole[:100], bytes(len(whole))):
        (copy / "witness.db").write_bytes(damaged)
        with pytest.raises(EvidenceBroken, match="is not the store of a witness"):
            Witness.at(copy)
    (copy / "witness.db").write_bytes(whole)
    (copy / "witness.key").unlink()
    with pytest.raises(BadInput, match=r"its key witness\.key is gone"):
        Witness.make(copy)
    with pytest.raises(BadInput, match="There is no witness in"):
        Witness.at(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_making_that_was_killed_is_finished(tmp_path: Path) -> None:
    """A folder in which only the empty store was made, or no public key yet, becomes a witness."""
    Witness.make(tmp_path / "w").close()
    key = (tmp_path / "w" / "witness.key").read_text()
    (tmp_path / "w" / "witness.pub").unlink()
    Witness.make(tmp_path / "w").close()
    assert (tmp_path / "w" / "witness.key").read_text() == key
    (tmp_path / "w" / "witness.key").unlink()
    (tmp_path / "w" / "witness.pub").unlink()
    Witness.make(tmp_path / "w").close()
    assert (tmp_path / "w" / "witness.key").read_text() != key


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Served(tmp_path_factory.mktemp("served") / "w", KEY.verifier) as made:
        yield made


def test_over_http(served: Served, tmp_path: Path) -> None:
    """A real log is cosigned over HTTP, on one connection, and the answers carry their status and type."""
    log = Log(tmp_path / "log", KEY)
    with httpx.Client(base_url=served.url) as client:
        for size in (1, 3, 300):
            old = log.size
            log.append([b"entry %d" % at for at in range(old, size)])
            body = Submission(old, tuple(log.consistency(old, size)), log.note()).data()
            answer = client.post("/add-checkpoint", content=body)
            assert answer.status_code == 200, answer.text
            note = Note.parse(log.note()).with_signature(parse_signature(answer.text.removesuffix("\n")))
            assert len(cosignatures(note, [served.key])) == 1
        stale = client.post("/add-checkpoint", content=body)
        assert (stale.status_code, stale.headers["content-type"], stale.text) == (409, SIZE_TYPE, "300\n")
        assert client.post("/add-checkpoint", content=Tree(key=OTHER).request(0, 1)).status_code == 404
        assert client.get("/add-checkpoint").status_code == 405
        assert client.post("/").status_code == 404
        assert client.post("/add-checkpoint", content=b"x" * (1 << 16)).status_code == 400


def test_a_long_request_is_refused_unread(served: Served) -> None:
    """A body beyond the limit is refused while it still arrives, whether its length was told before or not."""
    assert httpx.post(f"{served.url}/add-checkpoint", content=b"x" * ((1 << 16) + 1)).status_code == 413

    def endless() -> Any:
        for _ in range(64):
            yield b"x" * 4096

    assert httpx.post(f"{served.url}/add-checkpoint", content=endless()).status_code == 413


def _serve_impatiently(folder: str, answer: Any) -> None:
    witness_server.READ_SECONDS = 0.2
    serve(Witness.at(Path(folder)), "127.0.0.1", 0, answer.send)


def test_a_request_that_never_ends_is_given_up(witness: Witness) -> None:
    """A client that sends half a request and then nothing is answered after a while, and holds nobody up."""
    here, there = FRESH.Pipe()
    server = FRESH.Process(target=_serve_impatiently, args=(str(witness.folder), there))
    server.start()
    url = here.recv()
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=30) as slow:
        slow.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\nold 0\n")
        assert httpx.post(f"{url}/add-checkpoint", content=TREE.request(0, 1)).status_code == 200
        assert b" 408 " in slow.recv(1000)
    server.terminate()
    server.join()
    assert server.exitcode == 0


def _answers(url: str) -> bool:
    try:
        return httpx.post(f"{url}/add-checkpoint", content=b"", timeout=5).is_client_error
    except httpx.TransportError:
        return False


def test_a_request_under_way_is_answered_before_it_ends(tmp_path: Path) -> None:
    """SIGTERM in the middle of a request: the request is answered, then the witness ends with 0."""
    served = Served(tmp_path / "w", KEY.verifier)
    body = TREE.request(0, 7)
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        head = f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
        # Told to go on: the request is being served, and its body is waited for.
        assert client.recv(1000).startswith(b"HTTP/1.1 100")
        served.process.send_signal(signal.SIGTERM)
        while _answers(served.url):
            pass
        client.sendall(body)
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    assert served.process.wait(30) == 0


def run(*arguments: object) -> Any:
    return program.run("witness", *arguments)


def test_the_commands(tmp_path: Path) -> None:
    """A witness is made, told of a log by its key or key file, and shows what it knows; a wrong key is explained."""
    folder, log = tmp_path / "w", Log.at(tmp_path / "home")
    made = run("init", "--dir", folder, "--name", "witness.example/w1")
    key = (folder / "witness.pub").read_text().strip()
    assert made.stdout.strip() == key
    assert key.startswith("witness.example/w1+")
    assert json.loads(run("init", "--dir", folder, "--json").stdout)["key"] == key
    other = run("init", "--dir", folder, "--name", "witness.example/w2")
    assert other.returncode == 2
    assert "holds the witness witness.example/w1" in other.stderr
    assert "No log is known yet" in run("show", "--dir", folder).stdout
    public = tmp_path / "home" / "keys" / "log.pub"
    assert "known from now on" in run("trust", "--dir", folder, public).stdout
    again = json.loads(run("trust", "--dir", folder, log.key, "--json").stdout)
    assert again == [{"origin": log.key.name, "key": str(log.key), "new": False}]
    shown = json.loads(run("show", "--dir", folder, "--json").stdout)
    assert (shown["key"], [each["origin"] for each in shown["logs"]]) == (key, [log.key.name])
    assert "never" in run("show", "--dir", folder).stdout
    for wrong, why in ((key, "is the key of a witness, not of a log"), ("absent.pub", "cannot be read")):
        refused = run("trust", "--dir", folder, wrong)
        assert refused.returncode == 2
        assert why in refused.stderr
    refused = run("show", "--dir", tmp_path / "nowhere")
    assert refused.returncode == 2
    assert "duecare witness init --dir" in refused.stderr


def test_show_tells_of_a_log_that_contradicts_itself(witness: Witness) -> None:
    """Two signed states of one size are shown, with exit code 1."""
    witness.add_checkpoint(TREE.request(0, 3))
    assert run("show", "--dir", witness.folder).returncode == 0
    witness.add_checkpoint(FORK.request(3, 3))
    shown = run("show", "--dir", witness.folder)
    assert shown.returncode == 1
    assert "signed 2 states of this size" in shown.stdout


def test_a_port_in_use_is_named(served: Served, tmp_path: Path) -> None:
    """A port that is taken is an error of use."""
    Witness.make(tmp_path / "w").close()
    refused = run("serve", "--dir", tmp_path / "w", "--port", served.port)
    assert refused.returncode == 2
    assert f"port {served.port}" in refused.stderr
