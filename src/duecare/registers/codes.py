"""The code that a person gives for a company, as its source writes it, and as what is held of it is filed.

The rule of this module: what may be two companies is asked back, never chosen.
"""

from __future__ import annotations

from duecare.errors import BadInput
from duecare.identifiers import check, normalise, spellings
from duecare.registers.adapter import CodedAdapter, PageAdapter
from duecare.registers.sources import LONGEST_CODE
from duecare.registers.tables import Tables, known_sources
from duecare.store.home import Home


def code_of(adapter: PageAdapter, given: str) -> str:
    """The code that was typed or pasted, as the source of ``adapter`` writes it. Raises ``BadInput`` where it is none;
    an adapter that does not say what its codes are takes any text that a person can read."""
    code = normalise(given)
    if isinstance(adapter, CodedAdapter):
        return check(adapter.code, code)
    if not code or not code.isprintable() or len(code) > LONGEST_CODE:
        raise BadInput(
            f"{code[:60]!r} is no code.", hint=f"Give a text without control characters, of {LONGEST_CODE} at most."
        )
    return code


def held_as(home: Home, text: str, source: str | None = None) -> str:
    """The code under which something was ever held, in ``source`` or in any, of the company that ``text`` means: the
    text itself where it is one, else the one code that it is a short or another writing of (``320193``: the CIK
    0000320193). Where there is none, the text without blanks around it.

    Raises ``BadInput`` where it may be the code of several companies, which it names.
    """
    text = text.strip()
    wanted = spellings(text)
    places = ", ".join("?" * len(wanted))
    with home.readers.reading():
        with home.database.session() as session:
            names = [name for name in known_sources(session) if source in (None, name)]
            tables = [Tables(home, name, session, leased=True) for name in names]
        cursor, found = home.lake.connection.cursor(), dict[str, str]()
        for table in tables:
            rows = cursor.execute(
                f"SELECT DISTINCT entity FROM {table.scan('facts')} WHERE entity IN ({places})", wanted
            ).fetchall()
            found.update((entity, table.source) for (entity,) in rows)
    if text in found or not found:
        return text
    if len(found) > 1:
        listed = " or ".join(f"{entity} ({name})" for entity, name in sorted(found.items()))
        raise BadInput(f"{text!r} may be {listed}.", hint="Give the code in full.")
    return next(iter(found))
