"""A process may be killed at any line of an erasure, a rotation, a batch or a retention run."""

from __future__ import annotations

import random
import signal
from base64 import b64encode
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from duecare.consent.models import GrantRow, SubjectRow
from duecare.errors import Erased
from duecare.evidence.audit import audit
from duecare.evidence.check import all_hold
from duecare.evidence.outbox import read_entries, sequence
from duecare.vault.models import ErasureState, KeyState, VaultErasure, VaultKey, VaultLookup
from duecare.vault.records import Vault
from duecare.vault.slots import SlotState

from .lives import FRESH, WORK, phone, photo, seal_batch, work
from .park import BASIC, furnish, opened


def run(home: Path, url: str, what: str, seed: int, step: int) -> int | None:
    """Let a process do ``what``, killed at its ``step``-th line; how many lines it ran, none if it was killed."""
    result = home.parent / "lines"
    result.unlink(missing_ok=True)
    child = FRESH.Process(target=work, args=(str(home), url, what, seed, step, str(result)))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL), f"{what} failed by itself"
    return int(result.read_text()) if child.exitcode == 0 else None


def nothing_is_half(vault: Vault) -> None:
    """Whose grant stands, all of it opens; whose does not, nothing of it is anywhere."""
    sequence(vault.database, vault.log)
    with vault.database.session() as session:
        people = session.scalars(select(SubjectRow.id)).all()
        standing = {
            (row.subject, row.purpose)
            for row in session.execute(select(GrantRow.subject, GrantRow.purpose).where(GrantRow.ended_at.is_(None)))
        }
        keys = session.scalars(select(VaultKey)).all()
        erasures = session.scalars(select(VaultErasure)).all()
        lookups = Counter(session.scalars(select(VaultLookup.generation)))
    assert not [key for key in keys if key.state == KeyState.ERASING]
    assert {each.state for each in erasures} <= {ErasureState.COMPLETE}
    assert len(lookups) <= 1, "every look-up stands under the newest index key"
    states = dict(vault.slots.states())
    for key in keys:
        assert states[key.id] is (SlotState.LIVE if key.state == KeyState.LIVE else SlotState.ERASED)
        assert ((key.subject, key.purpose) in standing) == (key.state == KeyState.LIVE)
    raw = b"".join(path.read_bytes() for path in vault.home.path.rglob("*") if path.is_file())
    for subject in people:
        for field, purpose, value in (
            ("photo", "pass_photo", photo(subject)),
            ("name", "pass_contract", BASIC["name"]),
            ("phone", "pass_contract", phone(subject)),
        ):
            if (subject, purpose) in standing:
                assert vault.open(field, subject, purpose, "gate") == value
            else:
                with pytest.raises(Erased):
                    vault.open(field, subject, purpose, "gate")
        assert photo(subject) not in raw
        if (subject, "pass_photo") not in standing:
            assert b64encode(photo(subject)) not in raw, "an export is left over"
        stands = (subject, "pass_contract") in standing
        assert vault.find("phone", phone(subject), "pass_contract", "gate") == (subject if stands else None)
    assert len(list((vault.home.path / "keys").glob("vault.master.*"))) == 1
    done = Counter(entry.subject for entry in read_entries(vault.log, kinds=["erasure:complete"]))
    assert done == Counter(f"erasure:{each.id}" for each in erasures)
    assert all_hold(audit(vault.log.folder, vault.log.key))


@pytest.mark.slow
def test_killed_at_any_line_nothing_is_half(database_url: str, tmp_path: Path) -> None:
    """Killed again and again, in the finishing too: each work is as before or done, and no plaintext is left over."""
    home, chance = tmp_path / "home", random.Random(20191026)
    with opened(home, database_url, witnessed_by=[]) as vault:
        furnish(vault)
        seal_batch(vault, 3)
    lengths = {what: run(home, database_url, what, 1, 0) or 0 for what in sorted(WORK)}
    wanted, kills = 48 if database_url.startswith("sqlite") else 20, Counter[str]()
    while kills.total() < wanted:
        what = sorted(WORK)[kills.total() % len(WORK)]
        step = chance.randint(1, int(lengths[what] * 1.05))
        if run(home, database_url, what, chance.randrange(1000), step) is None:
            kills[what] += 1
            if chance.random() < 0.4:
                continue  # the next one finds what this one left, and may be killed while it finishes it
        with opened(home, database_url, witnessed_by=[]) as vault:
            nothing_is_half(vault)
            seal_batch(vault, 1)
    with opened(home, database_url, witnessed_by=[]) as vault:
        nothing_is_half(vault)
    assert set(kills) == set(WORK)
