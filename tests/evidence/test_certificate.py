"""Erasure certificates: how one is made, that it holds for who has only the keys, and that no byte of it can change.

Every certificate here is judged twice: by duecare, and by a verifier written from the page on the format alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import BadInput, EvidenceBroken, UnknownName, WitnessUnavailable
from duecare.evidence.certificate import (
    FORMAT,
    Opening,
    build,
    certificate_bytes,
    parse_certificate,
    verify_certificate,
)
from duecare.evidence.check import all_hold
from duecare.evidence.checkpoint import SigningKey, VerifierKey
from duecare.evidence.commitment import commit
from duecare.evidence.cosignature import WitnessKey, WitnessSigningKey
from duecare.evidence.log import Log
from duecare.evidence.outbox import record, sequence
from duecare.store.database import Database

from .. import program
from . import independent_verifier as independent
from .witnessing import Served

VECTOR: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "certificate.json").read_text("utf-8"))
LOG_KEY, WITNESS_KEY = VerifierKey.parse(VECTOR["log_key"]), WitnessKey.parse(VECTOR["witness_key"])
DATA = VECTOR["file"].encode()
AT = datetime(2026, 3, 1, 4, 5, 6, tzinfo=UTC)
SUBJECT, FACE = commit("张三"), commit("人脸特征")


def judged(data: bytes, log: VerifierKey = LOG_KEY, witnesses: tuple[WitnessKey, ...] = (WITNESS_KEY,)) -> list[Any]:
    """What both verifiers say of ``data``; they must say the same."""
    checks = verify_certificate(data, log, witnesses)
    assert all(check.detail and check.meaning_zh and check.meaning_en for check in checks)
    ours = [(check.name, check.holds) for check in checks]
    keys = [independent.read_key(str(each), independent.WITNESS) for each in witnesses]
    theirs = independent.verify(data, independent.read_key(str(log), independent.LOG), keys)
    assert dict(ours) == theirs, (checks, theirs)
    return ours


def holds(data: bytes) -> bool:
    return all(each for _, each in judged(data))


def test_the_vector_holds() -> None:
    """The test vector for other languages verifies, with and without the holder's part, and is what we still write."""
    names = ["form", "signature", "cosignature", "inclusion", "openings"]
    assert judged(DATA) == [(name, True) for name in names] == [tuple(each) for each in VECTOR["checks"]]
    assert judged(VECTOR["without_holder"].encode()) == [(name, True) for name in names[:-1]]
    assert certificate_bytes(json.loads(DATA)) == DATA


@pytest.mark.parametrize("refused", VECTOR["refused"], ids=lambda each: each["why"])
def test_each_false_certificate_fails_its_own_check(refused: dict[str, Any]) -> None:
    """A certificate that says something false fails exactly the checks that the falsehood concerns."""
    assert judged(refused["file"].encode()) == [tuple(each) for each in refused["checks"]]
    assert not holds(refused["file"].encode())


def test_any_changed_byte_is_refused() -> None:
    """Each byte of a certificate, changed in any of several ways, makes it fail, for both verifiers alike."""
    for position, byte in enumerate(DATA):
        for other in {byte ^ 1, byte ^ 0x20, 0x20, 0x30, 0x39} - {byte}:
            assert not holds(DATA[:position] + bytes([other]) + DATA[position + 1 :]), (position, other)


def test_a_cut_or_longer_certificate_is_refused() -> None:
    """A certificate cut anywhere, or with anything before its beginning or after its end, is refused."""
    more = (DATA + b"\n", DATA + DATA, b" " + DATA, b"\xef\xbb\xbf" + DATA, DATA.replace(b"\n", b"\r\n"))
    for wrong in (*(DATA[:at] for at in range(len(DATA))), *more):
        assert not holds(wrong)


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"{", b"[" * 100_000 + b"\n", b"null\n", b'"\\ud800"\n', b"1e999\n", b"NaN\n", b'{"a":1,"a":2}\n',
     b"x" * (2 << 20), DATA.decode().encode("utf-16"), b"9" * 5000 + b"\n"],
)  # fmt: skip
def test_no_input_breaks_a_verifier(data: bytes) -> None:
    """Whatever the file holds, the answer is a failed check of its form."""
    assert judged(data) == [("form", False)]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["sha256:" + "0" * 64, "00", "withdrawal", "2026-03-01T04:05:06.789000Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a document."""
    yield path
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, name))


def edited(value: Any, path: tuple[Any, ...], edit: Any) -> Any:
    """``value`` with ``edit`` made to what stands at ``path``; with none, without it."""
    if not path:
        return edit
    if isinstance(value, dict):
        changed = {name: edited(inner, path[1:], edit) if name == path[0] else inner for name, inner in value.items()}
        return {name: inner for name, inner in changed.items() if inner is not ...}
    changed = [edited(inner, path[1:], edit) if at == path[0] else inner for at, inner in enumerate(value)]
    return [inner for inner in changed if inner is not ...]


def written(value: Any) -> str:
    """JSON as close to canonical as the standard library writes it; nothing for nothing."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True) if value is not ... else ""


def as_file(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass") + b"\n"


DOCUMENT: dict[str, Any] = json.loads(DATA)
ENTRY: dict[str, Any] = json.loads(DOCUMENT["leaf"])


@given(path=st.sampled_from(sorted(places(DOCUMENT), key=str)), edit=st.just(...) | JSON)
def test_both_verifiers_agree_on_every_edit(path: tuple[Any, ...], edit: Any) -> None:
    """With any part of a certificate replaced or left out, both verifiers find the same."""
    document = edited(DOCUMENT, path, edit)
    same = document == DOCUMENT or document == {name: DOCUMENT[name] for name in DOCUMENT if name != "holder"}
    fewer = isinstance(document, dict) and document.get("holder") in [DOCUMENT["holder"][:1], DOCUMENT["holder"][1:]]
    assert holds(as_file(written(document))) <= (same or fewer)


@given(path=st.sampled_from(sorted(places(ENTRY), key=str)), edit=st.just(...) | JSON)
def test_both_verifiers_agree_on_every_edit_of_the_entry(path: tuple[Any, ...], edit: Any) -> None:
    """With any part of the entry replaced or left out, both verifiers find the same; none holds."""
    entry = edited(ENTRY, path, edit)
    document = {**DOCUMENT, "leaf": written(entry)}
    assert holds(as_file(written(document))) <= (document == DOCUMENT)


@given(data=st.data())
def test_both_verifiers_agree_on_every_edit_of_the_note(data: st.DataObject) -> None:
    """With the checkpoint's text cut, joined or changed anywhere, both verifiers find the same."""
    note = DOCUMENT["checkpoint"]
    start = data.draw(st.integers(0, len(note)))
    stop = data.draw(st.integers(start, min(len(note), start + 4)))
    piece = data.draw(st.text(st.sampled_from("\n \u2014=+A0é\t\x7f\u00a0\u3000"), max_size=4))
    document = {**DOCUMENT, "checkpoint": note[:start] + piece + note[stop:]}
    assert holds(as_file(written(document))) <= (document == DOCUMENT)


@pytest.mark.parametrize(
    ("moment", "exists"),
    [
        ("2024-02-29T00:00:00.000000Z", True), ("2023-02-29T00:00:00.000000Z", False),
        ("1900-02-29T00:00:00.000000Z", False), ("2026-02-30T00:00:00.000000Z", False),
        ("2026-13-01T00:00:00.000000Z", False), ("0000-01-01T00:00:00.000000Z", False),
        ("0001-01-01T00:00:00.000000Z", True), ("9999-12-31T23:59:59.999999Z", True),
        ("2016-12-31T23:59:60.000000Z", False), ("2026-01-01T24:00:00.000000Z", False),
        ("2026-01-01T00:60:00.000000Z", False), ("2026-01-00T00:00:00.000000Z", False),
    ],
)  # fmt: skip
def test_a_moment_exists(moment: str, exists: bool) -> None:
    """Both verifiers take moments that there are, and no others, wherever one stands."""
    for of in ("at", "erased_at"):
        document = json.loads(DATA)
        entry = json.loads(document["leaf"])
        (entry if of == "at" else entry["body"])[of] = moment
        document["leaf"] = rfc8785.dumps(entry).decode()
        assert dict(judged(certificate_bytes(document)))["form"] is exists


@pytest.mark.parametrize("depth", [5, 500, 100_000])
def test_what_is_nested_too_deep_is_of_no_form(depth: int) -> None:
    """Any depth beyond that of the form is refused, by a check and never by a crash."""
    deep = DATA.replace(b'"format"', b'"deep":' + b"[" * depth + b"]" * depth + b',"format"')
    assert judged(deep) == [("form", False)]


def test_a_signature_has_one_form() -> None:
    """S plus the order of the group would satisfy the same equation: both verifiers refuse it, of log and witness."""
    order = 2**252 + 27742317777372353535851937790883648493
    for which, check in ((-2, "signature"), (-1, "cosignature")):
        document = json.loads(DATA)
        lines = document["checkpoint"].removesuffix("\n").split("\n")
        head, _, encoded = lines[which].rpartition(" ")
        raw = b64decode(encoded)
        malleable = int.from_bytes(raw[-32:], "little") + order
        lines[which] = f"{head} {b64encode(raw[:-32] + malleable.to_bytes(32, 'little')).decode()}"
        document["checkpoint"] = "\n".join(lines) + "\n"
        assert not dict(judged(certificate_bytes(document)))[check]


def test_another_key_is_refused() -> None:
    """A certificate of another log, or cosigned by another witness than the one trusted, does not hold."""
    other = SigningKey.make("duecare/vector").verifier
    assert [name for name, fine in judged(DATA, log=other) if not fine] == ["signature", "inclusion"]
    stranger = WitnessSigningKey.make(WITNESS_KEY.name).verifier
    for witnesses in ((stranger,), (WITNESS_KEY, stranger)):
        assert [name for name, fine in judged(DATA, witnesses=witnesses) if not fine] == ["cosignature"]
    failed = next(each for each in verify_certificate(DATA, LOG_KEY, [stranger]) if not each.holds)
    assert failed.detail == f"not cosigned by {stranger}"


def test_without_a_witness_nothing_is_certified() -> None:
    """Without any witness's key the check fails and says what is missing."""
    assert [name for name, fine in judged(DATA, witnesses=()) if not fine] == ["cosignature"]
    failed = next(each for each in verify_certificate(DATA, LOG_KEY, []) if not each.holds)
    assert "no public key of a witness was given (--witness FILE)" in failed.detail


def test_the_verifier_as_a_program(tmp_path: Path) -> None:
    """The independent verifier runs by itself, outside the project, on three files."""
    for name, text in (("c.json", VECTOR["file"]), ("log.pub", VECTOR["log_key"]), ("w.pub", VECTOR["witness_key"])):
        (tmp_path / name).write_text(text, encoding="utf-8")
    script = Path(independent.__file__)
    imported = [
        line.split()[1] for line in script.read_text("utf-8").splitlines() if line.startswith(("import", "from"))
    ]
    assert not [name for name in imported if name.partition(".")[0] == "duecare"]
    shutil.copy(script, tmp_path / "verifier.py")

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", "verifier.py", "c.json", "log.pub", "w.pub"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert (run().returncode, run().stdout.count("holds")) == (0, 5)
    (tmp_path / "c.json").write_text(VECTOR["file"].replace("withdrawal", "schedule"), encoding="utf-8")
    assert (run().returncode, "inclusion FAILS" in run().stdout) == (1, True)


BODY: dict[str, Any] = {
    "certificate": "0123456789abcdef0123456789abcdef",
    "reason": "request",
    "article": "个人信息保护法第四十七条",
    "purpose": "年卡入园",
    "subject": SUBJECT.text,
    "fields": [{"field": "face", "commitment": FACE.text}],
    "keys": ["00112233445566778899aabbccddeeff"],
    "places": [{"place": "vault", "removed": 1}],
    "erased_at": "2026-03-01T04:05:06.000000Z",
}


class World:
    """A home's database and log, and a witness in a process of its own."""

    def __init__(self, url: str, folder: Path) -> None:
        self.database, self.log = Database(url), Log.at(folder / "home")
        self.served = Served(folder / "witness", self.log.key)

    def erase(self, body: dict[str, Any] = BODY, kind: str = "erasure:complete") -> int:
        """Record an erasure among other things, and put all into the log; the entry's id is returned."""
        with self.database.session() as session:
            record(session, "alert:send", "alert:1", {}, AT)
            entry = record(session, kind, "subject:9f", body, AT)
            record(session, "alert:send", "alert:2", {}, AT)
        sequence(self.database, self.log)
        return entry.id

    def certificate(self, entry: int, *holder: Opening) -> bytes:
        return certificate_bytes(build(self.database, self.log, entry, [self.served.remote()], holder))

    def close(self) -> None:
        self.served.kill()
        self.database.close()


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(database_url, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("small")
    made = World(f"sqlite:///{folder / 'test.db'}", folder)
    yield made
    made.close()


def test_an_erasure_is_certified(world: World) -> None:
    """The certificate of an erasure holds for who has only the two keys, and goes on to hold as the log grows."""
    made = [world.certificate(world.erase({**BODY, "certificate": f"{at:02x}"})) for at in range(3)]
    keys = (world.log.key, (world.served.key,))
    for at, data in enumerate(made):
        assert judged(data, *keys) == [
            ("form", True), ("signature", True), ("cosignature", True), ("inclusion", True),
        ]  # fmt: skip
        assert parse_certificate(data).body["certificate"] == f"{at:02x}"


def test_the_person_sees_what_was_meant(world: World) -> None:
    """With the holder's part the commitments are opened; without it the certificate holds and says nothing of him."""
    openings = (Opening(SUBJECT.text, SUBJECT.salt, "张三"), Opening(FACE.text, FACE.salt, "人脸特征"))
    entry = world.erase()
    keys = (world.log.key, (world.served.key,))
    with_him, without = world.certificate(entry, *openings), world.certificate(entry)
    assert judged(with_him, *keys)[-1] == ("openings", True)
    assert parse_certificate(with_him).holder == openings
    assert all(fine for _, fine in judged(without, *keys))
    for secret in ("张三", "人脸特征", SUBJECT.salt.hex(), FACE.salt.hex()):
        assert secret.encode() not in without
        assert secret.encode() in with_him


def test_certifying_needs_the_witness(world: World) -> None:
    """Where the witness is down there is no certificate yet, only later. An erasure it has seen needs it no more."""
    first = world.erase()
    data = world.certificate(first)
    world.served.kill()
    assert world.certificate(first) == data
    second = world.erase()
    with pytest.raises(WitnessUnavailable):
        world.certificate(second)
    with pytest.raises(BadInput, match="There is no witness"):
        build(world.database, world.log, second, [])
    world.served.restart()
    assert all(fine for _, fine in judged(world.certificate(second), world.log.key, (world.served.key,)))


def test_what_cannot_be_certified(small: World) -> None:
    """An unknown entry, one not in the log yet, one that is no erasure, and an opening that does not open: no file."""
    with pytest.raises(UnknownName):
        small.certificate(9999)
    with small.database.session() as session:
        waiting = record(session, "erasure:complete", "subject:9f", BODY, AT).id
    with pytest.raises(BadInput, match="not in the log yet"):
        small.certificate(waiting)
    entry = small.erase()
    with pytest.raises(BadInput, match="not erasure:complete"):
        small.certificate(entry - 1)
    with pytest.raises(EvidenceBroken, match="does not open its commitment"):
        small.certificate(entry, Opening(FACE.text, FACE.salt, "别的"))
    other = commit("别的")
    with pytest.raises(EvidenceBroken, match="not in the entry"):
        small.certificate(entry, Opening(other.text, other.salt, "别的"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"reason": "whim"}, "reason"),
        ({"reason": None}, "reason"),
        ({"certificate": "xyz"}, "certificate"),
        ({"certificate": ""}, "certificate"),
        ({"article": ""}, "article"),
        ({"subject": "张三"}, "subject"),
        ({"fields": [{"field": "face", "commitment": "sha256:00"}]}, "fields"),
        ({"fields": [{"field": "face", "commitment": FACE.text, "value": "x"}]}, "fields"),
        ({"fields": {}}, "fields"),
        ({"keys": ["00", 1]}, "keys"),
        ({"places": [{"place": "vault", "removed": -1}]}, "places"),
        ({"places": [{"place": "vault", "removed": True}]}, "places"),
        ({"erased_at": "2026-03-01"}, "erased_at"),
        ({"purpose": 7}, "purpose"),
        ({"more": 1}, "exactly the fields"),
    ],
)
def test_an_erasure_of_another_form_is_not_certified(small: World, change: dict[str, Any], why: str) -> None:
    """An entry whose body is not that of an erasure is refused with the member that is wrong."""
    with pytest.raises(BadInput, match=f"not one that can be certified: .*{why}"):
        small.certificate(small.erase({**BODY, **change}))


def test_a_log_that_holds_something_else_is_found_out(world: World, tmp_path: Path) -> None:
    """Where the log holds another entry than the database, nothing is certified."""
    entry = world.erase()
    changed = Log.at(tmp_path / "changed")
    changed.append([b"other"] * 3)
    with (
        Served(tmp_path / "second", changed.key) as second,
        pytest.raises(EvidenceBroken, match="not what the log holds"),
    ):
        build(world.database, changed, entry, [second.remote()])


@pytest.fixture
def files(small: World, tmp_path: Path) -> Path:
    """A folder with what a person was given: his certificate, and the two public keys."""
    data = small.certificate(small.erase(), Opening(SUBJECT.text, SUBJECT.salt, "张三"))
    (tmp_path / "certificate.json").write_bytes(data)
    shutil.copy(small.log.folder.parent / "keys" / "log.pub", tmp_path / "log.pub")
    shutil.copy(small.served.folder / "witness.pub", tmp_path / "witness.pub")
    return tmp_path


BOTH = ("--key", "log.pub", "--witness", "witness.pub")


def verify(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return program.run("verify", *arguments, "--home", folder / "absent", cwd=folder)


def test_verified_by_who_has_only_the_files(files: Path) -> None:
    """With the file and the two keys, and no home at all, the answer is given in words; nothing is made."""
    done = verify(files, "certificate.json", *BOTH)
    assert done.returncode == 0, done.stdout + done.stderr
    told = (
        "签名真实", "见证真实", "记录在册", "承诺相符", "Witnessed", "个人信息主体: 张三", "处理目的: 年卡入园",
        "已删除: face", "依据: 个人信息保护法第四十七条 · 个人请求删除", "删除时间: 2026-03-01T04:05:06",
        "已清除位置: vault · 1",
    )  # fmt: skip
    for words in told:
        assert words in done.stdout
    told = json.loads(verify(files, "certificate.json", *BOTH, "--json").stdout)
    assert told["holds"]
    assert told["entry"]["body"]["purpose"] == "年卡入园"
    assert told["opened"] == {SUBJECT.text: "张三"}
    assert not (files / "absent").exists()


def test_what_is_shown_commands_no_terminal(small: World, files: Path) -> None:
    """A value that would move the cursor or colour the screen is shown without that power."""
    name = "张\x1b[2J\x9b31m三[red]"
    subject = commit(name)
    data = small.certificate(small.erase({**BODY, "subject": subject.text}), Opening(subject.text, subject.salt, name))
    (files / "certificate.json").write_bytes(data)
    done = verify(files, "certificate.json", *BOTH)
    assert done.returncode == 0, done.stdout
    assert "张\ufffd[2J\ufffd31m三[red]" in done.stdout
    assert json.loads(verify(files, "certificate.json", *BOTH, "--json").stdout)["opened"] == {subject.text: name}


def test_the_command_says_what_is_missing(files: Path) -> None:
    """Without a witness's key the certificate fails and the key is asked for; a log's key in its place is refused."""
    done = verify(files, "certificate.json", "--key", "log.pub")
    assert done.returncode == 1
    assert "无有效见证" in done.stdout
    assert "--witness FILE" in done.stdout
    swapped = verify(files, "certificate.json", "--key", "log.pub", "--witness", "log.pub")
    assert swapped.returncode == 2
    assert "is the key of a log, not of a witness" in swapped.stderr
    absent = verify(files, "certificate.json", "--key", "log.pub", "--witness", "absent.pub")
    assert absent.returncode == 2
    assert "witness.pub in its folder" in absent.stderr


def test_the_command_refuses_a_changed_certificate(files: Path) -> None:
    """Each of a spread of changed bytes exits with 1 and shows no entry."""
    path = files / "certificate.json"
    data = path.read_bytes()
    for position in range(0, len(data), len(data) // 6):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        done = verify(files, "certificate.json", *BOTH, "--json")
        assert done.returncode == 1, (position, done.stdout, done.stderr)
        assert json.loads(done.stdout)["entry"] is None
    path.write_bytes(data.replace(FORMAT.encode(), b"duecare-certificate/2"))
    assert "is none of" in verify(files, "certificate.json", *BOTH).stdout


def test_all_hold_is_not_said_of_nothing() -> None:
    """A file of which nothing could be checked does not hold."""
    assert not all_hold(verify_certificate(b"", LOG_KEY, [WITNESS_KEY]))
