"""Certificates of erasures: made once a witness has cosigned the log, and kept.

The rule of this module: an erasure never waits for its certificate, and no certificate is lost: what could not be made
now is made later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from duecare.consent.models import SubjectRow
from duecare.errors import UnknownName, WitnessUnavailable
from duecare.evidence import certificate as certificates
from duecare.evidence.certificate import Opening
from duecare.evidence.outbox import sequence
from duecare.vault.acts import committed, value_committed
from duecare.vault.models import NOT_CERTIFIED, ErasureState, VaultErasure, VaultValue, in_state

if TYPE_CHECKING:
    from duecare.vault.records import Vault

AT_ONCE = 200
"""Certificates that are made without being asked for."""


@dataclass(frozen=True)
class Certified:
    """How many certificates were made, how many wait, and why they do."""

    made: int
    pending: int
    why: str = ""


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
    return make(vault, erasure)


def make(vault: Vault, erasure: str) -> bytes:
    """Make and keep the certificate of an erasure whose entry is in the log. Raises as ``certificate``.

    The holder's part opens the commitments: whose data it was, and which values. It is for the person; what they pass
    on without it says nothing of them.
    """
    with vault.database.session() as session:
        row = session.get_one(VaultErasure, erasure)
        salt = session.scalar(select(SubjectRow.salt).where(SubjectRow.id == row.subject))
        mine = (VaultValue.act == row.act) & (VaultValue.subject == row.subject)
        values = session.scalars(select(VaultValue).where(mine).order_by(VaultValue.field)).all()
    assert row.entry is not None
    opened = [(committed(row.subject, salt), row.subject), *(value_committed(each) for each in values)]
    holder = [Opening(made.text, made.salt, words) for made, words in opened] if salt is not None else []
    document = certificates.build(vault.database, vault.log, row.entry, vault.witnesses, holder)
    data = certificates.certificate_bytes(document)
    with vault.database.session() as session:
        fresh = (VaultErasure.id == erasure) & VaultErasure.certificate.is_(None)
        kept = {"certificate": data.decode(), "state": ErasureState.CERTIFIED.value}
        session.execute(update(VaultErasure).where(fresh).values(kept).execution_options(synchronize_session=False))
    return data


def make_waiting(vault: Vault) -> Certified:
    """Make the certificates that wait, ``AT_ONCE`` at most, those of the oldest entries first."""
    sequence(vault.database, vault.log)
    if not vault.witnesses:
        count = waiting(vault)
        return Certified(0, count, "no witness is configured" if count else "")
    with vault.database.session() as session:
        ids = session.scalars(select(VaultErasure.id).where(_WAITING).order_by(VaultErasure.entry).limit(AT_ONCE)).all()
    made = 0
    try:
        for each in ids:
            make(vault, each)
            made += 1
    except WitnessUnavailable as error:
        return Certified(made, waiting(vault), str(error))
    return Certified(made, waiting(vault))


def waiting(vault: Vault) -> int:
    """How many erasures wait for their certificate."""
    with vault.database.session() as session:
        return session.scalar(select(func.count()).select_from(VaultErasure).where(_WAITING)) or 0


_WAITING = NOT_CERTIFIED & in_state(VaultErasure, ErasureState.COMPLETE)
