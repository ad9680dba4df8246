"""The page behind an alert: what a change, or a verification, names as its snapshot.

The rule of this module: a snapshot link leads to the bytes as received, or to a plain word that there are none.
"""

from __future__ import annotations

from sqlalchemy import select

from duecare.errors import UnknownName
from duecare.radar.models import Screening, Verification
from duecare.registers.pages import StoredPage, find_page, full_hash, hash_in
from duecare.store.home import Home


def stored_page(home: Home, given: str) -> StoredPage:
    """The stored page whose SHA-256 is or begins with ``given``, which may also be the snapshot link of an alert.

    Raises ``BadInput`` where it is no hash or where several begin so, and ``UnknownName`` where none is stored.
    """
    found = find_page(home, given) or _looked_at(home, hash_in(given))
    if found is None:
        raise UnknownName("snapshot", given, [], hint="Give the hash that an alert or `duecare company` shows.")
    return found


def _looked_at(home: Home, digits: str) -> StoredPage | None:
    """A page that was fetched anew to verify a change."""
    looks = (
        select(Verification.snapshot, Verification.address, Verification.at, Screening.source, Screening.entity)
        .join(Screening, Screening.change_id == Verification.change_id, isouter=True)
        .where(Verification.snapshot.startswith(digits))
        .order_by(Verification.at)
    )
    with home.database.session() as session:
        rows = session.execute(looks).all()
    name = full_hash(digits, [row.snapshot for row in rows])
    if name is None:
        return None
    first, last = rows[0], rows[-1]
    return StoredPage(
        name, first.source or "", first.entity or "", first.address, first.at, last.at, home.snapshots.get(name)
    )
