"""Keys and their slots: durable, erased for good, rotated without anybody waiting."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duecare.errors import BadInput, Erased, KeyLost
from duecare.vault.keys import FileMasterKeys, purpose_key, unwrap_data_key, wrap_data_key
from duecare.vault.slots import Slot, Slots, SlotState


def opened(folder: Path, *, create: bool = True) -> Slots:
    return Slots(folder, FileMasterKeys(folder), create=create)


def names(count: int) -> list[str]:
    return [secrets.token_hex(16) for _ in range(count)]


def test_a_slot_keeps_its_key(tmp_path: Path) -> None:
    """What was made is the same for another process, and different for each slot."""
    slots = opened(tmp_path)
    made = slots.make(names(3))
    keys = [slots.key(slot) for slot in made]
    assert len({*keys}) == 3
    assert [len(key) for key in keys] == [32, 32, 32]
    other = opened(tmp_path, create=False)
    assert [other.key(slot) for slot in made] == keys


def test_erased_is_a_state_of_its_own(tmp_path: Path) -> None:
    """An erased slot says so to everybody, for ever: it is not absent, not free, and not made again."""
    slots, other = opened(tmp_path), opened(tmp_path)
    first, second = slots.make(names(2))
    other.key(first)
    assert slots.erase([first]) == 1
    assert slots.erase([first]) == 0
    for each in (slots, other, opened(tmp_path)):
        with pytest.raises(Erased):
            each.key(first)
        assert each.keys([first, second])[0] is None
    (third,) = slots.make(names(1))
    assert third.number == 2, "the place of an erased key is not used again"
    with pytest.raises(KeyLost, match="the file ends before it"):
        slots.key(Slot(99, first.key))


def test_the_bytes_of_an_erased_key_are_gone(tmp_path: Path) -> None:
    """Nothing of its wrap is left in the file."""
    slots = opened(tmp_path)
    (slot,) = slots.make(names(1))
    record = slots.path.read_bytes()[512:576]
    slots.erase([slot])
    assert record[20:60] not in slots.path.read_bytes()


def test_a_slot_that_holds_another_key_is_left_alone(tmp_path: Path) -> None:
    """An older file that went on has other keys in the places of lost ones: neither read nor erased for them."""
    slots = opened(tmp_path)
    (mine,) = slots.make(names(1))
    stranger = Slot(mine.number, secrets.token_hex(16))
    with pytest.raises(KeyLost, match="it holds another"):
        slots.key(stranger)
    assert slots.erase([stranger]) == 0
    slots.key(mine)


@pytest.mark.parametrize("name", ["vault.slots", "vault.master.1"])
def test_keys_that_others_may_read_are_refused(tmp_path: Path, name: str) -> None:
    """A file of keys with a wider mode than 0600 is not used, and the message says how to mend it."""
    opened(tmp_path).make(names(1))
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    (tmp_path / name).chmod(0o640)
    with pytest.raises(BadInput, match=r"mode 0640.*chmod 600"):
        opened(tmp_path)


def test_missing_keys_are_not_made_anew(tmp_path: Path) -> None:
    """Where something was sealed, a file that is gone is an error, not a new beginning."""
    opened(tmp_path).make(names(1))
    (tmp_path / "vault.slots").rename(tmp_path / "elsewhere")
    with pytest.raises(KeyLost, match="not there"):
        opened(tmp_path, create=False)
    (tmp_path / "elsewhere").rename(tmp_path / "vault.slots")
    (tmp_path / "vault.master.1").unlink()
    with pytest.raises(KeyLost, match="master"):
        opened(tmp_path, create=False)


def test_a_master_key_of_another_home_opens_nothing(tmp_path: Path) -> None:
    """Files of two copies that do not belong together are told apart."""
    one, two = tmp_path / "one", tmp_path / "two"
    opened(one).make(names(1))
    opened(two)
    (one / "vault.master.1").write_bytes((two / "vault.master.1").read_bytes())
    with pytest.raises(KeyLost, match="not the one that wrapped"):
        opened(one, create=False)


@pytest.mark.parametrize("at", [0, 17, 30, 495, 512, 520, 540, 575])
def test_a_changed_byte_is_noticed(tmp_path: Path, at: int) -> None:
    """A damaged head or record gives an error that says so, never another key."""
    slots = opened(tmp_path)
    (slot,) = slots.make(names(1))
    key = slots.key(slot)
    data = bytearray(slots.path.read_bytes())
    data[at] ^= 1
    slots.path.write_bytes(bytes(data))
    try:
        found = opened(tmp_path, create=False).key(slot)
    except KeyLost:
        return
    assert at == 495, "only the padding of the head may change unnoticed"
    assert found == key


def test_a_file_cut_short_is_appended_to(tmp_path: Path) -> None:
    """A record that a killed process wrote in part is written over by the next; what was made before stays."""
    slots = opened(tmp_path)
    made = slots.make(names(2))
    with slots.path.open("r+b") as file:
        file.truncate(512 + 64 + 30)
    (again,) = slots.make(names(1))
    assert again.number == 1
    slots.key(made[0])
    slots.key(again)


def test_a_rotation_leaves_the_keys_and_destroys_the_old_master(tmp_path: Path) -> None:
    """Every key reads as before under a new master; a copy of the old file opens with nothing that is left."""
    slots, other = opened(tmp_path), opened(tmp_path)
    made = slots.make(names(5))
    slots.erase(made[:1])
    keys, old = other.keys(made), slots.path.read_bytes()
    master = (tmp_path / "vault.master.1").read_bytes()
    assert slots.rotate() == 2
    assert slots.keys(made) == other.keys(made) == keys
    assert [path.name for path in sorted(tmp_path.glob("vault.master.*"))] == ["vault.master.2"]
    assert slots.states()[0][1] is SlotState.ERASED
    everything = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert master not in everything
    assert old[576:640] not in everything
    (tmp_path / "vault.slots").write_bytes(old)
    with pytest.raises(KeyLost):
        opened(tmp_path, create=False)


def test_readers_go_on_during_rotations(tmp_path: Path) -> None:
    """Threads that read all the time never see an error or another key while the file is replaced under them."""
    slots, reader = opened(tmp_path), opened(tmp_path)
    made = slots.make(names(50))
    keys, wrong, done = slots.keys(made), list[object](), threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                wrong.extend(key for key, known in zip(reader.keys(made), keys, strict=True) if key != known)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        slots.rotate()
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_a_killed_rotation_left_is_cleared(tmp_path: Path) -> None:
    """A master key that wraps nothing yet, and a file that was not put in place, go; an older master goes, too."""
    slots = opened(tmp_path)
    (slot,) = slots.make(names(1))
    key, master = slots.key(slot), FileMasterKeys(tmp_path)
    master.rotate()
    (tmp_path / "vault.slots.new").write_bytes(b"half")
    again = opened(tmp_path)
    assert again.key(slot) == key
    assert master.generations() == [1]
    assert not (tmp_path / "vault.slots.new").exists()
    again.rotate()
    (tmp_path / "vault.master.1").write_bytes((tmp_path / "vault.master.2").read_bytes())
    (tmp_path / "vault.master.1").chmod(0o600)
    assert opened(tmp_path).key(slot) == key
    assert master.generations() == [2]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("make"), st.integers(1, 3)),
        st.tuples(st.just("erase"), st.integers(0, 9)),
        st.tuples(st.sampled_from(["rotate", "reopen"]), st.just(0)),
    ),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(operations=OPERATIONS)
def test_slots_are_what_was_done_to_them(tmp_path: Path, operations: list[tuple[str, int]]) -> None:
    """Made, erased, rotated and opened again in any order: live ones keep their key, erased ones stay erased."""
    folder = tmp_path / secrets.token_hex(8)
    slots, known, erased = opened(folder), dict[Slot, bytes](), set[Slot]()
    for what, number in operations:
        if what == "make":
            made = slots.make(names(number))
            known.update({slot: slots.key(slot) for slot in made})
        elif what == "erase" and number < len(known):
            slot = list(known)[number]
            assert slots.erase([slot]) == (slot not in erased)
            erased.add(slot)
        elif what == "rotate":
            slots.rotate()
        else:
            slots = opened(folder)
        expected = [None if slot in erased else key for slot, key in known.items()]
        assert slots.keys(list(known)) == expected
    assert len({slot.number for slot in known}) == len(known)


IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
KEYS = st.binary(min_size=32, max_size=32)


@given(slot=KEYS, data=KEYS, one=st.tuples(IDS, IDS, NAMES), other=st.tuples(IDS, IDS, NAMES))
def test_a_wrap_opens_for_its_own_subject_and_purpose_only(
    slot: bytes, data: bytes, one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    """A data key wrapped for one key, subject and purpose unwraps for exactly those, under the same slot."""
    wrapped = wrap_data_key(purpose_key(slot, *one), data)
    assert len(wrapped) == 40
    assert unwrap_data_key(purpose_key(slot, *one), wrapped) == data
    if one != other:
        with pytest.raises(KeyLost):
            unwrap_data_key(purpose_key(slot, *other), wrapped)
