"""What waits because of a notice of error: changes of its facts that nobody was told of yet.

    refused    the notice is upheld, and the change is of what was wrong
    goes on    the rest: the next walk decides of it anew, as of what nobody objected to

The rule of this module: nobody objected to what was found after they had. It is never lost with the rest, unless its
very fact was said to be wrong.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Select, and_, exists, func, or_, select, true, update
from sqlalchemy.orm import Session

from duecare.radar.alerts import await_alerts, not_raised
from duecare.radar.disputes import disputed
from duecare.radar.models import NoticeOfError, Screening, Verification
from duecare.registers.models import Batch

_WAITING = ("held", "verifying", "passed")


def objected() -> ColumnElement[bool]:
    """SQL that joins a ``Screening`` to the ``NoticeOfError`` that is about its fact; without a key, it is about every
    fact of the section."""
    return and_(
        Screening.entity == NoticeOfError.entity,
        Screening.source == NoticeOfError.source,
        Screening.section == NoticeOfError.section,
        or_(NoticeOfError.key == "", Screening.key == NoticeOfError.key),
    )


def undecided() -> ColumnElement[bool]:
    """SQL that says of a ``Screening`` of which no alert was raised that it may come to be told."""
    return Screening.state.in_(_WAITING)


def found_later() -> ColumnElement[bool]:
    """SQL that says of a ``Screening`` that its change was read after the ``NoticeOfError`` was opened: whoever filed
    that saw nothing of it. A batch that was held counts from its release, for nothing of it was shown before."""
    return exists().where(Batch.id == Screening.batch_id, Batch.recorded_at > NoticeOfError.opened_at)


def let_wait(session: Session, notice: NoticeOfError) -> None:
    """Let what has passed and was not told yet wait for the decision of ``notice``, which has just been opened."""
    passed = _ids(notice).where(Screening.state == "passed", not_raised())
    _change(session, passed, state="verifying", decided_at=notice.opened_at, decided_by=notice.mark)


def refuse(
    session: Session, notice: NoticeOfError, *, by: str, reason: str, at: datetime, named: bool, keys: Collection[str]
) -> int:
    """Refuse what waits because of ``notice`` and is of the facts ``keys`` (none: of all of them); returns how many
    changes. Only what was known when it was opened, unless the facts are ``named`` as wrong."""
    those = _ids(notice).where(
        undecided(), not_raised(), true() if named else ~found_later(), Screening.key.in_(keys) if keys else true()
    )
    return _change(session, those, state="refused", decided_at=at, decided_by=by, note=reason)


def let_go_on(session: Session, notice: NoticeOfError, *, at: datetime, by_lists: bool) -> int:
    """Let what still waits be decided anew by the next walk, now that ``notice`` is closed; returns how many changes.
    Those against which another notice is open wait for that one.

    What a page was asked for in vain is asked again when its time has come, what is looked up in lists (``by_lists``)
    or was found to stand, at once. The source's days begin anew.
    """
    free = _ids(notice).where(undecided(), not_raised(), ~disputed())
    number = session.scalar(select(func.count()).select_from(free.subquery())) or 0
    verifying = free.where(Screening.state == "verifying")
    changes = select(Screening.change_id).where(Screening.id.in_(verifying))
    session.execute(
        update(Verification)
        .where(
            Verification.change_id.in_(changes),
            Verification.next_at > at,
            true() if by_lists else Verification.outcome == "verified",
        )
        .values(next_at=at)
        .execution_options(synchronize_session=False)
    )
    _change(session, verifying, decided_at=at, decided_by=notice.mark)
    passed = select(Screening.batch_id).where(Screening.id.in_(free.where(Screening.state == "passed")))
    for batch in session.scalars(passed.distinct()).all():
        await_alerts(session, batch)
    return number


def _ids(notice: NoticeOfError) -> Select[int]:
    """The ids of the screenings that ``notice`` is about."""
    return select(Screening.id).join(NoticeOfError, objected()).where(NoticeOfError.id == notice.id)


def _change(session: Session, those: Select[int], **values: Any) -> int:
    done = session.execute(
        update(Screening).where(Screening.id.in_(those)).values(**values).execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", done).rowcount
