"""What is shown now, as hashes: for each section a base and what came after it.

A batch changes little of a long list. So it adds what differs (a row without a hash: shown no more) with its own
number, and the base, number 0, is written again only when a good part of it is out of date.

The rule of this module: of the rows of one key the one with the greatest number is true.
"""

from __future__ import annotations

from collections.abc import Mapping

from duecare.registers.tables import Tables

_SHARE = 4
_FEW = 1000
_MANY = 16


def shown(tables: Tables, section: str) -> str:
    """SQL of what is shown now of ``section``: ``entity, key, hash``."""
    rows = f"{tables.scan('held', section)} WHERE section = '{section}'"
    newer = f"(SELECT entity, key, hash, seq FROM {rows} AND seq > 0)"
    return f"""(SELECT entity, key, hash FROM (SELECT entity, key, hash FROM {rows} AND seq = 0)
            ANTI JOIN {newer} USING (entity, key)
        UNION ALL SELECT entity, key, arg_max_null(hash, seq) AS hash FROM {newer}
            GROUP BY entity, key HAVING arg_max_null(hash, seq) IS NOT NULL)"""


def at_most(tables: Tables, section: str) -> int:
    """A number that what is shown of ``section`` does not exceed; found in no time."""
    query = f"SELECT count(*) FROM {tables.scan('held', section)} WHERE section = '{section}'"
    ((count,),) = tables.home.lake.connection.execute(query).fetchall()
    return int(count)


def add(tables: Tables, newer: Mapping[str, str], seq: int) -> None:
    """Write what differs: ``newer`` is SQL of ``entity, key, hash`` by section, each key once, without a hash where it
    is shown no more. ``seq`` is the number of the batch."""
    run = tables.home.lake.connection.execute
    known = {
        section: (base, rows, batches)
        for section, base, rows, batches in run(
            f"""SELECT section, count(*) FILTER (seq = 0), count(*) FILTER (seq > 0),
                count(DISTINCT seq) FILTER (seq > 0) FROM {tables.scan("held")} GROUP BY section"""
        ).fetchall()
    }
    whole, added = {}, {}
    for section, query in newer.items():
        base, rows, batches = known.get(section, (0, 0, 0))
        ((more,),) = run(f"SELECT count(*) FROM {query}").fetchall()
        if batches >= _MANY or (rows + more) * _SHARE > max(base, _SHARE * _FEW):
            whole[section] = f"""(SELECT * FROM {shown(tables, section)} ANTI JOIN {query} USING (entity, key)
                UNION ALL SELECT entity, key, hash FROM {query} WHERE hash IS NOT NULL)"""
        else:
            added[section] = query
    rewrite(tables, whole)
    tables.write("held", {section: _rows(section, query, seq) for section, query in added.items()})


def rewrite(tables: Tables, whole: Mapping[str, str]) -> None:
    """Write the bases anew: ``whole`` is SQL of ``entity, key, hash`` of all that is shown, by section."""
    tables.write("held", {section: _rows(section, query, 0) for section, query in whole.items()}, replace=True)


def _rows(section: str, query: str, seq: int) -> str:
    return f"SELECT '{section}' AS section, entity, key, hash, {seq}::bigint AS seq FROM {query}"
