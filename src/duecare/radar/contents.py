"""What an alert says and where it is from, as one text: what the evidence of alerts commits to.

``batch:contents`` and ``alert:correct`` hold the root of the tree over the texts of the alerts raised together,
in the order of their ids. docs/reference/evidence.md states the text in words exact enough for another language.

The rule of this module: a text is read from the table, at the raising as at every check after it, and holds all that a
reader is told; what changes later (``state``) is no part of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, literal_column, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from duecare.errors import EvidenceBroken
from duecare.evidence.contents import Contents
from duecare.radar.models import Alert, AlertState

_CLOSED = (
    "id", "change", "batch", "source", "section", "category", "kind", "risk", "effective_on", "not_before", "not_after",
    "snapshot", "verification", "verification_id", "corrects", "before", "after", "reasons", "wording",
)  # fmt: skip
"""Values of our own, and JSON: none has a line break."""

_FREE = ("entity", "name", "key", "address")
"""Values as they came from outside, with whatever is in them. Their lengths stand in the first line."""

NAMES = (*_CLOSED, *_FREE)
"""The values of the text, in their order."""

_ATTRIBUTES = {"change": "change_id", "batch": "batch_id", "corrects": "corrects_id"}
_COLUMNS = {**_ATTRIBUTES, "key": "fact_key"}
_MAY_BE_NULL = ("effective_on", "not_before", "verification_id", "corrects", "before", "after", "wording")
_MOMENTS = ("not_before", "not_after")
_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("id", "verification_id", "corrects"), int),
    **dict.fromkeys(_MOMENTS, datetime.fromisoformat),
    **dict.fromkeys(("reasons", "wording"), json.loads),
    "effective_on": date.fromisoformat,
}
_TEXTS = set(NAMES) - _READ.keys()
_AT_ONCE = 5_000
_LENGTHS = re.compile(rf"\d+( \d+){{{len(_FREE) - 1}}}", re.ASCII)


@dataclass(frozen=True)
class Logged:
    """An alert as it stands in the table: when it was raised, in which batch, and its text."""

    id: int
    batch_id: str
    at: datetime
    text: str


def texts(session: Session, which: ColumnElement[bool]) -> dict[int, str]:
    """The texts of the alerts that ``which`` finds, by their ids and in the order of these."""
    asked = select(Alert.id, _text(session)).where(which).order_by(Alert.id)
    return {row[0]: row[1] for row in session.execute(asked)}


def contents(session: Session, which: ColumnElement[bool]) -> Contents:
    """What the texts of the alerts that ``which`` finds amount to, in the order of their ids."""
    if _is_sqlite(session):
        return Contents.of(texts(session, which).values())
    session.execute(_PLAINLY)
    return Contents(session.scalar(select(_HASHES).where(which)) or b"")


def all_logged(session: Session) -> Iterator[Logged]:
    """Every alert in the order of ids. Memory does not grow with them."""
    asked = select(Alert.id, Alert.batch_id, Alert.created_at, _text(session)).order_by(Alert.id)
    for row in session.connection().execute(asked.execution_options(yield_per=_AT_ONCE)):
        yield Logged(*row)


def parse_text(written: str) -> Alert:
    """The alert of which ``written`` is the text, attached to no database and without the moment of its raising.

    Raises ``EvidenceBroken`` where it is no text of an alert.
    """
    try:
        return _alert(_values(written))
    except (ValueError, KeyError, TypeError) as error:
        raise EvidenceBroken(f"The content is not the text of an alert: {error}.") from None


def _values(written: str) -> dict[str, str]:
    head, *closed = written.split("\n", len(_CLOSED) + 1)
    if not _LENGTHS.fullmatch(head) or len(closed) <= len(_CLOSED):
        raise ValueError("it lacks lines, or the lengths of its values")
    values, rest = dict(zip(_CLOSED, closed, strict=False)), b"\n" + closed[-1].encode()
    for name, length in zip(_FREE, map(int, head.split()), strict=True):
        if not rest.startswith(b"\n"):
            raise ValueError(f"what stands before {name} is not as long as the first line says")
        values[name], rest = rest[1 : length + 1].decode(), rest[length + 1 :]
    if rest:
        raise ValueError("it goes on after its end")
    return values


def _alert(values: dict[str, str]) -> Alert:
    known: dict[str, Any] = {name: value for name, value in values.items() if value or name not in _MAY_BE_NULL}
    for name, read in _READ.items():
        if name in known:
            known[name] = read(known[name])
    return Alert(**{_ATTRIBUTES.get(name, name): value for name, value in known.items()}, state=AlertState.SENT.value)


def _text(session: Session) -> ColumnElement[str]:
    if _is_sqlite(session):
        return literal_column(_SQLITE_TEXT)
    session.execute(_PLAINLY)
    return literal_column(_POSTGRESQL_TEXT)


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _column(name: str) -> str:
    return _COLUMNS.get(name, name)


def _moment(name: str) -> str:
    """A moment of SQLite as PostgreSQL writes it: without zeros at the end, and with its zone."""
    column = _column(name)
    return f"substr({column}, 1, 19) || rtrim(rtrim(substr({column}, 20), '0'), '.') || '+00'"


def _value(name: str) -> str:
    """A value of PostgreSQL as text; ``concat_ws`` would pass one over that is none."""
    column = _column(name) + ("" if name in _TEXTS else "::text")
    return f"coalesce({column}, '')" if name in _MAY_BE_NULL else column


def _sqlite_text() -> str:
    lengths = ", ".join(f"length(CAST({_column(name)} AS BLOB))" for name in _FREE)
    values = ", ".join(_moment(name) if name in _MOMENTS else _column(name) for name in NAMES)
    form = " ".join(["%d"] * len(_FREE)) + "\n%s" * len(NAMES)
    return f"printf('{form}', {lengths}, {values})"


def _postgresql_text() -> str:
    lengths = ", ".join(f"octet_length({_value(name)})" for name in _FREE)
    values = ", ".join(_value(name) if name in _MAY_BE_NULL else _column(name) for name in NAMES)
    return f"concat_ws(chr(10), concat_ws(' ', {lengths}), {values})"


# The text of an alert as SQL, the same on both: one call, for a chain of || copies all at each.
_SQLITE_TEXT, _POSTGRESQL_TEXT = _sqlite_text(), _postgresql_text()
# The hashes (``hash_of``) of many of them, made where the texts are.
_HASHES: ColumnElement[bytes] = literal_column(
    f"string_agg(sha256('\\x00'::bytea || convert_to({_POSTGRESQL_TEXT}, 'UTF8')), ''::bytea ORDER BY id)"
)
# PostgreSQL writes moments and dates by the settings of the session.
_PLAINLY = sql("SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true)")
