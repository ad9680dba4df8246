"""The log's files: their layout, growth, and what a kill at any moment leaves."""

from __future__ import annotations

import os
import signal
import sys
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duecare.errors import BadInput, Busy, EvidenceBroken
from duecare.evidence import log as log_module
from duecare.evidence import merkle
from duecare.evidence.audit import audit
from duecare.evidence.check import all_hold
from duecare.evidence.checkpoint import Checkpoint, SigningKey, open_checkpoint
from duecare.evidence.log import Log
from duecare.evidence.tiles import LogReader, levels, pack, tile_path, unpack, width_at

KEY = SigningKey("duecare/test", bytes(range(32)))
FRESH = get_context("forkserver")
FRESH.set_forkserver_preload(["duecare.evidence.log"])


def entries(start: int, stop: int) -> list[bytes]:
    return [b"entry %d" % at for at in range(start, stop)]


def root_of(leaves: list[bytes]) -> bytes:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    return merkle.tree_root(len(hashes), lambda level, at: merkle.perfect_root(hashes[at << level : (at + 1) << level]))


@pytest.mark.parametrize(
    ("kind", "number", "width", "path"),
    [
        ("0", 0, 256, "tile/0/000"),
        ("0", 273, 112, "tile/0/273.p/112"),
        ("1", 999, 256, "tile/1/999"),
        ("1", 1000, 256, "tile/1/x001/000"),
        ("entries", 1234067, 256, "tile/entries/x001/x234/067"),
        ("entries", 1234067, 8, "tile/entries/x001/x234/067.p/8"),
    ],
)
def test_paths_are_those_of_the_specification(kind: str, number: int, width: int, path: str) -> None:
    """Tiles and bundles stand where C2SP tlog-tiles says, its own examples included."""
    assert tile_path(kind, number, width) == path


def test_the_tiles_of_70000_entries(tmp_path: Path) -> None:
    """A log of 70,000 entries has the tiles that the specification's example lists, and no other."""
    log = Log(tmp_path, KEY)
    log.append(entries(0, 70_000))
    found: dict[str, list[int]] = {}
    for path in sorted((tmp_path / "tile").rglob("*")):
        if path.is_file():
            level = path.relative_to(tmp_path / "tile").parts[0]
            found.setdefault(level, []).append(int(path.name) if path.parent.suffix == ".p" else 256)
    assert {level: sorted(widths) for level, widths in found.items()} == {
        "0": [112] + [256] * 273,
        "1": [17, 256],
        "2": [1],
        "entries": [112] + [256] * 273,
    }
    assert (levels(70_000), width_at(70_000, 1, 1), width_at(256, 1, 0), width_at(256, 0, 1)) == (3, 17, 1, 0)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(1, 600), min_size=1, max_size=6))
def test_growing_in_any_steps_gives_the_same_log(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    """However entries are grouped, the log has the root of all of them, keeps each, and only grows."""
    log = Log(tmp_path_factory.mktemp("log"), KEY)
    done, noted = 0, [log.note()]
    for size in sizes:
        assert log.append(entries(done, done + size)) == done
        done += size
        noted.append(log.note())
    everything = entries(0, done)
    assert log.checkpoint(log.key) == Checkpoint("duecare/test", done, root_of(everything))
    assert list(LogReader(log.folder).entries(0, done)) == everything
    for at in {0, done // 2, done - 1}:
        proof = log.inclusion(at, done)
        assert merkle.verify_inclusion(merkle.leaf_hash(everything[at]), at, done, proof, root_of(everything))
    for older in noted:
        assert all_hold(audit(log.folder, log.key, older))
        then = open_checkpoint(older, log.key)
        grown = log.consistency(then.size, done)
        assert merkle.verify_consistency(then.size, done, grown, then.root, root_of(everything))


def test_bundles() -> None:
    """An entry bundle is entries after their lengths in two bytes; a cut one is refused."""
    assert pack([b"ab", b"c"]) == b"\x00\x02ab\x00\x01c"
    assert unpack(b"\x00\x02ab\x00\x01c") == [b"ab", b"c"]
    for cut in (1, 3, 5):
        with pytest.raises(EvidenceBroken, match="cut short"):
            unpack(b"\x00\x02ab\x00\x01c"[:cut])


@pytest.mark.parametrize("entry", [b"", b"x" * 65_536])
def test_entries_that_do_not_fit_are_refused(tmp_path: Path, entry: bytes) -> None:
    """An empty or too long entry is refused before anything is written."""
    log = Log(tmp_path, KEY)
    with pytest.raises(BadInput, match="65535 bytes"):
        log.append([b"good", entry])
    assert log.size == 0
    assert log.append([b"x" * 65_535]) == 0


def test_a_damaged_edge_is_never_signed_over(tmp_path: Path) -> None:
    """Where the files do not give the signed root, nothing is appended."""
    Log(tmp_path, KEY).append(entries(0, 10))
    for path in ("tile/0/000.p/10", "tile/entries/000.p/10"):
        place = tmp_path / path
        before = place.read_bytes()
        place.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(EvidenceBroken, match="Nothing was appended"):
            Log(tmp_path, KEY).append([b"next"])
        place.write_bytes(before)
    assert Log(tmp_path, KEY).append([b"next"]) == 10


def test_the_log_of_another_key_is_not_opened(tmp_path: Path) -> None:
    """A log opens only with the key that signs it."""
    Log(tmp_path, KEY)
    with pytest.raises(EvidenceBroken):
        Log(tmp_path, SigningKey("duecare/test", bytes(32)))


def test_a_lost_checkpoint_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    """A log that has entries and no checkpoint is not begun anew."""
    Log(tmp_path, KEY).append([b"entry"])
    (tmp_path / "checkpoint").unlink()
    with pytest.raises(EvidenceBroken, match="its checkpoint is missing"):
        Log(tmp_path, KEY)
    assert not (tmp_path / "checkpoint").exists()


def _hold(folder: str, ready: object, free: object) -> None:
    with Log(Path(folder), KEY).locked():
        ready.set()  # type: ignore[attr-defined]
        free.wait()  # type: ignore[attr-defined]


def test_a_held_log_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process writes, an append waits, and says so when it gives up."""
    ready, free = FRESH.Event(), FRESH.Event()
    holder = FRESH.Process(target=_hold, args=(str(tmp_path), ready, free))
    holder.start()
    assert ready.wait(30)
    monkeypatch.setattr(log_module, "LOCK_SECONDS", 0.05)
    with pytest.raises(Busy, match="Another process"):
        Log(tmp_path, KEY).append([b"entry"])
    free.set()
    holder.join()
    assert Log(tmp_path, KEY).append([b"entry"]) == 0


def _append_and_die(folder: str, start: int, count: int, step: int) -> None:
    """Append, killed at the ``step``-th time that the interpreter opens, makes, renames or removes a file."""
    log, left = Log(Path(folder), KEY), step

    def count_down(event: str, _: object) -> None:
        nonlocal left
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count_down)
    log.append([b"%s of step %d" % (entry, step) for entry in entries(start, start + count)])
    os._exit(0)


@pytest.mark.parametrize("held", [0, 250])
def test_killed_at_every_step_of_an_append(tmp_path: Path, held: int) -> None:
    """Killed at each file operation in turn, an append is there as a whole or not at all, and the next one works."""
    log = Log(tmp_path, KEY)
    if held:
        log.append(entries(0, held))
    known = list(log.entries(0, held))
    step, killed = 0, 0
    while True:
        step += 1
        child = FRESH.Process(target=_append_and_die, args=(str(tmp_path), len(known), 20, step))
        child.start()
        child.join()
        finished = child.exitcode == 0
        killed += not finished
        added = [b"%s of step %d" % (entry, step) for entry in entries(len(known), len(known) + 20)]
        size = log.size
        assert size in (len(known), len(known) + 20)
        known += added[: size - len(known)]
        assert list(LogReader(tmp_path).entries(0, size)) == known
        assert all_hold(audit(tmp_path, log.key))
        if finished:
            break
    assert killed > 15
    noted = log.note()
    log.append(entries(size, size + 700))
    assert all_hold(audit(tmp_path, log.key, noted))
    assert not (tmp_path / "appending").exists()


def _append_many(folder: str, name: int) -> None:
    log = Log(Path(folder), KEY)
    for batch in range(10):
        log.append([b"process %d batch %d entry %d" % (name, batch, at) for at in range(7)])


def test_processes_never_interleave(tmp_path: Path) -> None:
    """Three processes appending at once lose nothing, and each batch stays together."""
    workers = [FRESH.Process(target=_append_many, args=(str(tmp_path), name)) for name in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = list(LogReader(tmp_path).entries(0, 210))
    assert len(set(found)) == 210
    assert all(len({entry.rpartition(b" entry")[0] for entry in found[at : at + 7]}) == 1 for at in range(0, 210, 7))
    assert all_hold(audit(tmp_path, KEY.verifier))


FILES = ["checkpoint", "tile/0/000", "tile/0/001.p/40", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000",
         "tile/entries/001.p/40", "tile/entries/001.p/44"]  # fmt: skip


@pytest.mark.parametrize("path", FILES)
def test_the_audit_sees_every_changed_byte(tmp_path: Path, path: str) -> None:
    """A changed byte anywhere in any file of the log, older partial tiles included, fails the audit."""
    log = Log(tmp_path, KEY)
    log.append(entries(0, 256 + 40))
    log.append(entries(296, 300))
    assert all_hold(audit(tmp_path, log.key))
    place = tmp_path / path
    original = place.read_bytes()
    for position in range(0, len(original), max(1, len(original) // 40)):
        place.write_bytes(original[:position] + bytes([original[position] ^ 0x10]) + original[position + 1 :])
        assert not all_hold(audit(tmp_path, log.key)), position
    place.write_bytes(original + b"\x00")
    assert not all_hold(audit(tmp_path, log.key))
    if path not in ("tile/0/001.p/40", "tile/entries/001.p/40"):
        place.unlink()
        assert not all_hold(audit(tmp_path, log.key))


def test_the_audit_sees_a_rewritten_past(tmp_path: Path) -> None:
    """A log that was made anew with another past is sound in itself, and contradicts the checkpoint noted before."""
    first = Log(tmp_path / "first", KEY)
    first.append(entries(0, 300))
    second = Log(tmp_path / "second", KEY)
    second.append([b"rewritten", *entries(1, 400)])
    checks = {check.name: check.holds for check in audit(second.folder, KEY.verifier, first.note())}
    assert checks == {"signature": True, "entries": True, "tiles": True, "root": True, "growth": False}
    assert not all_hold(audit(first.folder, KEY.verifier, second.note()))


def test_hashes_are_plain_sha256(tmp_path: Path) -> None:
    """The root of a log of one entry is what anyone computes by hand."""
    log = Log(tmp_path, KEY)
    log.append([b"one"])
    assert log.checkpoint(log.key).root == sha256(b"\x00one").digest()
