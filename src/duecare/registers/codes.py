"""The code that a person gives for a company, as what is held of it is filed.

The rule of this module: what may be two companies is asked back, never chosen.
"""

from __future__ import annotations

from duecare.errors import BadInput
from duecare.identifiers import spellings
from duecare.registers.tables import Tables, known_sources
from duecare.store.home import Home


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
