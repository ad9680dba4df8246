"""Packs: pages appended to one file, read back by place, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duecare.errors import BadInput
from duecare.store.packs import PackReader, PackWriter, read_all, read_at

AT = datetime(2026, 10, 1, 8, 30, tzinfo=UTC)


def _fill(path: Path, bodies: list[bytes]) -> list[tuple[int, int, str]]:
    with PackWriter(path) as pack:
        return [
            pack.add(f"公司{number}", f"https://r/{number}", AT + timedelta(seconds=number), 200, body)
            for number, body in enumerate(bodies)
        ]


@given(bodies=st.lists(st.binary(max_size=400), max_size=8))
def test_what_is_added_is_read_back(tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]) -> None:
    """Every page comes back with its body, address and time, in order and by its place."""
    path = tmp_path_factory.mktemp("pack") / "a.pack"
    places = _fill(path, bodies)
    pages = list(read_all(path))
    assert [page.body for page in pages] == bodies
    assert [(page.offset, page.length, page.sha256) for page in pages] == places
    for page, (offset, length, _) in zip(pages, places, strict=True):
        assert read_at(path, offset, length) == page == read_at(path, offset)
    assert all(page.fetched_at.tzinfo is not None for page in pages)


@given(cut=st.integers(min_value=0, max_value=2_000))
def test_a_pack_cut_anywhere_reads_to_its_last_whole_page(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Wherever the file ends, the whole pages before that are read, and a writer goes on from there."""
    path = tmp_path_factory.mktemp("pack") / "a.pack"
    bodies = [bytes(f"<html>{'甲' * 40}{number}</html>", "utf-8") for number in range(6)]
    places = _fill(path, bodies)
    cut = min(cut, path.stat().st_size)
    os.truncate(path, cut)
    whole = sum(offset + length <= cut for offset, length, _ in places)
    if path.stat().st_size:
        assert [page.body for page in read_all(path)] == bodies[:whole]
    _fill(path, [b"next"])
    assert [page.body for page in read_all(path)] == [*bodies[:whole], b"next"]


def test_a_last_page_of_the_right_length_and_wrong_bytes_is_not_read(tmp_path: Path) -> None:
    """After a power cut the last record may be full of zeros: it is dropped, those before it stay."""
    path = tmp_path / "a.pack"
    places = _fill(path, [b"one" * 50, b"two" * 50])
    with path.open("r+b") as file:
        file.seek(places[1][0] + 25)
        file.write(bytes(10))
    assert [page.body for page in read_all(path)] == [b"one" * 50]
    _fill(path, [b"three"])
    assert [page.body for page in read_all(path)] == [b"one" * 50, b"three"]


def test_damage_in_the_middle_is_an_error(tmp_path: Path) -> None:
    """A page altered in place is refused, naming the pack and the place, and is never skipped in silence."""
    path = tmp_path / "a.pack"
    places = _fill(path, [b"one" * 50, b"two" * 50, b"three" * 50])
    with path.open("r+b") as file:
        file.seek(places[1][0] + 25)
        file.write(bytes(10))
    with pytest.raises(BadInput, match=f"no page at {places[1][0]}"):
        list(read_all(path))
    assert read_at(path, *places[2][:2]).body == b"three" * 50


def test_pages_that_look_alike_take_little_room(tmp_path: Path) -> None:
    """The first page serves as the dictionary of the others: shared markup is stored once."""
    markup = "".join(f"<div class=panel id=s{number}><h2>信息分类{number}</h2></div>" for number in range(300))
    _fill(tmp_path / "a.pack", [f"{markup}<b>{number}</b>".encode() for number in range(100)])
    one = len(f"{markup}".encode())
    assert (tmp_path / "a.pack").stat().st_size < one * 2


@pytest.mark.parametrize("content", [b"PK\x03\x04 something else", b"duecare pack 2\nfuture"])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """A file that is not a pack is neither read nor written to."""
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="not a pack"):
        PackReader(path)
    with pytest.raises(BadInput, match="not a pack"):
        PackWriter(path)
    assert path.read_bytes() == content


def test_a_killed_writer_leaves_whole_pages(tmp_path: Path) -> None:
    """kill -9 in the middle of writing: every page whose add had returned is there."""
    path = tmp_path / "a.pack"
    code = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from duecare.store.packs import PackWriter\n"
        "pack = PackWriter(Path(sys.argv[1])); n = 0\n"
        "while True:\n"
        "    pack.add(str(n), 'u', datetime.now(UTC), 200, str(n).encode() * 2000); print(n, flush=True); n += 1\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 50:
            pass
        process.send_signal(signal.SIGKILL)
        added = [50, *map(int, process.stdout.read().split())][-1] + 1
    pages = list(read_all(path))
    assert len(pages) >= added
    assert [page.entity for page in pages] == [str(number) for number in range(len(pages))]
