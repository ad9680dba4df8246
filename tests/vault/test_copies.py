"""An older copy of the database, the keys or the log is put back: nothing that was erased comes back with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from duecare.consent import grants, purposes, subjects
from duecare.errors import Erased, EvidenceBroken, KeyLost, NotGranted, WitnessUnavailable
from duecare.evidence.certificate import verify_certificate
from duecare.evidence.check import all_hold
from duecare.evidence.outbox import EvidenceEntry, read_entries, record, sequence
from duecare.settings import load
from duecare.vault import erasure, newest, retention, rotation
from duecare.vault.exports import export
from duecare.vault.models import VaultKey
from duecare.vault.records import Vault

from ..evidence.witnessing import Served
from .copies import DatabaseCopy, FolderCopy, drop_copy
from .park import AT, BASIC, PRINT, furnish, holder, opened, person


@dataclass
class Rig:
    """A home whose parts can go back in time one by one."""

    home: Path
    url: str
    witness: Served
    folder: Path

    def opened(self, at: datetime = AT) -> AbstractContextManager[Vault]:
        return opened(self.home, self.url, at=at, witnessed_by=[self.witness.remote()])

    def database(self) -> DatabaseCopy:
        return DatabaseCopy(self.url, self.folder)

    def keys(self) -> FolderCopy:
        return FolderCopy(self.home / "keys", self.folder / "keys.copy")

    def log(self) -> FolderCopy:
        return FolderCopy(self.home / "log", self.folder / "log.copy")


@pytest.fixture
def rig(database_url: str, tmp_path: Path, witness: Served) -> Iterator[Rig]:
    """A home with two holders."""
    made = Rig(tmp_path / "home", database_url, witness, tmp_path)
    with made.opened() as vault:
        furnish(vault)
    yield made
    drop_copy(database_url)


def two(rig: Rig) -> tuple[str, str]:
    with rig.opened() as vault:
        return holder(vault), holder(vault)


def withdraw(vault: Vault, subject: str) -> erasure.Erasure:
    return erasure.withdraw(vault, subject, "fingerprint_entry", how="a click", screen="my data").erasures[0]


def is_gone(vault: Vault, subject: str) -> None:
    """It opens nowhere, its grant has ended, its slot is erased, and it was certified once."""
    with pytest.raises(Erased):
        vault.open("fingerprint", subject, "fingerprint_entry", "gate")
    with vault.database.session() as session:
        assert not grants.standing(session, subject, "fingerprint_entry")
        keys = session.scalars(select(VaultKey).where(VaultKey.subject == subject)).all()
        (mine,) = [key for key in keys if key.purpose == "fingerprint_entry"]
        (found,) = [each for each in erasure.erasures(session, subject) if each.purpose == "fingerprint_entry"]
    assert dict(vault.slots.states())[mine.id].name == "ERASED"
    data = erasure.certificate(vault, found.id)
    assert all_hold(verify_certificate(data, vault.log.key, [each.key for each in vault.witnesses]))
    sequence(vault.database, vault.log)
    entries = [entry.subject for entry in read_entries(vault.log, kinds=["erasure:complete"])]
    assert entries.count(f"erasure:{found.id}") == 1


def is_held(vault: Vault, subject: str) -> None:
    assert vault.open("fingerprint", subject, "fingerprint_entry", "gate") == PRINT
    assert vault.open("name", subject, "pass_contract", "gate") == BASIC["name"]
    assert subject in vault.find_all("phone", BASIC["phone"], "pass_contract", "gate")


def test_an_older_database_replays_the_erasures_of_the_log(rig: Rig) -> None:
    """What the copy still held is erased again on opening; what was not erased opens as before."""
    gone, stays = two(rig)
    copy = rig.database()
    with rig.opened() as vault:
        withdraw(vault, gone)
    copy.put_back()
    with rig.opened() as vault:
        assert vault.recovered.erasures == 1
        is_gone(vault, gone)
        is_held(vault, stays)
    with rig.opened() as vault:
        assert vault.recovered.erasures == 0, "once is enough"


def test_an_older_database_and_older_keys_together(rig: Rig) -> None:
    """Both are of one time, and know nothing of the erasure: the log does, and its marks win in both."""
    gone, stays = two(rig)
    database, keys = rig.database(), rig.keys()
    with rig.opened() as vault:
        withdraw(vault, gone)
    database.put_back()
    keys.put_back()
    with rig.opened() as vault:
        assert vault.recovered.slots == 1
        is_gone(vault, gone)
        is_held(vault, stays)


def test_older_keys_alone(rig: Rig) -> None:
    """A copy of keys/ that still has the key: the database knows it as erased, and its slot is destroyed again."""
    gone, stays = two(rig)
    keys = rig.keys()
    with rig.opened() as vault:
        withdraw(vault, gone)
        later = holder(vault)
    keys.put_back()
    with rig.opened() as vault:
        assert vault.recovered.slots == 1
        is_gone(vault, gone)
        is_held(vault, stays)
        with pytest.raises(KeyLost, match="older copy"):
            vault.open("name", later, "pass_contract", "gate")
        newest = holder(vault)
        is_held(vault, newest)
        assert rotation.inventory(vault).missing == 3
        withdraw(vault, later)
        is_held(vault, newest)  # whose key stands in the slot that the lost one had


def test_keys_are_older_than_a_rotation(rig: Rig) -> None:
    """A copy of keys/ from before a rotation is whole in itself; what was erased since is destroyed in it, too."""
    gone, stays = two(rig)
    keys = rig.keys()
    with rig.opened() as vault:
        rotation.rotate(vault)
        withdraw(vault, gone)
    keys.put_back()
    with rig.opened() as vault:
        is_gone(vault, gone)
        assert vault.open("fingerprint", stays, "fingerprint_entry", "gate") == PRINT
        with pytest.raises(KeyLost):
            vault.find_all("phone", BASIC["phone"], "pass_contract", "gate")


def test_a_database_from_before_a_rotation_finds_people_again(rig: Rig) -> None:
    """Its look-ups stand under an index key that was destroyed since: they are made again."""
    _, stays = two(rig)
    copy = rig.database()
    with rig.opened() as vault:
        rotation.rotate(vault)
    copy.put_back()
    with rig.opened() as vault:
        is_held(vault, stays)


def test_an_erasure_that_neither_database_nor_log_remember(rig: Rig) -> None:
    """The database is older, and the log was lost with the machine: the destroyed slot is what is left of it."""
    gone, stays = two(rig)
    database, log = rig.database(), rig.log()
    with opened(rig.home, rig.url, witnessed_by=[]) as vault:
        withdraw(vault, gone)
    database.put_back()
    log.put_back()
    with rig.opened() as vault:
        is_gone(vault, gone)
        is_held(vault, stays)
        with vault.database.session() as session:
            (found,) = erasure.erasures(session, gone)
        assert "destroyed before" in found.note


def test_everything_is_older_and_the_witness_notices(rig: Rig) -> None:
    """Database, keys and log are of one time: nothing here can know, but the witness has seen a longer log."""
    gone, _ = two(rig)
    copies = rig.database(), rig.keys(), rig.log()
    with rig.opened() as vault:
        withdraw(vault, gone)
    for copy in copies:
        copy.put_back()
    with pytest.raises(EvidenceBroken, match="older copy"), rig.opened():
        pass


def test_a_log_that_is_older_than_the_database_is_refused(rig: Rig) -> None:
    """The database knows more of the log than there is: nothing is opened until the newer log is back."""
    gone, _ = two(rig)
    log = rig.log()
    with opened(rig.home, rig.url, witnessed_by=[]) as vault:
        withdraw(vault, gone)
    log.put_back()
    with pytest.raises(EvidenceBroken, match="older copy"), opened(rig.home, rig.url, witnessed_by=[]):
        pass


def test_a_withdrawal_without_anything_sealed_is_replayed_too(rig: Rig) -> None:
    """The person agreed and withdrew before anything was taken: the older database may not think that they agree."""
    with rig.opened() as vault:
        subject = person(vault, "fingerprint_entry")
    copy = rig.database()
    with rig.opened() as vault:
        withdraw(vault, subject)
    copy.put_back()
    with rig.opened() as vault:
        with pytest.raises(NotGranted, match="ended"):
            vault.open("fingerprint", subject, "fingerprint_entry", "gate")
        with vault.database.session() as session:
            (found,) = erasure.erasures(session, subject)
        assert erasure.certificate(vault, found.id)


def test_a_purpose_that_ended_stays_ended(rig: Rig) -> None:
    """The end of a purpose for everyone is done again, for everyone."""
    people = two(rig)
    copy = rig.database()
    with rig.opened() as vault:
        assert erasure.end_purpose(vault, "fingerprint_entry", note="指纹入园停用") == 2
    copy.put_back()
    with rig.opened() as vault:
        assert vault.recovered.erasures == 2
        for subject in people:
            is_gone(vault, subject)


@pytest.mark.parametrize("how", ["withdrawal", "request", "purpose_ended", "schedule"])
def test_what_stood_when_is_as_it_was_before_the_copy_was_put_back(rig: Rig, how: str) -> None:
    """What is done again was done when the log says, not when the copy was opened: nobody's consent stands longer."""
    subject, _ = two(rig)
    copy = rig.database()

    def account(vault: Vault) -> list[object]:
        with vault.database.session() as session:
            ends = [(each.at, each.kind, each.about) for each in grants.history(session, subject)]
            held = sorted(
                (each.field, each.purpose, each.state, str(each.erased_at)) for each in vault.holds(session, subject)
            )
            over = purposes.purpose(session, "fingerprint_entry").ended_at
            done = [(each.id, each.begun_at, each.erased_at) for each in erasure.erasures(session, subject)]
        return [ends, held, over, done]

    with rig.opened(AT + timedelta(days=100)) as vault:
        if how == "withdrawal":
            withdraw(vault, subject)
        elif how == "request":
            erasure.erase(vault, subject)
        elif how == "purpose_ended":
            erasure.end_purpose(vault, "fingerprint_entry", note="指纹入园停用")
        else:
            with vault.database.session() as session:
                retention.event(session, subject, "pass_expired", AT.date(), at=AT)
            assert retention.run(vault).erased
        before = account(vault)
    copy.put_back()
    with rig.opened(AT + timedelta(days=101)) as vault:
        assert account(vault) == before


def test_the_keys_are_not_there(rig: Rig) -> None:
    """Without keys/ nothing opens, nothing is made anew in their place, and it says what to put back."""
    two(rig)
    copy = rig.keys()
    shutil.rmtree(rig.home / "keys")
    with pytest.raises(KeyLost, match=r"vault\.slots"), opened(rig.home, rig.url, witnessed_by=[]):
        pass
    copy.put_back()
    with rig.opened():
        pass


def test_legal_holds_come_back_from_the_log_before_anything_is_erased(rig: Rig) -> None:
    """A copy from before the holds: what a court ordered kept is kept, what was lifted goes, numbers go on."""
    kept, lifted = two(rig)
    copy = rig.database()
    about = {"article": "民事诉讼法第八十四条", "reason": "案件审理中", "by": "counsel", "at": AT}
    with rig.opened() as vault:
        later = holder(vault)
        with vault.database.session() as session:
            first = retention.legal_hold(session, **about, subject=kept)
            second = retention.legal_hold(session, **about, subject=lifted, purpose="fingerprint_entry")
            third = retention.legal_hold(session, **about, subject=later)
            retention.lift(session, second, by="counsel", reason="closed", at=AT)
        for each in (kept, lifted):
            with vault.database.session() as session:
                grants.withdraw(session, each, "fingerprint_entry", how="a letter", screen="post", at=AT)
        sequence(vault.database, vault.log)
    copy.put_back()
    with rig.opened() as vault:
        ran = retention.run(vault)
        assert (ran.erased, ran.held) == (1, 1)
        is_gone(vault, lifted)
        with vault.database.session() as session:
            stand = {each.id: each for each in retention.legal_holds(session)}
            assert {(each.subject, each.article, each.placed_by) for each in stand.values() if each.id == first} == {
                (kept, about["article"], "counsel")
            }
            assert sorted(stand) == [first, third]
            assert stand[third].subject not in (None, kept, lifted), "it keeps nobody else"
            (was,) = [each for each in retention.legal_holds(session, lifted=True) if each.id == second]
            assert (was.lifted_by, was.lift_reason) == ("counsel", "closed")
            assert retention.legal_hold(session, **about, subject=lifted) > third
            retention.lift(session, first, by="counsel", reason="closed", at=AT)
        assert retention.run(vault).erased == 1
        is_gone(vault, kept)


def test_the_days_from_which_retention_runs_come_back_from_the_log(rig: Rig) -> None:
    """A renewal, and an event that was called off, after the copy: nothing falls due by the day that the copy knows."""
    renewed, off = two(rig)
    with rig.opened() as vault, vault.database.session() as session:
        for each in (renewed, off):
            retention.event(session, each, "pass_expired", date(2020, 4, 26), ref="pass 1", at=AT)
    copy = rig.database()
    with rig.opened() as vault:
        with vault.database.session() as session:
            retention.event(session, renewed, "pass_expired", date(2021, 4, 26), ref="pass 1", at=AT)
            retention.event(session, renewed, "pass_expired", date(2020, 5, 1), ref="pass 2", at=AT)
            retention.event(session, off, "pass_expired", None, ref="pass 1", at=AT)
        sequence(vault.database, vault.log)
    copy.put_back()
    with rig.opened() as vault, vault.database.session() as session:
        assert retention.due(vault, session, datetime(2021, 7, 1, tzinfo=UTC)) == []
        due = retention.due(vault, session, datetime(2021, 8, 1, tzinfo=UTC))
        assert {each.subject for each in due} == {renewed}
        assert {each.on for each in due} == {date(2021, 4, 26)}


@pytest.mark.parametrize("on", [date(2021, 4, 26), None])
def test_an_event_whose_entry_does_not_say_which_pass_is_not_due_too_early(rig: Rig, on: date | None) -> None:
    """Entries of earlier versions have no ``ref``: a later day counts beside the others, a call-off for all."""
    subject, _ = two(rig)
    with rig.opened() as vault, vault.database.session() as session:
        retention.event(session, subject, "pass_expired", date(2020, 4, 26), ref="pass 1", at=AT)
    copy = rig.database()
    with rig.opened() as vault:
        with vault.database.session() as session:
            body = {"subject": subjects.commitment(session, subject), "event": "pass_expired"}
            record(session, "retention:event", "event:pass_expired", {**body, "on": on and on.isoformat()}, AT)
        sequence(vault.database, vault.log)
    copy.put_back()
    with rig.opened() as vault, vault.database.session() as session:
        assert retention.due(vault, session, datetime(2021, 7, 1, tzinfo=UTC)) == []


def rolled_back(rig: Rig, *, note: bool = False) -> str:
    """The whole home is put back to before an erasure, and the witness is down; the subject who was erased."""
    gone, _ = two(rig)
    copies = rig.database(), rig.keys(), rig.log()
    state = load(home=rig.home).state
    noted = {path: path.read_bytes() for path in state.iterdir()}
    with rig.opened() as vault:
        withdraw(vault, gone)
    for copy in copies:
        copy.put_back()
    if note:
        for path, data in noted.items():
            path.write_bytes(data)
    rig.witness.kill()
    return gone


def quick(rig: Rig, at: datetime = AT) -> AbstractContextManager[Vault]:
    return opened(rig.home, rig.url, at=at, witnessed_by=[rig.witness.remote(1.0)])


def test_everything_is_older_and_no_witness_answers(rig: Rig) -> None:
    """This machine has noted a longer log, outside of what was put back: the older home is not opened."""
    rolled_back(rig)
    with pytest.raises(EvidenceBroken, match=r"This machine has seen .* older copy"), quick(rig):
        pass


def test_everything_and_the_note_are_older_and_no_witness_answers(rig: Rig) -> None:
    """The machine itself was put back, a day later: nothing personal opens until a witness answers, who then knows."""
    gone = rolled_back(rig, note=True)
    with quick(rig, AT + timedelta(hours=25)) as vault:
        for attempt in (
            lambda: vault.open("fingerprint", gone, "fingerprint_entry", "gate"),
            lambda: vault.open_many(["name"], None, "pass_contract", "gate"),
            lambda: vault.find_all("phone", BASIC["phone"], "pass_contract", "gate"),
            lambda: export(vault, gone, "counter"),
        ):
            with pytest.raises(WitnessUnavailable, match="could be an older copy"):
                attempt()
        rig.witness.restart()
        monkey = pytest.MonkeyPatch()
        monkey.setattr(newest, "AGAIN_SECONDS", 0.0)
        with pytest.raises(EvidenceBroken, match="older copy"):
            vault.open("fingerprint", gone, "fingerprint_entry", "gate")
        monkey.undo()


def test_a_restart_while_the_witness_is_down(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a day of a witness's word the home opens as before; later it waits for the witness, then goes on."""
    subject, _ = two(rig)
    rig.witness.kill()
    with quick(rig, AT + timedelta(hours=23)) as vault:
        is_held(vault, subject)
    monkeypatch.setattr(newest, "AGAIN_SECONDS", 0.0)
    with quick(rig, AT + timedelta(hours=25)) as vault:
        with pytest.raises(WitnessUnavailable):
            vault.open("name", subject, "pass_contract", "gate")
        rig.witness.restart()
        is_held(vault, subject)


def test_an_operator_who_takes_the_risk_is_evidence(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting it opens, and one entry says who answers for it."""
    subject, _ = two(rig)
    rig.witness.kill()
    monkeypatch.setenv("DUECARE_UNWITNESSED", "Zhang: the witness moved house")
    with quick(rig, AT + timedelta(hours=25)) as vault:
        is_held(vault, subject)
        with vault.database.session() as session:
            asked = select(EvidenceEntry).where(EvidenceEntry.kind == "vault:open_unwitnessed")
            (entry,) = session.scalars(asked)
        assert json.loads(entry.body)["by"] == "Zhang: the witness moved house"
