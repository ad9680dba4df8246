"""Certificates of erasures: made once a witness has cosigned the log, and kept.

The rule of this module: an erasure never waits for its certificate, and no certificate is lost: what could not be made
now is made later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import bindparam, func, select, update

from duecare.consent.models import SubjectRow
from duecare.errors import BadInput, DuecareError, UnknownName
from duecare.evidence import certificate as certificates
from duecare.evidence.certificate import Opening
from duecare.evidence.outbox import EvidenceEntry, leaf, sequence
from duecare.vault.acts import committed, value_committed
from duecare.vault.models import NOT_CERTIFIED, ErasureState, ValueState, VaultErasure, VaultValue, in_state

if TYPE_CHECKING:
    from duecare.vault.records import Vault

AT_ONCE = 500
"""Certificates that are made, and kept in one transaction."""

Progress = Callable[[int, int], None]
"""Told how many are done, and of how many."""


@dataclass(frozen=True)
class Certified:
    """How many certificates wait, and why they do; ``ids``: of which erasures they were made."""

    pending: int
    why: str = ""
    ids: tuple[str, ...] = ()


def certificate(vault: Vault, erasure: str) -> bytes:
    """The certificate of an erasure that is complete, made now where it is not there yet.

    Call it outside of any transaction. Raises ``UnknownName``, ``BadInput`` where there is no witness,
    ``WitnessUnavailable``, ``EvidenceBroken``.
    """
    with vault.database.session() as session:
        row = session.get(VaultErasure, erasure)
    if row is None:
        raise UnknownName("erasure", erasure, [])
    if row.certificate is not None:
        return row.certificate.encode()
    sequence(vault.database, vault.log)
    return make_many(vault, [erasure])[erasure]


def make_many(vault: Vault, erasures: Sequence[str]) -> dict[str, bytes]:
    """Make and keep certificates of erasures whose entries are in the log; id → the file. Raises as ``certificate``.

    The holder's part opens the commitments: whose data it was, and which values. It is for the person; what they pass
    on without it says nothing of them.
    """
    made: dict[str, bytes] = {}
    with vault.database.session() as session:
        rows = session.execute(_ASKED.where(VaultErasure.id.in_(erasures)).order_by(EvidenceEntry.leaf_index)).all()
        values: dict[tuple[str | None, str], list[VaultValue]] = defaultdict(list)
        theirs = VaultValue.subject.in_({row.subject for row, *_ in rows}) & in_state(VaultValue, ValueState.ERASED)
        for value in session.scalars(select(VaultValue).where(theirs).order_by(VaultValue.field)):
            values[value.act, value.subject].append(value)
    if not rows:
        return {}
    late = next((row.id for row, entry, _ in rows if entry.leaf_index is None), None)
    if late is not None:
        raise BadInput(f"The erasure {late} is recorded, but not in the log yet.", hint="Ask again.")
    # One checkpoint, which a witness cosigned for the newest, serves all that stand before it.
    last = max((entry.leaf_index for _, entry, _ in rows if entry.leaf_index is not None))
    note = certificates.note_of(vault.log, vault.witnesses, last + 1)
    for row, entry, salt in rows:
        place = leaf(entry.id, entry.kind, entry.subject, entry.at, entry.body)
        opened = [(committed(row.subject, salt), row.subject)]
        opened += [value_committed(each) for each in values[row.act, row.subject]]
        holder = [Opening(each.text, each.salt, words) for each, words in opened] if salt is not None else []
        document = certificates.build_at(vault.log, entry.leaf_index or 0, place, vault.witnesses, note, holder)
        made[row.id] = certificates.certificate_bytes(document)
    if made:
        with vault.database.session() as session:
            session.connection().execute(_KEEP, [{"of": name, "made": data.decode()} for name, data in made.items()])
    return made


def make_waiting(vault: Vault, progress: Progress | None = None) -> Certified:
    """Make all certificates that wait, those of the oldest entries first; ``progress`` is told how many of all.

    Killed anywhere, what was made stays, and the next call goes on. Raises nothing that a witness or the log is the
    cause of: it is said why they wait.
    """
    made, total = list[str](), waiting(vault) if progress else 0
    asked = select(VaultErasure.id).where(_WAITING).order_by(VaultErasure.entry).limit(AT_ONCE)
    while True:
        with vault.database.session() as session:
            ids = session.scalars(asked).all()
        more, why = log_and_make(vault, ids)
        made += more
        if why or not more:
            return Certified(waiting(vault), why, tuple(made))
        if progress is not None:
            progress(len(made), max(len(made), total))


def log_and_make(vault: Vault, ids: Sequence[str]) -> tuple[list[str], str]:
    """Put what was recorded into the log, and make the certificates of ``ids``; those made, and why not the others.

    Erased is erased: whatever keeps a certificate from being made now, a witness that is down, does not know the log,
    has seen another one or answers nonsense, or a log that is busy or damaged, is told and not raised.
    """
    try:
        sequence(vault.database, vault.log)
        vault.newest.note()
        if ids and not vault.witnesses:
            return [], "no witness is configured"
        return list(make_many(vault, ids)), ""
    except DuecareError as error:
        structlog.get_logger().warning("certificates wait", why=str(error))
        return [], str(error)


def waiting(vault: Vault) -> int:
    """How many erasures wait for their certificate."""
    with vault.database.session() as session:
        return session.scalar(select(func.count()).select_from(VaultErasure).where(_WAITING)) or 0


_WAITING = NOT_CERTIFIED & in_state(VaultErasure, ErasureState.COMPLETE)

_ASKED = (
    select(VaultErasure, EvidenceEntry, SubjectRow.salt)
    .join(SubjectRow, SubjectRow.id == VaultErasure.subject)
    .join(EvidenceEntry, EvidenceEntry.id == VaultErasure.entry)
)
_KEEP = (
    update(VaultErasure.__table__)  # type: ignore[arg-type]
    .where(VaultErasure.id == bindparam("of"), VaultErasure.certificate.is_(None))
    .values(certificate=bindparam("made"), state=ErasureState.CERTIFIED.value)
)
